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


class Handler:
    """A handler that runs as a task; tasks that it has begun know it, too."""

    def __init__(self, peer: Any, left: float | None) -> None:
        self.context = _context(peer, left)
        self.is_over = False


handler: ContextVar[Handler | None] = ContextVar("panpipe handler", default=None)


def current() -> Context:
    """The call that the handler running here answers: its peer, and when it is out of time.

    Raises ``LookupError`` where no handler runs.
    """
    if (running := _panpipe.running()) is not None:
        return _context(*running)
    found = handler.get()
    if found is None:
        raise LookupError("no handler runs here")
    return found.context


def inherited() -> float | None:
    """The seconds that are left to the handler whose task this is; called by the native part."""
    found = handler.get()
    # What a handler has begun and left behind has its own time.
    return None if found is None or found.is_over else found.context.remaining


def _context(peer: Any, left: float | None) -> Context:
    return Context(peer, None if left is None else time.monotonic() + left)
