"""What is opened with ``await`` or ``async with``, and closed."""

import asyncio
from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, TypeVar

from panpipe import _panpipe

_T = TypeVar("_T", bound="Closes")


class Closes:
    """Something that is closed at the end."""

    async def close(self) -> None:
        """Closes it."""
        raise NotImplementedError


class Opening(Generic[_T]):
    """What connect and serve return: await it, or enter it with ``async with``, which closes at the end."""

    def __init__(self, opening: Coroutine[Any, Any, _T]) -> None:
        self._opening = opening
        self._opened: _T | None = None

    def __await__(self) -> Generator[Any, None, _T]:
        return self._opening.__await__()

    async def __aenter__(self) -> _T:
        self._opened = await self._opening
        return self._opened

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._opened is not None:
            await self._opened.close()


async def gone(child: _panpipe.Child) -> None:
    """Waits until a child has ended."""
    loop = asyncio.get_running_loop()
    while (pause := child.advance()) is not None:
        ready = loop.create_future()
        loop.add_reader(child.fileno(), wake, ready)
        timer = loop.call_later(pause, wake, ready)
        try:
            await ready
        finally:
            timer.cancel()
            loop.remove_reader(child.fileno())


def wake(ready: asyncio.Future[None]) -> None:
    """Ends the waiting of a future, unless that has ended already."""
    if not ready.done():
        ready.set_result(None)
