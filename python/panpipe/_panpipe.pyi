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
    "Handler",
    "Listener",
    "PeerCore",
    "Registry",
    "Server",
    "Topic",
    "accept_core",
    "connect",
    "decode_value",
    "encode_value",
    "framings",
    "listen",
    "log_send",
    "methods",
    "open_pair",
    "pair",
    "running",
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

    @property
    def _most_connections(self) -> int: ...
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

    def __new__(cls, address: str, has_service: bool) -> Self: ...
    @property
    def timeout(self) -> float: ...
    def may_block(self) -> bool: ...
    def begin(self) -> None: ...
    def advance(self, event_loop: asyncio.AbstractEventLoop) -> Core | PeerCore | int | float: ...
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
class PeerCore:
    """What a peer of ``panpipe.aio`` does on its loop."""

    @property
    def address(self) -> str: ...
    @property
    def remote(self) -> Remote: ...
    @property
    def late_replies(self) -> int: ...
    @property
    def timeout(self) -> float: ...
    @property
    def congested(self) -> bool: ...
    @property
    def unwritten(self) -> bool: ...
    @property
    def serving(self) -> int: ...
    @property
    def ended(self) -> bool: ...
    def start(self, peer: object, service: Registry | None) -> None: ...
    def call(
        self,
        method: str,
        positional: tuple[Any, ...],
        named: dict[str, Any] | None,
        timeout: float | None,
        streams: bool,
    ) -> tuple[int, asyncio.Future[Any]]: ...
    def stream(
        self,
        method: str,
        positional: tuple[Any, ...],
        named: dict[str, Any] | None,
        timeout: float | None,
        streams: bool,
    ) -> int: ...
    def subscribe(self, topic: str, settings: dict[str, Any]) -> tuple[int, asyncio.Future[None]]: ...
    def send(self, method: str, positional: tuple[Any, ...], named: dict[str, Any] | None, is_topic: bool) -> None: ...
    def flush(self) -> tuple[int, asyncio.Future[None]]: ...
    def cancel(self, call: int) -> None: ...
    def abort(self, call: int, error: BaseException) -> None: ...
    def next_item(self, call: int, pending: object) -> Any: ...
    def item_comes(self, call: int) -> asyncio.Future[None]: ...
    def item(self, call: int, item: Any) -> asyncio.Future[None] | None: ...
    def end(self, call: int) -> None: ...
    def change(self) -> asyncio.Future[None]: ...
    def reply(self, call: int, result: Any) -> None: ...
    def fail(self, call: int, raised: BaseException) -> None: ...
    def stop(self, call: int) -> None: ...
    def handled(self, id: int) -> None: ...
    def say_goodbye(self) -> None: ...
    def on_readable(self) -> None: ...
    def on_writable(self) -> None: ...
    def on_turn_end(self) -> None: ...
    def on_time(self) -> None: ...
    def timed_out(self, doing: str) -> Exception: ...
    def close(self, was_wanted: bool) -> None: ...
    def child(self) -> Child | None: ...

@final
class Handler:
    """A method, as calls find it."""

    def __new__(
        cls,
        method: object,
        function: Callable[..., Any],
        is_apart: bool,
        is_stream: bool,
        takes_items: bool,
        least: int,
        exact: list[type | None] | None,
    ) -> Self: ...

@final
class Registry:
    """The methods and topics of a service."""

    def __new__(cls) -> Self: ...
    def add_method(self, name: str, handler: Handler) -> None: ...
    def add_topic(self, name: str, topic: Topic) -> None: ...

@final
class Topic:
    """A topic and those who have subscribed to it."""

    def __new__(cls, retains: bool) -> Self: ...
    @property
    def subscribers(self) -> int: ...
    def publish(self, value: Any) -> bool: ...
    def room(self) -> asyncio.Future[None] | None: ...

def running() -> tuple[Any, float | None] | None:
    """The peer that the plain handler running in this thread works for, and the seconds that are left."""

def log_send(raised: BaseException) -> None:
    """Logs what the handler of a one-way message has raised."""

def encode_value(value: Any) -> tuple[bytes, bool]:
    """The payload of one value and whether it is raw, for the tests of the vectors."""

def decode_value(payload: bytes, is_raw: bool) -> Any:
    """The value of a payload, for the tests of the vectors."""

@final
class Child:
    """A child on its way out."""

    def fileno(self) -> int: ...
    def advance(self) -> float | None: ...

def accept_core(
    listener: Listener, event_loop: asyncio.AbstractEventLoop
) -> Core | PeerCore | float | Literal[False] | None: ...
def open_pair(event_loop: asyncio.AbstractEventLoop, kind: str, has_service: bool) -> tuple[Core | PeerCore, Core | PeerCore]: ...
