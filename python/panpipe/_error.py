"""The exceptions: one base, one class a code, each also the standard library's twin where it has one."""

import traceback
from collections.abc import Callable
from typing import Any, Literal

Ran = Literal["no", "maybe"]

# docs/protocol.md, "Errors": of texts, in bytes of UTF-8, and of causes.
_MOST_TEXT = 16 << 10
_MOST_CAUSES = 16


class Error(Exception):
    """What was being done (``doing``), a ``code``, the ``address``, and whether the peer may have run it (``ran``).

    Codes are the same in every language; docs/reference.md lists them.  What a peer answered a call with has more: the
    ``type`` of the exception there and its ``traceback``, as texts; the ``data`` that the handler attached; ``via``,
    the addresses that it came through, the nearest first; and what caused it as ``__cause__``.

    A handler may raise one itself: ``raise panpipe.NotFound("no such user", data={"id": 7})``.
    """

    code: str = "io"
    message: str = ""
    doing: str = ""
    address: str | None = None
    ran: Ran = "maybe"
    type: str | None = None
    traceback: str | None = None
    data: Any = None
    via: tuple[str, ...] = ()
    _is_answer = False

    def __init__(self, message: str = "", *, data: Any = None) -> None:
        super().__init__(message)
        self.message, self.data = message, data


PanpipeError = Error


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


class Unauthenticated(Error, PermissionError):
    """A side could not prove who it is: a certificate or a token that is missing or not accepted."""

    code = "unauthenticated"


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


class RemoteError(Error, RuntimeError):
    """A handler of the other side raised something that has no code of its own."""

    code = "remote"


class InvalidArguments(Error, TypeError):
    """Arguments that do not fit the method, or that have no place in a message; the text names which."""

    code = "invalid-arguments"


class Lagged(Error, RuntimeError):
    """A subscriber with the policy ``disconnect`` was too slow."""

    code = "lagged"


class Version(Error, RuntimeError):
    """The other side speaks another version of the protocol."""

    code = "version"


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
        Unauthenticated,
        AddressInUse,
        PathTooLong,
        Busy,
        RemoteError,
        InvalidArguments,
        DeadlineExceeded,
        BadPeer,
        Version,
        TooLarge,
        Lagged,
        ConnectionLost,
        Closed,
        Cancelled,
        Io,
    )
}


def make(code: str, doing: str, address: str | None, ran: Ran, source: str | None) -> Error:
    """Makes the exception of a code; called by the native part."""
    text = f"{doing}: {code}" if source is None else f"{doing}: {code}: {source}"
    # A code of a newer version is an error of the peer all the same.
    error = _BY_CODE.get(code, RemoteError)(text)
    error.code, error.message, error.doing, error.address, error.ran = code, source or "", doing, address, ran
    return error


def from_map(answer: Any, doing: str, address: str | None, causes: int = _MOST_CAUSES) -> Error:
    """The exception for the map that a peer answered a call with; called by the native part."""
    if not isinstance(answer, dict):
        return make("bad-peer", doing, address, "maybe", "an error that is not a map")

    def text(key: str) -> str | None:
        return answer[key] if isinstance(answer.get(key), str) else None

    kind = text("type")
    words = [word for word in (kind, text("message")) if word]
    ran: Ran = "no" if answer.get("ran") == "no" else "maybe"
    error = make(text("code") or "remote", doing, address, ran, ": ".join(words) or None)
    error.message, error.type, error.traceback = text("message") or "", kind, text("traceback")
    error.data, error._is_answer = answer.get("data"), True
    via = answer.get("via")
    error.via = tuple(each for each in via if isinstance(each, str)) if isinstance(via, list) else ()
    if error.traceback:
        error.add_note(f"There:\n{error.traceback}")
    if "cause" in answer and causes:
        error.__cause__ = from_map(answer["cause"], doing, address, causes - 1)
    return error


def to_map(error: BaseException, can_send: Callable[[Any], bool], causes: int = _MOST_CAUSES) -> dict[str, Any]:
    """The map that tells a caller what a handler raised; ``data`` that ``can_send`` refuses is left out."""
    trace = _cut("".join(traceback.format_exception(type(error), error, error.__traceback__, chain=False)))
    kind = type(error)
    answer: dict[str, Any]
    if isinstance(error, Error):
        # What a handler passes on of its own call is as it came.
        answer = {"code": error.code, "message": _cut(error.message), "traceback": error.traceback or trace}
        if error.type or kind not in _BY_CODE.values():
            answer["type"] = error.type or kind.__qualname__
        if error.data is not None and can_send(error.data):
            answer["data"] = error.data
        if error.address is not None:
            answer["via"] = [error.address, *error.via]
    else:
        answer = {"code": "remote", "message": _cut(str(error)), "traceback": trace, "type": kind.__qualname__}
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and causes:
        answer["cause"] = to_map(cause, can_send, causes - 1)
    return answer


def _cut(text: str) -> str:
    # The end of a traceback says more than its beginning.
    return text.encode(errors="replace")[-_MOST_TEXT:].decode(errors="ignore")
