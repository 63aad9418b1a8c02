"""panpipe for asyncio (and uvloop): the same words, awaited.

async with panpipe.aio.serve("tcp://localhost:9999?framing=raw", lambda data: data.upper()) as server:
    async with panpipe.aio.connect(server.address) as peer:
        print(await peer.call("Hello, server!"))
"""

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from types import TracebackType
from typing import Any, overload

from panpipe import _panpipe
from panpipe._closing import Closes, Opening, wake
from panpipe._connection import Connection, Message
from panpipe._error import Error
from panpipe._peer import Peer, Stream
from panpipe._service import Service
from panpipe._serving import ServiceServer, Serving

__all__ = [
    "Connection",
    "Listener",
    "Peer",
    "Server",
    "ServiceServer",
    "Stream",
    "connect",
    "listen",
    "pair",
    "serve",
    "spawn",
]

_log = logging.getLogger("panpipe")


def connect(address: str, *, service: Service | None = None, timeout: float | None = None) -> Opening[Any]:
    """Connects to an address: ``await`` it, or use ``async with``.

    It is a ``Peer`` where the address means the panpipe protocol, and else a ``Connection``.  The methods of
    ``service`` are for the other end, which may call them.

    Raises ``InvalidAddress``, ``Unsupported``, ``Refused``, ``NotFound``, ``Permission``, ``PathTooLong``, ``Busy``,
    ``Io``, and ``DeadlineExceeded`` after the address's ``timeout`` or the given seconds; over TLS and WebSocket also
    ``Unauthenticated``, ``BadPeer`` and ``ConnectionLost``.
    """
    return Opening(_connect(address, service, timeout))


def spawn(
    command: Sequence[str], options: str = "", *, service: Service | None = None, timeout: float | None = None
) -> Opening[Any]:
    """Starts a program as a child of this process and connects to it: ``await`` it, or use ``async with``.

    It ends when the connection is closed, and with this process in any case: its stdin ends, two seconds later it gets
    SIGTERM, five seconds later SIGKILL, and its children with it.  ``close`` waits for that.

    Raises ``NotFound`` when there is no such program, ``Permission``, ``InvalidAddress``, ``Unsupported``, ``Busy`` or
    ``Io``.
    """
    return connect(_panpipe.spawn_address(command, options), service=service, timeout=timeout)


async def _connect(address: str, service: Service | None, timeout: float | None) -> Connection | Peer:
    return _of(await _open(address, service is not None, timeout), service)


async def _open(address: str, has_service: bool, timeout: float | None = None) -> _panpipe.Core | _panpipe.PeerCore:
    loop = asyncio.get_running_loop()
    connecting = _panpipe.Connecting(address, has_service)
    if connecting.may_block():
        # Only a resolver for names other than localhost needs this thread of the loop's own pool.
        await loop.run_in_executor(None, connecting.begin)
    else:
        connecting.begin()
    try:
        async with asyncio.timeout(connecting.timeout if timeout is None else timeout):
            while True:
                step = connecting.advance(loop)
                if isinstance(step, float):
                    await asyncio.sleep(step)
                elif isinstance(step, tuple):
                    await _ready(loop, *step)
                else:
                    return step
    except Error:
        raise
    except TimeoutError:
        raise connecting.timed_out() from None


def _of(core: _panpipe.Core | _panpipe.PeerCore, service: Service | None = None) -> Connection | Peer:
    """The connection of a core: what the protocol of its address makes it."""
    if isinstance(core, _panpipe.Core):
        return Connection(core)
    return Peer(core, service, functools.partial(_open_peer, core.address) if core.reconnects else None)


async def _open_peer(address: str) -> _panpipe.PeerCore:
    core = await _open(address, True)
    assert isinstance(core, _panpipe.PeerCore)
    return core


async def _ready(loop: asyncio.AbstractEventLoop, fd: int, is_to_write: bool) -> None:
    add, remove = (loop.add_writer, loop.remove_writer) if is_to_write else (loop.add_reader, loop.remove_reader)
    ready = loop.create_future()
    add(fd, wake, ready)
    try:
        await ready
    finally:
        remove(fd)


def pair(kind: str = "", *, services: tuple[Service | None, Service | None] = (None, None)) -> tuple[Any, Any]:
    """Two connected connections inside this program, of a kind and with the options of an address.

    ``socket``, as when nothing is said; ``pipe``, two pipes; ``one-way``, of which the first end reads and the second
    writes: ``pair("pipe?framing=lines")``, ``pair("framing=lines")``.
    """
    one, other = _panpipe.open_pair(asyncio.get_running_loop(), kind, any(services))
    return _of(one, services[0]), _of(other, services[1])


