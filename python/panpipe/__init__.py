"""Connects any two processes over any IPC method: the method is only an address.

    panpipe.serve("tcp://localhost:9999?framing=raw", lambda data: data.upper())

    with panpipe.connect("tcp://localhost:9999?framing=raw") as peer:
        print(peer.call("Hello, server!"))

``panpipe.aio`` is the same for asyncio.  No thread is started, and Ctrl-C works in every call.
"""

from collections.abc import Callable, Sequence
from typing import Any

from panpipe import aio
from panpipe._context import Context, current
from panpipe._error import (
    AddressInUse,
    BadPeer,
    Busy,
    Cancelled,
    Closed,
    ConnectionLost,
    DeadlineExceeded,
    Error,
    InvalidAddress,
    InvalidArguments,
    Io,
    Lagged,
    NotFound,
    PanpipeError,
    PathTooLong,
    Permission,
    Refused,
    RemoteError,
    TooLarge,
    Unauthenticated,
    Unsupported,
    Version,
)
from panpipe._missed import Missed
from panpipe._panpipe import Connection, Listener, Server, framings, listen, methods, spawn_address
from panpipe._remote import Remote
from panpipe._service import Service
from panpipe._topic import Topic
from panpipe._waiting import Peer, Stream, connect, pair

__all__ = [
    "AddressInUse",
    "BadPeer",
    "Busy",
    "Cancelled",
    "Closed",
    "Connection",
    "ConnectionLost",
    "Context",
    "DeadlineExceeded",
    "Error",
    "InvalidAddress",
    "InvalidArguments",
    "Io",
    "Lagged",
    "Listener",
    "Missed",
    "NotFound",
    "PanpipeError",
    "PathTooLong",
    "Peer",
    "Permission",
    "Refused",
    "Remote",
    "RemoteError",
    "Service",
    "Stream",
    "TooLarge",
    "Topic",
    "Unauthenticated",
    "Unsupported",
    "Version",
    "aio",
    "connect",
    "current",
    "framings",
    "listen",
    "methods",
    "pair",
    "serve",
    "spawn",
]

Message = bytes | bytearray | memoryview | str


def serve(address: str | Listener, handler: Service | Callable[..., Message | None]) -> None:
    """Serves a ``Service``, or answers every message of every client with ``handler(message)``, until interrupted.

    It runs in this thread.  A handler that returns ``None`` sends nothing; one that raises is logged and closes its
    connection.  With a listener in place of the address, its ``address`` is known before serving begins.

    Raises ``InvalidAddress``, ``Unsupported``, ``AddressInUse``, ``NotFound``, ``Permission``, ``PathTooLong``,
    ``Busy`` or ``Io``; Ctrl-C raises ``KeyboardInterrupt``, at once or, of a service, as ``Service.serve`` says.
    """
    if isinstance(handler, Service):
        handler.serve(address)
    else:
        Server(listen(address) if isinstance(address, str) else address, handler).run()


def spawn(
    command: Sequence[str], options: str = "", *, service: Service | None = None, timeout: float | None = None
) -> Any:
    """Starts a program as a child of this process and connects to it, with the options of an address.

    It ends when the connection is closed, and with this process in any case: its stdin ends, two seconds later it gets
    SIGTERM, five seconds later SIGKILL, and its children with it.  ``close`` waits for that.

    Raises ``NotFound`` when there is no such program, ``Permission``, ``InvalidAddress``, ``Unsupported``, ``Busy`` or
    ``Io``.
    """
    return connect(spawn_address(command, options), service=service, timeout=timeout)
