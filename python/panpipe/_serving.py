"""A service on a listener, on asyncio."""

import asyncio
import functools
import logging
from collections.abc import Generator
from contextlib import suppress
from typing import Any

from panpipe import _context, _panpipe
from panpipe._answering import Answering
from panpipe._closing import Closes, Opening
from panpipe._connection import Connection
from panpipe._error import Error
from panpipe._peer import Peer
from panpipe._service import Service

_log = logging.getLogger("panpipe")


class Serving(Opening["ServiceServer"]):
    """A server that is opened with ``async with``, or awaited to serve until cancelled."""

    def __init__(self, address: str | _panpipe.Listener, service: Service) -> None:
        super().__init__(self._open(address, service))

    async def open(self) -> "ServiceServer":
        """Begins to serve."""
        return await self._opening

    def __await__(self) -> Generator[Any, None, Any]:
        return self._for_ever().__await__()

    @staticmethod
    async def _open(address: str | _panpipe.Listener, service: Service) -> "ServiceServer":
        place = address if isinstance(address, str) else address.address
        _panpipe.check_service(place, service._plain is not None)
        return ServiceServer(_panpipe.listen(address) if isinstance(address, str) else address, service)

    async def _for_ever(self) -> None:
        async with self as server:
            await server.wait()


class ServiceServer(Closes):
    """A running server of a service; each connection is a peer, or one of plain messages that its handler answers."""

    def __init__(self, listener: _panpipe.Listener, service: Service) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener, self._service = listener, service
        self._address = listener.address
        self._watched: list[int] = []
        # What a handler knows each connection as, and what looks after it.
        self._served: dict[Peer | Connection, Peer | Answering] = {}
        self._most = listener._most_connections
        self._closed = self._loop.create_future()
        self._is_closing = False
        self._closing: asyncio.Task[None] | None = None
        self._accept()

    @property
    def address(self) -> str:
        """The real address, with the port or the name that was picked: connect to this."""
        return self._address

    @property
    def peers(self) -> frozenset[Peer]:
        """Who is connected; those who send plain messages are not among them."""
        return frozenset(served for served in self._served.values() if isinstance(served, Peer))

    async def wait(self) -> None:
        """Waits until the server is closed or nobody can come any more; raises what ended it."""
        await asyncio.shield(self._closed)

    async def close(self, grace: float = 10.0) -> None:
        """Stops listening, refuses calls, ends subscriptions, lets what runs finish for ``grace`` seconds, and closes.

        Plain messages that have come and are not being handled are dropped.  Handlers that run longer are cancelled.  A
        handler may be what closes the server: it does not wait for itself, and the connection that it answers on is
        closed after it.
        """
        self._is_closing = True
        self._stop_listening()
        handler = _context.handler.get()
        own = None if handler is None or handler.is_over else self._served.get(handler.context.peer)
        await self._close([served for served in self._served.values() if served is not own], grace)
        if own is None:
            self._finish()
        else:
            self._closing = self._loop.create_task(self._close_last(own, grace))

    async def _close(self, all_served: list[Peer | Answering], grace: float) -> None:
        try:
            async with asyncio.timeout(grace):
                await asyncio.gather(*(served._drain() for served in all_served))
        except TimeoutError:
            pass
        finally:
            await asyncio.gather(*(served.close() for served in all_served), return_exceptions=True)

    async def _close_last(self, served: Peer | Answering, grace: float) -> None:
        await self._close([served], grace)
        self._finish()

    def _accept(self) -> None:
        """Takes in who has come, and waits for more if there is room for them."""
        try:
            while not self._is_closing and len(self._served) < self._most:
                accepted = _panpipe.accept_core(self._listener, self._loop)
                if accepted is None:
                    return self._watch()
                if isinstance(accepted, float):
                    self._unwatch()
                    self._loop.call_later(accepted, self._accept)
                    return
                if accepted is False:
                    self._stop_listening()
                    self._is_closing = True
                    break
                self._add(accepted)
        except Error as error:
            self._stop_listening()
            if not self._closed.done():
                self._closed.set_exception(error)
            return
        self._unwatch()
        if self._is_closing and not self._served:
            self._finish()

    def _add(self, core: _panpipe.PeerCore | _panpipe.Core) -> None:
        if isinstance(core, _panpipe.PeerCore):
            served: Peer | Answering = Peer(core, self._service)
        else:
            # It was seen before listening that there is a handler.
            assert self._service._plain is not None
            served = Answering(core, self._service._plain)
        peer = served if isinstance(served, Peer) else served.connection
        self._served[peer] = served
        served._on_end = functools.partial(self._left, peer)

    def _left(self, peer: Peer | Connection, error: Error | None) -> None:
        if error is not None and error.code != "closed":
            _log.warning("connection closed: %s", error)
        self._served.pop(peer, None)
        self._accept()

    def _watch(self) -> None:
        if not self._watched:
            self._watched = self._listener._descriptors()
            for fd in self._watched:
                self._loop.add_reader(fd, self._accept)

    def _unwatch(self) -> None:
        for fd in self._watched:
            self._loop.remove_reader(fd)
        self._watched = []

    def _stop_listening(self) -> None:
        # Before the descriptors close: a loop must not watch a number that may name another file soon.
        self._unwatch()
        with suppress(Error):
            self._listener.close()

    def _finish(self) -> None:
        if not self._closed.done():
            self._closed.set_result(None)

    def __repr__(self) -> str:
        return f"<panpipe.aio.ServiceServer {self._address}>"
