"""The connection under a peer, which is made again where its address says ``reconnect=true``."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Literal

from panpipe import _panpipe
from panpipe._error import Error

State = Literal["connected", "reconnecting", "closed"]

# The first pause, the longest to another machine and inside this one, in seconds; each is up to so much longer or
# shorter, so that many do not come back at once.
_FIRST, _LONGEST, _LONGEST_HERE, _JITTER = 0.1, 5.0, 0.25, 0.2


def pauses(is_remote: bool) -> Iterator[float]:
    """How long to wait before each attempt but the first to connect again."""
    pause = _FIRST
    while True:
        yield pause * random.uniform(1 - _JITTER, 1 + _JITTER)
        pause = min(2 * pause, _LONGEST if is_remote else _LONGEST_HERE)


def may_repeat(error: Error, is_idempotent: bool, is_over: bool) -> bool:
    """Whether a call that failed like this, on a connection that is over, is to be made on the next one."""
    if error.code == "refused":
        return error.ran == "no" and is_over
    return error.code == "connection-lost" and not error._is_answer and (error.ran == "no" or is_idempotent)


class Line:
    """The core that a peer uses now."""

    def __init__(self, core: _panpipe.PeerCore, reopen: Callable[[], Awaitable[_panpipe.PeerCore]] | None) -> None:
        self.core = core
        self.start_call = core.call
        self.state: State = "connected"
        self.on_state: Callable[[State], None] | None = None
        self._reopen = reopen
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def reconnects(self) -> bool:
        """Whether a connection that was lost is made again."""
        return self._reopen is not None

    async def ready(self, within: float | None) -> _panpipe.PeerCore:
        """The core, once it can be called; raises ``DeadlineExceeded`` after so many seconds."""
        if self.reconnects and not self._is_ready():
            try:
                async with asyncio.timeout(within):
                    while not self._is_ready():
                        await self._change()
            except TimeoutError:
                raise self.core.timed_out("calling") from None
        return self.core

    def _is_ready(self) -> bool:
        core = self.core
        return self.state == "closed" or (self.state == "connected" and not (core.ended or core.draining))

    async def closed(self) -> None:
        """Waits until the connection is over for good."""
        while self.state != "closed":
            await self._change()

    async def _change(self) -> None:
        change = asyncio.get_running_loop().create_future()
        self._waiting.add(change)
        try:
            await change
        finally:
            self._waiting.discard(change)

    async def reconnect(self, start: Callable[[_panpipe.PeerCore], None]) -> None:
        """Opens the address again and again until somebody is there, and starts the new core."""
        assert self._reopen is not None
        self.become("reconnecting")
        pause = pauses(self.core.remote_machine)
        while self.state == "reconnecting":
            try:
                core = await self._reopen()
            except Error:
                await asyncio.sleep(next(pause))
                continue
            if self.state != "reconnecting":
                core.close(True)
                return
            self.core, self.start_call = core, core.call
            start(core)
            self.become("connected")

    def become(self, state: State) -> None:
        """Enters a state, and tells everybody."""
        if self.state in (state, "closed"):
            return
        self.state = state
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        if self.on_state is not None:
            self.on_state(state)
