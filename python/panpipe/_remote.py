"""What is known of the other end of a connection."""

from typing import NamedTuple


class Remote(NamedTuple):
    """What was known of the other end when the connection was made; ``None`` where the system does not tell."""

    transport: str
    """The scheme that it came by."""
    address: str | None
    """Its own address, as ``127.0.0.1:54321``."""
    uid: int | None
    """The user that its process ran as when it connected or listened."""
    gid: int | None
    """The group."""
    pid: int | None
    """Its process then; the number may be another process's by now."""
