"""A connection of plain messages on asyncio."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import Any

from panpipe import _panpipe
from panpipe._closing import Closes, gone
from panpipe._error import Error
from panpipe._remote import Remote

Message = bytes | bytearray | memoryview | str


class Connection(Closes):
    """A connection to a peer; any number of tasks may use it at once. Iterating it receives messages."""

    def __init__(self, core: _panpipe.Core) -> None:
        self._core = core
        self._call = core.call
        core.start()

    @property
    def address(self) -> str:
        """The address it was opened with."""
        return self._core.address

    @property
    def remote(self) -> Remote:
        """What was known of the other end when the connection was made."""
        return self._core.remote

    @property
    def dropped(self) -> int:
        """Datagrams from the other side that were dropped for want of room; zero where none are."""
        return self._core.dropped

    async def call(self, message: Message, *, timeout: float | None = None) -> Any:
        """Sends a message and waits for the one that answers it, for the address's ``timeout`` unless said.

        Safe to cancel: the reply, should it come, is dropped.  Raises ``TooLarge``, ``Unsupported``,
        ``ConnectionLost``, ``DeadlineExceeded``, ``BadPeer``, ``Busy`` or ``Closed``, whose ``ran`` says whether the
        peer may have run it.
        """
        while (reply := self._call(message, timeout)) is None:
            timeout = await self._room_within(self._core.timeout if timeout is None else timeout)
        try:
            return await reply
        except asyncio.CancelledError:
            self._core.abandon(reply)
            raise

    async def send(self, message: Message) -> None:
        """Sends a message; returns once it is on its way, at the latest when the peer has made room.

        Raises ``TooLarge``, ``Unsupported``, ``ConnectionLost`` or ``Closed``; nothing was sent then.
        """
        if self._core.congested:
            await self._room()
        self._core.send(message)
        if self._core.congested:
            await self._room()

    async def recv(self, *, timeout: float | None = None) -> Any:
        """Waits for the next message; ``None`` once the peer has closed between messages.

        Safe to cancel: what has arrived stays for the next call.  Raises ``ConnectionLost``, ``BadPeer``,
        ``TooLarge``, ``Closed``, and ``DeadlineExceeded`` after ``timeout`` seconds.
        """
        core = self._core
        message = core.recv_now()
        if message is not False:
            return message
        try:
            async with asyncio.timeout(timeout):
                while (message := core.recv_now()) is False:
                    await core.readable()
        except Error:
            raise
        except TimeoutError:
            raise core.timed_out("receiving from") from None
        return message

    def detach(self) -> tuple[int, int]:
        """Hands its descriptors over, for a child that says ``fd:N``: the numbers to read from and to write to.

        It is the same number twice where one does for both.  They are the caller's to close; the connection is closed,
        and the other end does not notice.  Raises ``Busy`` while messages or calls are on their way, which would be
        lost; ``Unsupported`` for a FIFO; ``Closed``.
        """
        return self._core.detach()

    async def close(self) -> None:
        """Writes what was sent, for at most the address's ``timeout``, closes, and waits for a child at the other end.

        Raises ``ConnectionLost`` or ``DeadlineExceeded`` when not everything could be written; it is closed then too.
        """
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._core.timeout):
                    while self._core.unwritten:
                        await self._core.writable()
        except asyncio.CancelledError:
            # Who gave up is told nothing else.
            with suppress(Error):
                self._core.close()
            self._child_gone()
            raise
        try:
            self._core.close()
        finally:
            if (gone := self._child_gone()) is not None:
                await asyncio.shield(gone)

    def _child_gone(self) -> asyncio.Future[None] | None:
        """Waits for a child to end, in a task that goes on when whoever closes gives up."""
        child = self._core.child()
        return None if child is None else asyncio.ensure_future(gone(child))

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        message = await self.recv()
        if message is None:
            raise StopAsyncIteration
        return message

    def __repr__(self) -> str:
        return f"<panpipe.aio.Connection {self.address}>"

    async def _room_within(self, timeout: float) -> float:
        """Waits until there is room to send a call in; what is left of its time."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            async with asyncio.timeout(timeout):
                await self._room()
        except TimeoutError:
            raise self._core.timed_out("calling") from None
        return max(timeout - (loop.time() - begun), 0.0)

    async def _room(self) -> None:
        while self._core.congested:
            await self._core.writable()
