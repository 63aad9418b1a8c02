"""A topic of a service."""

from typing import Any

from panpipe import _panpipe
from panpipe._error import make


class Topic:
    """What is published here comes to everybody who has subscribed."""

    def __init__(self, name: str, retain: bool) -> None:
        self._name = name
        self._native = _panpipe.Topic(retain)

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

        To be called in the thread of the loop that serves.  Raises ``InvalidArguments`` for what has no place in a
        message, and ``Busy`` when a subscriber with the policy ``block`` has no room; nothing was published then, and
        ``room`` waits for it.
        """
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
