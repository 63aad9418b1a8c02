"""A peer on asyncio: calls, streams and topics, both ways."""

import asyncio
import copy
import functools
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, suppress
from contextvars import copy_context
from types import TracebackType
from typing import Any, Self

from panpipe import _context, _panpipe
from panpipe._closing import Closes, gone
from panpipe._error import Error
from panpipe._method import Method
from panpipe._remote import Remote
from panpipe._service import Service

_PENDING = object()
_UNSET: Any = object()


class Items(AsyncIterator[Any]):
    """What the caller streams to a handler."""

    def __init__(self, core: _panpipe.PeerCore, call: int) -> None:
        self._core, self._call = core, call

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        while (item := self._core.next_item(self._call, _PENDING)) is _PENDING:
            await self._core.item_comes(self._call)
        return item


class Stream(Items):
    """The items that a call brings, to be iterated; leaving early tells the other side to stop."""

    def __init__(self, core: _panpipe.PeerCore, call: int, pump: asyncio.Task[None] | None = None) -> None:
        super().__init__(core, call)
        self._pump = pump
        self._loop = asyncio.get_running_loop()
        self._is_open = True

    async def __anext__(self) -> Any:
        try:
            return await super().__anext__()
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

    def __init__(self, core: _panpipe.PeerCore, service: Service | None = None) -> None:
        self._core = core
        self._start_call = core.call
        self._loop = asyncio.get_running_loop()
        self._timeout: float | None = core.timeout
        self._stream_timeout: float | None = None
        self._input: AsyncIterable[Any] | Iterable[Any] | None = None
        self._on_end: Callable[[Error | None], None] = lambda error: None
        core.start(self, None if service is None else service._registry)

    @property
    def address(self) -> str:
        """The address it was opened with."""
        return self._core.address

    @property
    def remote(self) -> Remote:
        """What was known of the other end when the connection was made."""
        return self._core.remote

    @property
    def late_replies(self) -> int:
        """Answers that came after their call had ended, and were dropped."""
        return self._core.late_replies

    def options(
        self,
        *,
        timeout: float | None = _UNSET,
        input: AsyncIterable[Any] | Iterable[Any] | None = None,
    ) -> "Peer":
        """The same peer, whose calls have a ``timeout`` in seconds (``None``: none) or stream ``input`` to the handler.

        Without it calls have the address's ``timeout``, and streams have none.  A handler's own calls end no later
        than the call that it answers.
        """
        other = copy.copy(self)
        if timeout is not _UNSET:
            other._timeout = other._stream_timeout = timeout
        if input is not None:
            other._input = input
        return other

    async def call(self, method: str, /, *positional: Any, **named: Any) -> Any:
        """Calls a method of the other side and waits for its reply.

        Cancelling it tells the handler to stop.  Raises what the other side answered with: ``RemoteError`` for what
        the handler raised, ``NotFound``, ``InvalidArguments`` and others by their code; ``DeadlineExceeded``,
        ``ConnectionLost``, ``Refused``, ``TooLarge``, ``Busy``, ``BadPeer`` or ``Closed``, whose ``ran`` says whether
        it may have run; and ``InvalidArguments``, too, for arguments that have no place in a message.
        """
        if self._input is not None:
            return await self._call_with_input(method, positional, named)
        call, reply = self._start_call(method, positional, named, self._timeout, False)
        try:
            return await reply
        except asyncio.CancelledError:
            self._core.cancel(call)
            raise

    async def _call_with_input(self, method: str, positional: tuple[Any, ...], named: dict[str, Any]) -> Any:
        call, reply = self._core.call(method, positional, named, self._timeout, True)
        pump = self._loop.create_task(self._send_items(call, self._input))
        try:
            return await reply
        finally:
            pump.cancel()
            self._core.cancel(call)

    def stream(self, method: str, /, *positional: Any, **named: Any) -> Stream:
        """Calls a method that streams: iterate what is returned with ``async for``, or enter it with ``async with``.

        Iterating raises what ``call`` raises, once the items before it were taken.  Who does not iterate on holds up
        the handler, and nobody else.
        """
        streams = self._input is not None
        call = self._core.stream(method, positional, named, self._stream_timeout, streams)
        pump = self._loop.create_task(self._send_items(call, self._input)) if streams else None
        return Stream(self._core, call, pump)

    async def _send_items(self, call: int, items: Any) -> None:
        item = self._core.item
        try:
            async for each in items if isinstance(items, AsyncIterable) else _each(items):
                if (room := item(call, each)) is not None:
                    await room
            self._core.end(call)
        except Exception as error:
            self._core.abort(call, error)

    async def send(self, method: str, /, *positional: Any, **named: Any) -> None:
        """Sends a one-way message to a method; returns once it is on its way, at the latest when there is room.

        Nobody tells what becomes of it.  Raises ``TooLarge``, ``InvalidArguments``, ``Refused``, ``ConnectionLost``,
        ``Busy`` or ``Closed``; nothing was sent then.
        """
        await self._room()
        self._core.send(method, positional, named, False)

    async def publish(self, topic: str, value: Any) -> None:
        """Publishes on a topic of the other side's service, as ``send`` sends."""
        await self._room()
        self._core.send(topic, (value,), None, True)

    async def _room(self) -> None:
        while self._core.congested and not self._core.ended:
            await self._core.change()

    async def flush(self) -> None:
        """Waits until the other side has read all that was sent before, for the timeout.

        Raises ``DeadlineExceeded``, ``ConnectionLost``, ``Busy`` when 64 flushes wait, or ``Closed``.
        """
        call, flushed = self._core.flush()
        await self._within(call, flushed, "flushing")

    async def subscribe(self, topic: str, *, policy: str = "drop-oldest") -> Stream:
        """Subscribes to a topic of the other side; what is published from now on comes, until the stream is closed.

        ``policy`` says what becomes of items that are not taken fast enough: ``drop-oldest``, ``drop-newest``
        (``Missed(count)`` stands in their place), ``disconnect`` (it ends with ``Lagged``), or ``block``.

        Raises ``NotFound`` for a topic that is not there, ``InvalidArguments`` for a policy that is not known, and
        what ``flush`` raises.
        """
        call, opened = self._core.subscribe(topic, {"policy": policy})
        await self._within(call, opened, "subscribing to")
        return Stream(self._core, call)

    async def _within(self, call: int, done: asyncio.Future[None], doing: str) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await done
        except BaseException as error:
            self._core.cancel(call)
            if isinstance(error, TimeoutError) and not isinstance(error, Error):
                raise self._core.timed_out(doing) from None
            raise

    async def describe(self) -> Any:
        """What the other side offers, as an OpenRPC document."""
        return await self.call("panpipe.describe")

    async def _drain(self) -> None:
        """Refuses new calls, and waits until those that run have ended."""
        core = self._core
        core.say_goodbye()
        while (core.serving or core.unwritten) and not core.ended:
            await core.change()

    async def close(self) -> None:
        """Writes what was sent, for at most the address's ``timeout``, and closes; handlers that run are cancelled."""
        core = self._core
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
        return self._loop.create_task(self._answer(call, self._run(call, method, positional, named, fits), left))

    def _begin_send(
        self,
        call: int,
        method: Method,
        positional: tuple[Any, ...],
        named: dict[str, Any] | None,
        left: float | None,
        fits: bool,
    ) -> asyncio.Task[None]:
        return self._loop.create_task(self._handle(call, self._run(call, method, positional, named, fits)))

    def _await(self, call: int, answer: Awaitable[Any], left: float | None) -> asyncio.Task[None]:
        return self._loop.create_task(self._answer(call, answer, left))

    async def _answer(self, call: int, answer: Awaitable[Any], left: float | None) -> None:
        _context.handler.set(_context.context(self, left))
        try:
            result = await answer
        except asyncio.CancelledError:
            self._core.stop(call)
        except BaseException as error:
            self._core.fail(call, error)
        else:
            self._core.reply(call, result)

    async def _handle(self, call: int, answer: Awaitable[Any]) -> None:
        _context.handler.set(_context.context(self, None))
        try:
            await answer
        except asyncio.CancelledError:
            pass
        except Exception as error:
            _panpipe.log_send(error)
        finally:
            self._core.handled(call)

    async def _run(
        self, call: int, method: Method, positional: tuple[Any, ...], named: dict[str, Any] | None, fits: bool
    ) -> Any:
        function = method.function
        if not fits:
            items: Any = None
            if method.items is not None:
                items = Items(self._core, call)
                items = _in_thread(self._loop, items) if method.in_thread else items
            positional, named = method.bind(positional, named, items)
        begin = functools.partial(function, *positional, **named or {})
        match method.runs:
            case "async":
                return await begin()
            case "async-stream":
                return await self._produce(call, begin())
            case "stream":
                generator = begin()
                return await self._produce(call, self._from_thread(generator) if method.in_thread else _each(generator))
            case _:
                return await self._in_pool(begin)

    async def _produce(self, call: int, generator: Any) -> None:
        item = self._core.item
        async with aclosing(generator):
            async for each in generator:
                if (room := item(call, each)) is not None:
                    await room

    async def _from_thread(self, generator: Any) -> AsyncIterator[Any]:
        try:
            while (item := await self._in_pool(functools.partial(next, generator, _PENDING))) is not _PENDING:
                yield item
        finally:
            await self._in_pool(generator.close)

    async def _in_pool(self, function: Callable[[], Any]) -> Any:
        running = self._loop.run_in_executor(None, copy_context().run, function)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            # A thread cannot be stopped; its call keeps its place until it ends.
            with suppress(BaseException):
                await asyncio.wait([running])
                running.exception()
            raise

    def _ended(self, error: Error | None) -> None:
        self._loop.create_task(self._finish(error))

    async def _finish(self, error: Error | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._core.timeout):
                while self._core.unwritten:
                    await self._core.change()
        self._core.close(False)
        self._on_end(error)


async def _each(items: Any) -> AsyncIterator[Any]:
    try:
        for item in items:
            yield item
    finally:
        if hasattr(items, "close"):
            items.close()


def _in_thread(loop: asyncio.AbstractEventLoop, items: Items) -> Iterator[Any]:
    """The same items for a handler in a thread, which waits for each."""

    async def step() -> Any:
        return await anext(items, _PENDING)

    while (item := asyncio.run_coroutine_threadsafe(step(), loop).result()) is not _PENDING:
        yield item
