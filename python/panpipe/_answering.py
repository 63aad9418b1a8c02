"""A connection of plain messages that a service answers."""

import asyncio
import inspect
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from panpipe import _context, _panpipe
from panpipe._closing import wake
from panpipe._connection import Connection
from panpipe._error import ConnectionLost, Error
from panpipe._running import in_pool

_log = logging.getLogger("panpipe")

# Messages of one connection that are handled before others get their turn.
_BATCH = 64


class PlainHandler(NamedTuple):
    """What answers plain messages."""

    function: Callable[..., Any]
    in_thread: bool

    async def __call__(self, message: Any) -> Any:
        """The reply to a message."""
        if self.in_thread:
            return await in_pool(partial(self.function, message))
        reply = self.function(message)
        return await reply if inspect.isawaitable(reply) else reply


class Answering:
    """A connection whose messages a handler answers, one after another."""

    def __init__(self, core: _panpipe.Core, handler: PlainHandler) -> None:
        self.connection = Connection(core)
        self._core, self._handler = core, handler
        self._is_draining = False
        self._waiting: asyncio.Future[None] | None = None
        self._on_end: Callable[[Error | None], None] | None = None
        self._running = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        error: Error | None = None
        try:
            await self._answer_all()
        except Error as ended:
            error = ended
        finally:
            with suppress(Error):
                await self.connection.close()
            on_end, self._on_end = self._on_end, None
            if on_end is not None:
                on_end(error)

    async def _answer_all(self) -> None:
        count = 0
        while (message := await self._next()) is not None and await self._answer(message):
            count += 1
            if count % _BATCH == 0:
                await asyncio.sleep(0)

    async def _next(self) -> Any:
        """The next message; ``None`` at the end, and once the server closes."""
        while not self._is_draining:
            message = self._core.recv_now()
            if message is not False:
                return message
            self._waiting = self._core.readable()
            await self._waiting
        return None

    async def _answer(self, message: Any) -> bool:
        """Answers a message; whether the connection may go on."""
        running = _context.Handler(self.connection, None)
        _context.handler.set(running)
        try:
            reply = await self._handler(message)
        except Exception:
            _log.exception("a handler failed, and its connection is closed")
            return False
        finally:
            running.is_over = True
        try:
            if reply is not None:
                await self.connection.send(reply)
        except ConnectionLost:
            # A peer that has gone is no failure of the handler.
            return False
        except Error:
            raise
        except Exception:
            _log.exception("a handler's answer is no message, and its connection is closed")
            return False
        return True

    async def _drain(self) -> None:
        """Takes no more messages, and waits until the one that is handled is answered."""
        self._is_draining = True
        if self._waiting is not None:
            wake(self._waiting)
        await asyncio.wait([self._running])

    async def close(self) -> None:
        """Cancels a handler that runs, and closes the connection."""
        self._running.cancel()
        await asyncio.wait([self._running])
        # A task that was cancelled before it began has not.
        with suppress(Error):
            await self.connection.close()
