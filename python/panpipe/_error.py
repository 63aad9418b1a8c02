"""The exceptions: one base, one class a code, each also the standard library's twin where it has one."""

from typing import Literal

Ran = Literal["no", "maybe"]


class Error(Exception):
    """What was being done (``doing``), a ``code``, the ``address``, and whether the peer may have run it (``ran``).

    Codes are the same in every language; docs/reference.md lists them.
    """

    code: str = "io"
    doing: str
    address: str | None
    ran: Ran


class InvalidAddress(Error, ValueError):
    """An address that is malformed, or not allowed without another option."""

    code = "invalid-address"


class Unsupported(Error, ValueError):
    """An unknown scheme, framing, protocol or option, or a message that the framing cannot carry."""

    code = "unsupported"


class Refused(Error, ConnectionRefusedError):
    """Nobody listens there."""

    code = "refused"


class NotFound(Error, FileNotFoundError):
    """A name that does not resolve, or a socket file or descriptor that is not there."""

    code = "not-found"


class Permission(Error, PermissionError):
    """The system says no."""

    code = "permission"


class AddressInUse(Error, OSError):
    """Somebody else listens there."""

    code = "address-in-use"


class PathTooLong(Error, ValueError):
    """A socket path of more bytes than the system takes."""

    code = "path-too-long"


class Busy(Error, BlockingIOError):
    """A limit of this process or machine was reached: descriptors, memory, connections."""

    code = "busy"


class DeadlineExceeded(Error, TimeoutError):
    """The timeout passed."""

    code = "deadline-exceeded"


class BadPeer(Error, ValueError):
    """The other side broke the framing or the protocol."""

    code = "bad-peer"


class TooLarge(Error, ValueError):
    """A message is larger than ``max`` allows."""

    code = "too-large"


class ConnectionLost(Error, ConnectionResetError):
    """The other side went away."""

    code = "connection-lost"


class Closed(Error, ConnectionAbortedError):
    """This side closed, or the connection belongs to the process that this one was forked from."""

    code = "closed"


class Cancelled(Error, InterruptedError):
    """The caller gave up."""

    code = "cancelled"


class Io(Error, OSError):
    """The system failed in a way of its own; the text says how."""

    code = "io"


_BY_CODE: dict[str, type[Error]] = {
    kind.code: kind
    for kind in (
        InvalidAddress,
        Unsupported,
        Refused,
        NotFound,
        Permission,
        AddressInUse,
        PathTooLong,
        Busy,
        DeadlineExceeded,
        BadPeer,
        TooLarge,
        ConnectionLost,
        Closed,
        Cancelled,
        Io,
    )
}


def make(code: str, doing: str, address: str | None, ran: Ran, source: str | None) -> Error:
    """Makes the exception of a code; called by the native part."""
    text = f"{doing}: {code}" if source is None else f"{doing}: {code}: {source}"
    error = _BY_CODE[code](text)
    error.doing, error.address, error.ran = doing, address, ran
    return error
