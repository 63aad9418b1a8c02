"""How a method runs on asyncio: as a task, as a stream, in a thread."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from contextvars import copy_context
from functools import partial
from typing import Any, Self

from panpipe import _panpipe
from panpipe._method import Method

_PENDING = object()


class Items(AsyncIterator[Any]):
    """What comes on a stream: the items of a reply, or what the caller streams to a handler."""

    def __init__(self, core: _panpipe.PeerCore, call: int) -> None:
        self._core, self._call = core, call

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        while (item := self._core.next_item(self._call, _PENDING)) is _PENDING:
            await self._core.item_comes(self._call)
        return item


async def run(
    core: _panpipe.PeerCore,
    call: int,
    method: Method,
    positional: tuple[Any, ...],
    named: dict[str, Any] | None,
    fits: bool,
) -> Any:
    """Runs the handler of a call to its end; what it streams is sent. Arguments that do not fit yet are bound."""
    if not fits:
        items: Any = None
        if method.items is not None:
            items = Items(core, call)
            items = _in_thread(items) if method.in_thread else items
        positional, named = method.bind(positional, named, items)
    begin = partial(method.function, *positional, **named or {})
    match method.runs:
        case "async":
            return await begin()
        case "async-stream":
            return await _produce(core, call, begin())
        case "stream":
            generator = begin()
            return await _produce(core, call, _from_thread(generator) if method.in_thread else each_of(generator))
        case _:
            return await in_pool(begin)


async def each_of(items: Any) -> AsyncIterator[Any]:
    """The items of an iterable, which is closed at the end if it can be."""
    try:
        for item in items:
            yield item
    finally:
        if hasattr(items, "close"):
            items.close()


async def _produce(core: _panpipe.PeerCore, call: int, generator: Any) -> None:
    item = core.item
    async with aclosing(generator):
        async for each in generator:
            if (room := item(call, each)) is not None:
                await room


async def _from_thread(generator: Any) -> AsyncIterator[Any]:
    try:
        while (item := await in_pool(partial(next, generator, _PENDING))) is not _PENDING:
            yield item
    finally:
        await in_pool(generator.close)


async def in_pool(function: Callable[[], Any]) -> Any:
    """Calls a function in a thread of the loop's pool."""
    running = asyncio.get_running_loop().run_in_executor(None, copy_context().run, function)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        # A thread cannot be stopped; its call keeps its place until it ends.
        with suppress(BaseException):
            await asyncio.wait([running])
            running.exception()
        raise


def _in_thread(items: Items) -> Iterator[Any]:
    """The same items for a handler in a thread, which waits for each."""
    loop = asyncio.get_running_loop()

    async def step() -> Any:
        return await anext(items, _PENDING)

    def steps() -> Iterator[Any]:
        while (item := asyncio.run_coroutine_threadsafe(step(), loop).result()) is not _PENDING:
            yield item

    return steps()
