"""For whom a handler runs, and how long it may."""

import time
from contextvars import ContextVar
from typing import Any, NamedTuple

from panpipe import _panpipe


class Context(NamedTuple):
    """The call that a handler answers."""

    peer: Any
    """Who calls: a ``Peer``, to be called back."""
    deadline: float | None
    """When the call is out of time, by ``time.monotonic()``; ``None`` for never."""

    @property
    def remaining(self) -> float | None:
        """The seconds that are left."""
        return None if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)


handler: ContextVar[Context | None] = ContextVar("panpipe handler", default=None)


def context(peer: Any, left: float | None) -> Context:
    """The context of a handler that has ``left`` seconds."""
    return Context(peer, None if left is None else time.monotonic() + left)


def current() -> Context:
    """The call that the handler running here answers: its peer, and when it is out of time.

    Raises ``LookupError`` where no handler runs.
    """
    if (running := _panpipe.running()) is not None:
        return context(*running)
    found = handler.get()
    if found is None:
        raise LookupError("no handler runs here")
    return found


def inherited() -> float | None:
    """The seconds that are left to the handler whose task this is; called by the native part."""
    found = handler.get()
    return None if found is None else found.remaining
