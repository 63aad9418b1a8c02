"""The native part of panpipe; use ``panpipe`` and ``panpipe.aio``."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, Self, final

from panpipe._remote import Remote

__all__ = [
    "Child",
    "Connecting",
    "Connection",
    "Core",
    "Listener",
    "Server",
    "accept_core",
    "connect",
    "framings",
    "listen",
    "methods",
    "open_pair",
    "pair",
    "spawn_address",
]

_Message = bytes | bytearray | memoryview | str

@final
class Connection:
    """A connection to a peer. Any number of threads may use it at once. Iterating it receives messages."""

    @property
    def address(self) -> str:
        """The address it was opened with."""

    @property
    def remote(self) -> Remote:
        """What was known of the other end when the connection was made."""

    @property
    def dropped(self) -> int:
        """Datagrams from the other side that were dropped for want of room; zero where none are."""

    def call(self, message: _Message, *, timeout: float | None = None) -> Any:
        """Sends a message and waits for the one that answers it, for the address's ``timeout`` unless said.

        Raises ``TooLarge``, ``Unsupported``, ``ConnectionLost``, ``DeadlineExceeded``, ``BadPeer``, ``Busy`` or
        ``Closed``, whose ``ran`` says whether the peer may have run it.
        """

    def send(self, message: _Message, *, timeout: float | None = None) -> None:
        """Sends a message; returns once the system has it whole.

        Raises ``TooLarge``, ``Unsupported``, ``ConnectionLost``, ``Closed``, and ``DeadlineExceeded`` after
        ``timeout`` seconds; the rest of the message is then sent before the next one.
        """

    def recv(self, *, timeout: float | None = None) -> Any:
        """Waits for the next message; ``None`` once the peer has closed between messages.

        Raises ``ConnectionLost``, ``BadPeer``, ``TooLarge``, ``Closed``, and ``DeadlineExceeded`` after ``timeout``
        seconds; what has arrived stays for the next call.
        """

    def detach(self) -> tuple[int, int]:
        """Hands its descriptors over, for a child that says ``fd:N``: the numbers to read from and to write to.

        It is the same number twice where one does for both.  They are the caller's to close; the connection is closed,
        and the other end does not notice.  Raises ``Busy`` while messages or calls are on their way, which would be
        lost, or another thread waits; ``Unsupported`` for a FIFO; ``Closed``.
        """

    def close(self) -> None:
        """Writes what was sent, then closes; threads that wait get ``Closed``."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: object) -> None: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...

@final
class Listener:
    """A listening address. Iterating it accepts connections."""

    @property
    def address(self) -> str:
        """The real address, with the port or the name that was picked: connect to this."""

    @property
    def dropped(self) -> int:
        """Datagrams that were dropped for want of room, by this program and by the system; zero where none are."""

    def accept(self, *, timeout: float | None = None) -> Connection | None:
        """Waits for the next connection; ``None`` when no more will come.

        Raises ``DeadlineExceeded`` after ``timeout`` seconds, ``Closed`` or ``Io``.
        """

    def close(self) -> None:
        """Stops listening and removes the socket file."""

    def _descriptors(self) -> list[int]: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: object) -> None: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Connection: ...

def connect(address: str, *, timeout: float | None = None) -> Connection:
    """Connects to an address.

    Raises ``InvalidAddress``, ``Unsupported``, ``Refused``, ``NotFound``, ``Permission``, ``PathTooLong``, ``Busy``,
    ``Io``, and ``DeadlineExceeded`` after the address's ``timeout`` or the given seconds.
    """

def listen(address: str) -> Listener:
    """Listens on an address.

    Raises ``InvalidAddress``, ``Unsupported``, ``AddressInUse``, ``NotFound``, ``Permission``, ``PathTooLong``,
    ``Busy`` or ``Io``.
    """

def pair(kind: str = "") -> tuple[Connection, Connection]:
    """Two connected connections inside this program, of a kind and with the options of an address.

    ``socket``, as when nothing is said; ``pipe``, two pipes; ``one-way``, of which the first end reads and the second
    writes: ``pair("pipe?framing=lines")``, ``pair("framing=lines")``.

    Raises ``InvalidAddress``, ``Unsupported`` or ``Busy``.
    """

def spawn_address(command: Sequence[str], options: str) -> str:
    """The address of a child: a program with its arguments, and options."""

def methods() -> list[dict[str, str]]:
    """Every transport there is, with what it reaches and what it is good for."""

def framings() -> list[dict[str, Any]]:
    """Every framing there is: its name, how it looks on the wire, what it is good for and what it cannot carry."""

@final
class Server:
    """A server on a listener: in a loop of its own, or on asyncio's."""

    def __new__(cls, listener: Listener, handler: Callable[..., Any]) -> Self: ...
    @property
    def address(self) -> str: ...
    @property
    def dropped(self) -> int: ...
    @property
    def finished(self) -> bool: ...
    def fileno(self) -> int: ...
    def run(self) -> None: ...
    def turn(self) -> tuple[float | None, list[tuple[int, Awaitable[Any]]]]: ...
    def reply(self, number: int, reply: _Message | None) -> None: ...
    def fail(self, number: int) -> None: ...

@final
class Connecting:
    """A connection on its way."""

    def __new__(cls, address: str) -> Self: ...
    @property
    def timeout(self) -> float: ...
    def may_block(self) -> bool: ...
    def begin(self) -> None: ...
    def advance(self, event_loop: asyncio.AbstractEventLoop) -> Core | int | float: ...
    def timed_out(self) -> Exception: ...

@final
class Core:
    """What a connection of ``panpipe.aio`` does on its loop."""

    @property
    def address(self) -> str: ...
    @property
    def remote(self) -> Remote: ...
    @property
    def dropped(self) -> int: ...
    @property
    def congested(self) -> bool: ...
    @property
    def unwritten(self) -> bool: ...
    def start(self) -> None: ...
    def call(self, message: _Message, timeout: float | None) -> asyncio.Future[Any] | None: ...
    def abandon(self, future: asyncio.Future[Any]) -> None: ...
    def send(self, message: _Message) -> None: ...
    def recv_now(self) -> Any: ...
    def readable(self) -> asyncio.Future[None]: ...
    def writable(self) -> asyncio.Future[None]: ...
    def on_readable(self) -> None: ...
    def on_writable(self) -> None: ...
    def on_turn_end(self) -> None: ...
    def on_time(self) -> None: ...
    def timed_out(self, doing: str) -> Exception: ...
    @property
    def timeout(self) -> float: ...
    def detach(self) -> tuple[int, int]: ...
    def close(self) -> None: ...
    def child(self) -> Child | None: ...

@final
class Child:
    """A child on its way out."""

    def fileno(self) -> int: ...
    def advance(self) -> float | None: ...

def accept_core(listener: Listener, event_loop: asyncio.AbstractEventLoop) -> Core | float | Literal[False] | None: ...
def open_pair(event_loop: asyncio.AbstractEventLoop, kind: str) -> tuple[Core, Core]: ...
