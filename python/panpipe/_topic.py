"""A topic of a service."""

import asyncio
from typing import Any

from panpipe import _panpipe
from panpipe._error import make


class Topic:
    """What is published here comes to everybody who has subscribed."""

    def __init__(self, name: str, retain: bool) -> None:
        self._name = name
        self._native = _panpipe.Topic(retain)
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def name(self) -> str:
        """What to subscribe to."""
        return self._name

    @property
    def subscribers(self) -> int:
        """How many have subscribed."""
        return self._native.subscribers

    def publish(self, value: Any) -> None:
        """Gives ``value`` to everybody who has subscribed, and keeps it for who comes later if the topic retains.

        Any thread may call it; one other than the loop's waits for the loop.  Raises ``InvalidArguments`` for what has
        no place in a message, and ``Busy`` when a subscriber with the policy ``block`` has no room; nothing was
        published then, and ``room`` waits for it.
        """
        loop = self._loop
        if loop is None or loop.is_closed() or loop is asyncio._get_running_loop():
            self._publish(value)
        else:
            asyncio.run_coroutine_threadsafe(self._publish_there(value), loop).result()

    async def _publish_there(self, value: Any) -> None:
        self._publish(value)

    def _publish(self, value: Any) -> None:
        if not self._native.publish(value):
            raise make(
                "busy", f"publishing on {self._name}", None, "no", "a subscriber with the policy block has no room"
            )

    async def room(self) -> None:
        """Waits until every subscriber with the policy ``block`` has room."""
        while (room := self._native.room()) is not None:
            await room

    def __repr__(self) -> str:
        return f"<panpipe.Topic {self._name}>"
