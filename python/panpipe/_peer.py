"""A peer on asyncio: calls, streams and topics, both ways."""

import asyncio
import copy
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from panpipe import _context, _panpipe
from panpipe._closing import Closes, gone
from panpipe._error import ConnectionLost, Error
from panpipe._line import Line, State, may_repeat
from panpipe._method import Method
from panpipe._remote import Remote
from panpipe._running import Items, each_of, run
from panpipe._service import Service

_UNSET: Any = object()

# Seconds that a peer which reads only now and then may hold up the draining.
_FLUSHES_WITHIN = 1.0


class Stream(Items):
    """The items that a call brings, to be iterated; leaving early tells the other side to stop."""

    def __init__(
        self,
        core: _panpipe.PeerCore,
        call: int,
        pump: asyncio.Task[None] | None = None,
        renew: Callable[[], Awaitable[tuple[_panpipe.PeerCore, int]]] | None = None,
    ) -> None:
        super().__init__(core, call)
        self._pump, self._renew = pump, renew
        self._loop = asyncio.get_running_loop()
        self._is_open = True

    async def __anext__(self) -> Any:
        try:
            while True:
                try:
                    return await super().__anext__()
                except ConnectionLost as lost:
                    if self._renew is None or lost._is_answer:
                        raise
                self._core, self._call = await self._renew()
        except (StopAsyncIteration, Error):
            self._end()
            raise

    async def aclose(self) -> None:
        """Wants no more items: the other side is told to stop."""
        if self._is_open:
            self._end()
            self._core.cancel(self._call)

    def _end(self) -> None:
        self._is_open = False
        if self._pump is not None:
            self._pump.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if self._is_open:
            # Anything may be going on where this is collected; a loop that is closed has nothing to tell.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._core.cancel, self._call)
                self._loop.call_soon_threadsafe(self._end)