class Listener(Closes):
    """A listening address. Iterating it accepts connections."""

    def __init__(self, listener: _panpipe.Listener) -> None:
        self._listener = listener
        self._closed = False
        # A loop watches a descriptor for one waiter; others that accept wait here for their turn.
        self._turn = asyncio.Lock()
        self._waiting: asyncio.Future[None] | None = None

    @property
    def address(self) -> str:
        """The real address, with the port or the name that was picked: connect to this."""
        return self._listener.address

    @property
    def dropped(self) -> int:
        """Datagrams that were dropped for want of room, by this program and by the system; zero where none are."""
        return self._listener.dropped

    async def accept(self) -> Any:
        """Waits for the next connection; ``None`` when no more will come. Safe to cancel.

        It is a ``Peer`` where the address means the panpipe protocol, and else a ``Connection``; with ``accept`` in the
        address, whichever the other end speaks.
        """
        loop = asyncio.get_running_loop()
        if not self._closed:
            async with self._turn:
                return await self._accept(loop)
        return None

    async def _accept(self, loop: asyncio.AbstractEventLoop) -> Connection | Peer | None:
        while not self._closed:
            accepted = _panpipe.accept_core(self._listener, loop)
            if isinstance(accepted, _panpipe.Core | _panpipe.PeerCore):
                return _of(accepted)
            if accepted is False:
                return None
            if accepted is None:
                await self._readable(loop)
            else:
                await asyncio.sleep(accepted)
        return None

    async def _readable(self, loop: asyncio.AbstractEventLoop) -> None:
        self._waiting = ready = loop.create_future()
        descriptors = self._listener._descriptors()
        for fd in descriptors:
            loop.add_reader(fd, wake, ready)
        try:
            await ready
        finally:
            for fd in descriptors:
                loop.remove_reader(fd)

    async def close(self) -> None:
        """Stops listening and removes the socket file; who waits in ``accept`` gets ``None``."""
        self._closed = True
        if self._waiting is not None:
            wake(self._waiting)
            # It stops watching the descriptors before they close.
            async with self._turn:
                pass
        self._listener.close()

    async def __aenter__(self) -> "Listener":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        connection = await self.accept()
        if connection is None:
            raise StopAsyncIteration
        return connection

    def __repr__(self) -> str:
        return f"<panpipe.aio.Listener {self.address}>"


def listen(address: str) -> Opening[Listener]:
    """Listens on an address: ``await`` it, or use ``async with``.

    Raises ``InvalidAddress``, ``Unsupported``, ``AddressInUse``, ``NotFound``, ``Permission``, ``PathTooLong``,
    ``Busy`` or ``Io``.
    """
    return Opening(_listen(address))


async def _listen(address: str) -> Listener:
    return Listener(_panpipe.listen(address))


class Server(Closes):
    """A running server."""

    def __init__(self, server: _panpipe.Server) -> None:
        self._server: _panpipe.Server | None = server
        self._address = server.address
        self._loop = asyncio.get_running_loop()
        self._fd = server.fileno()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._turn_is_due = False
        self._closed = self._loop.create_future()
        self._loop.add_reader(self._fd, self._turn)
        self._turn()

    @property
    def address(self) -> str:
        """The real address, with the port or the name that was picked: connect to this."""
        return self._address

    @property
    def dropped(self) -> int:
        """Datagrams that were dropped for want of room, by this program and by the system; zero once closed."""
        return 0 if self._server is None else self._server.dropped

    async def wait(self) -> None:
        """Waits until the server is closed or nobody can come any more; raises what ended it."""
        await asyncio.shield(self._closed)

    async def close(self) -> None:
        """Stops listening, cancels handlers that run, and closes the connections."""
        self._stop()
        # A handler may be what closes the server, and does not wait for itself.
        others = self._tasks - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _stop(self, error: BaseException | None = None) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        # Before the descriptor closes: a loop must not watch a number that may name another file soon.
        self._loop.remove_reader(self._fd)
        del server
        if self._timer is not None:
            self._timer.cancel()
        if not self._closed.done():
            if error is None:
                self._closed.set_result(None)
            else:
                self._closed.set_exception(error)

    def _turn(self) -> None:
        self._turn_is_due = False
        if self._server is None:
            return
        try:
            again, coroutines = self._server.turn()
        except BaseException as error:
            self._stop(error)
            raise
        for number, coroutine in coroutines:
            self._spawn(number, coroutine)
        if self._server is None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._server.finished:
            self._stop()
        elif again is not None:
            self._timer = self._loop.call_later(again, self._turn)

    def _spawn(self, number: int, answer: Awaitable[Message | None]) -> None:
        task = self._loop.create_task(self._answer(number, answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, number: int, answer: Awaitable[Message | None]) -> None:
        try:
            reply = await answer
        except BaseException as error:
            if self._server is not None:
                self._server.fail(number)
            if not isinstance(error, Exception):
                raise
            _log.exception("a handler failed, and its connection is closed")
        else:
            if self._server is not None:
                self._server.reply(number, reply)
        # All that is answered in this turn of the loop is written together.
        if not self._turn_is_due:
            self._turn_is_due = True
            self._loop.call_soon(self._turn)


async def _serve(address: str, handler: Callable[..., Message | Awaitable[Message | None] | None]) -> Server:
    return Server(_panpipe.Server(_panpipe.listen(address), handler))


class _Serving(Opening[Server]):
    async def _for_ever(self) -> None:
        async with self as server:
            await server.wait()

    def __await__(self) -> Generator[Any, None, Any]:
        return self._for_ever().__await__()


@overload
def serve(address: str, handler: Service) -> Serving: ...
@overload
def serve(address: str, handler: Callable[..., Message | Awaitable[Message | None] | None]) -> _Serving: ...
def serve(address: str, handler: Any) -> Any:
    """Serves a ``Service``, or answers every message of every client with ``handler(message)``, plain or async.

    ``async with serve(...) as server`` serves until the block ends; ``await serve(...)`` serves until cancelled.
    Plain handlers run one after another in the loop, async ones concurrently, one at a time per connection.
    A handler that returns ``None`` sends nothing; one that raises is logged and closes its connection.
    """
    return Serving(address, handler) if isinstance(handler, Service) else _Serving(_serve(address, handler))