class Peer(Closes):
    """The other end of a connection; any number of tasks may use it at once.

    What it offers is called with ``call``, ``stream``, ``send``, ``publish`` and ``subscribe``; what this side offers
    is the ``service`` that the connection was given.  Methods take positional and named arguments alike, so what is
    said of the call itself goes before it: ``peer.options(timeout=1).call("upper", text="Hello")``.
    """

    def __init__(
        self,
        core: _panpipe.PeerCore,
        service: Service | None = None,
        reopen: Callable[[], Awaitable[_panpipe.PeerCore]] | None = None,
    ) -> None:
        self._line = Line(core, reopen)
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._timeout: float | None = core.timeout
        self._stream_timeout: float | None = None
        self._input: AsyncIterable[Any] | Iterable[Any] | None = None
        self._idempotent = False
        self._is_plain = reopen is None
        self._on_end: Callable[[Error | None], None] | None = None
        self._start(core)

    def _start(self, core: _panpipe.PeerCore) -> None:
        # Handlers in threads may ask for these while the loop is at work in the core.
        self._address, self._remote = core.address, core.remote
        core.start(self, None if self._service is None else self._service._run_on(self._loop))

    @property
    def _core(self) -> _panpipe.PeerCore:
        return self._line.core

    @property
    def address(self) -> str:
        """The address it was opened with."""
        return self._address

    @property
    def remote(self) -> Remote:
        """What was known of the other end when the connection was made."""
        return self._remote

    @property
    def late_replies(self) -> int:
        """Answers that came after their call had ended, and were dropped."""
        return self._core.late_replies

    @property
    def state(self) -> State:
        """Whether it can be called: ``connected``, ``reconnecting`` (with ``reconnect=true``) or ``closed``."""
        return self._line.state

    def on_state(self, callback: Callable[[State], None] | None) -> None:
        """Has ``callback`` called with each new state."""
        self._line.on_state = callback

    def options(
        self,
        *,
        timeout: float | None = _UNSET,
        input: AsyncIterable[Any] | Iterable[Any] | None = None,
        idempotent: bool = False,
    ) -> "Peer":
        """The same peer, whose calls have a ``timeout`` in seconds (``None``: none) or stream ``input`` to the handler.

        Without it calls have the address's ``timeout``, and streams have none.  A handler's own calls end no later
        than the call that it answers.  With ``reconnect=true`` calls that were never sent are sent once the connection
        stands again; those that may have run fail, and are made again only if they are ``idempotent``.
        """
        other = copy.copy(self)
        if timeout is not _UNSET:
            other._timeout = other._stream_timeout = timeout
        if input is not None:
            other._input, other._is_plain = input, False
        other._idempotent |= idempotent
        return other

    async def call(self, method: str, /, *positional: Any, **named: Any) -> Any:
        """Calls a method of the other side and waits for its reply.

        Cancelling it tells the handler to stop.  Raises what the other side answered with: ``RemoteError`` for what
        the handler raised, ``NotFound``, ``InvalidArguments`` and others by their code; ``DeadlineExceeded``,
        ``ConnectionLost``, ``Refused``, ``TooLarge``, ``Busy``, ``BadPeer`` or ``Closed``, whose ``ran`` says whether
        it may have run; and ``InvalidArguments``, too, for arguments that have no place in a message.
        """
        if not self._is_plain:
            return await self._call(method, positional, named)
        call, reply = self._line.start_call(method, positional, named, self._timeout, False)
        try:
            return await reply
        except asyncio.CancelledError:
            self._core.cancel(call)
            raise
        finally:
            # What it raised knows this frame, and would be kept by it.
            del reply

    async def _call(self, method: str, positional: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Calls with all that options may ask for."""
        begun = self._loop.time()
        while True:
            left = None if self._timeout is None else max(self._timeout - (self._loop.time() - begun), 0.0)
            core = await self._line.ready(left)
            try:
                return await self._call_on(core, method, positional, named, left)
            except Error as error:
                if not self._may_repeat(error, core):
                    raise

    async def _call_on(
        self,
        core: _panpipe.PeerCore,
        method: str,
        positional: tuple[Any, ...],
        named: dict[str, Any],
        timeout: float | None,
    ) -> Any:
        call, reply = core.call(method, positional, named, timeout, self._input is not None)
        pump = None if self._input is None else self._loop.create_task(self._send_items(core, call, self._input))
        try:
            return await reply
        finally:
            del reply
            core.cancel(call)
            if pump is not None:
                pump.cancel()

    def _may_repeat(self, error: Error, core: _panpipe.PeerCore) -> bool:
        """Whether a call that failed like this is to be made on the next connection."""
        if not self._line.reconnects or self._line.state == "closed" or self._input is not None:
            return False
        return may_repeat(error, self._idempotent, core.draining or core.ended)

    def stream(self, method: str, /, *positional: Any, **named: Any) -> Stream:
        """Calls a method that streams: iterate what is returned with ``async for``, or enter it with ``async with``.

        Iterating raises what ``call`` raises, once the items before it were taken.  Who does not iterate on holds up
        the handler, and nobody else.
        """
        core, streams = self._core, self._input is not None
        call = core.stream(method, positional, named, self._stream_timeout, streams)
        pump = self._loop.create_task(self._send_items(core, call, self._input)) if streams else None
        return Stream(core, call, pump)

    async def _send_items(self, core: _panpipe.PeerCore, call: int, items: Any) -> None:
        item = core.item
        try:
            async for each in items if isinstance(items, AsyncIterable) else each_of(items):
                if (room := item(call, each)) is not None:
                    await room
            core.end(call)
        except Exception as error:
            core.abort(call, error)

    async def send(self, method: str, /, *positional: Any, **named: Any) -> None:
        """Sends a one-way message to a method; returns once it is on its way, at the latest when there is room.

        Nobody tells what becomes of it.  Raises ``TooLarge``, ``InvalidArguments``, ``Refused``, ``ConnectionLost``,
        ``Busy`` or ``Closed``; nothing was sent then.
        """
        core = await self._room()
        core.send(method, positional, named, False)

    async def publish(self, topic: str, value: Any) -> None:
        """Publishes on a topic of the other side's service, as ``send`` sends."""
        core = await self._room()
        core.send(topic, (value,), None, True)

    async def _room(self) -> _panpipe.PeerCore:
        while (core := await self._line.ready(self._timeout)).congested and not core.ended:
            await core.change()
        return core

    async def flush(self) -> None:
        """Waits until the other side has read all that was sent before, for the timeout.

        Raises ``DeadlineExceeded``, ``ConnectionLost``, ``Busy`` or ``Closed``.
        """
        core = self._core
        call, flushed = core.flush()
        await self._within(core, call, flushed, "flushing")

    async def subscribe(self, topic: str, *, policy: str = "drop-oldest") -> Stream:
        """Subscribes to a topic of the other side; what is published from now on comes, until the stream is closed.

        ``policy`` says what becomes of items that are not taken fast enough: ``drop-oldest``, ``drop-newest``
        (``Missed(count)`` stands in their place), ``disconnect`` (it ends with ``Lagged``), or ``block``.  With
        ``reconnect=true`` it is renewed when the connection is; what was published meanwhile is missed.

        Raises ``NotFound`` for a topic that is not there, ``InvalidArguments`` for a policy that is not known, and
        what ``flush`` raises.
        """

        async def renew() -> tuple[_panpipe.PeerCore, int]:
            while True:
                core = await self._line.ready(None)
                try:
                    call, opened = core.subscribe(topic, {"policy": policy})
                    await self._within(core, call, opened, "subscribing to")
                except Error as error:
                    if not self._may_repeat(error, core):
                        raise
                else:
                    return core, call

        return Stream(*await renew(), renew=renew if self._line.reconnects else None)

    async def _within(self, core: _panpipe.PeerCore, call: int, done: asyncio.Future[None], doing: str) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await done
        except BaseException as error:
            core.cancel(call)
            if isinstance(error, TimeoutError) and not isinstance(error, Error):
                raise core.timed_out(doing) from None
            raise
        finally:
            del done

    async def describe(self) -> Any:
        """What the other side offers, as an OpenRPC document."""
        return await self.call("panpipe.describe")

    async def wait(self) -> None:
        """Waits until the connection is closed, by either side."""
        await self._line.closed()

    async def _drain(self) -> None:
        """Refuses new calls, ends subscriptions, and waits until the calls that run have ended."""
        core = self._core
        core.say_goodbye()
        core.end_subscriptions()
        # What the other side sent before it read the goodbye is here by then, and is refused.
        with suppress(Error):
            await self.options(timeout=_FLUSHES_WITHIN).flush()
        while (core.serving or core.unwritten) and not core.ended:
            await core.change()

    async def close(self) -> None:
        """Writes what was sent, for at most the address's ``timeout``, and closes; handlers that run are cancelled."""
        core = self._core
        self._line.become("closed")
        core.say_goodbye()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(core.timeout):
                    while core.unwritten:
                        await core.change()
        finally:
            core.close(True)
            child = core.child()
            ended = None if child is None else asyncio.ensure_future(gone(child))
        if ended is not None:
            await asyncio.shield(ended)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<panpipe.aio.Peer {self.address}>"

    def _begin(
        self,
        call: int,
        method: Method,
        positional: tuple[Any, ...],
        named: dict[str, Any] | None,
        left: float | None,
        fits: bool,
    ) -> asyncio.Task[None]:
        core = self._core
        return self._loop.create_task(self._answer(core, call, run(core, call, method, positional, named, fits), left))

    def _begin_send(
        self,
        call: int,
        method: Method,
        positional: tuple[Any, ...],
        named: dict[str, Any] | None,
        left: float | None,
        fits: bool,
    ) -> asyncio.Task[None]:
        core = self._core
        return self._loop.create_task(self._handle(core, call, run(core, call, method, positional, named, fits)))

    def _await(self, call: int, answer: Awaitable[Any], left: float | None) -> asyncio.Task[None]:
        return self._loop.create_task(self._answer(self._core, call, answer, left))

    async def _answer(self, core: _panpipe.PeerCore, call: int, answer: Awaitable[Any], left: float | None) -> None:
        handler = _context.Handler(self, left)
        _context.handler.set(handler)
        try:
            result = await answer
        except asyncio.CancelledError:
            core.stop(call)
        except BaseException as error:
            core.fail(call, error)
        else:
            core.reply(call, result)
        finally:
            handler.is_over = True

    async def _handle(self, core: _panpipe.PeerCore, call: int, answer: Awaitable[Any]) -> None:
        _context.handler.set(_context.Handler(self, None))
        try:
            await answer
        except asyncio.CancelledError:
            pass
        except Exception as error:
            _panpipe.log_send(error)
        finally:
            core.handled(call)

    def _ended(self, error: Error | None) -> None:
        self._finishing = self._loop.create_task(self._finish(error))

    async def _finish(self, error: Error | None) -> None:
        core = self._core
        with suppress(TimeoutError):
            async with asyncio.timeout(core.timeout):
                while core.unwritten:
                    await core.change()
        core.close(False)
        if self._line.reconnects and self._line.state != "closed":
            await self._line.reconnect(self._start)
        else:
            self._line.become("closed")
            # It may know this peer, and a descriptor is not to wait for the garbage collector.
            on_end, self._on_end = self._on_end, None
            if on_end is not None:
                on_end(error)
