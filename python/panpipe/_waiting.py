"""A peer for threads that wait."""

import copy
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any, Self

from panpipe import _panpipe
from panpipe._error import ConnectionLost, Error, make
from panpipe._line import may_repeat, pauses
from panpipe._method import Method
from panpipe._remote import Remote
from panpipe._service import Service

_END = object()
_UNSET: Any = object()


class Items(Iterator[Any]):
    """What the caller streams to a handler."""

    def __init__(self, core: _panpipe.WaitingCore, call: int) -> None:
        self._core, self._call = core, call

    def __next__(self) -> Any:
        if (item := self._core.next_item(self._call, _END)) is _END:
            raise StopIteration
        return item


class Stream(Items):
    """The items that a call brings, to be iterated; leaving early tells the other side to stop."""

    def __init__(
        self,
        core: _panpipe.WaitingCore,
        call: int,
        input: Iterator[Any] | None = None,
        renew: Callable[[], tuple[_panpipe.WaitingCore, int]] | None = None,
    ) -> None:
        super().__init__(core, call)
        self._input, self._renew = input, renew
        self._is_open = True

    def __next__(self) -> Any:
        if not self._is_open:
            raise StopIteration
        try:
            while True:
                try:
                    self._send_some()
                    return super().__next__()
                except ConnectionLost as lost:
                    if self._renew is None or lost._is_answer:
                        raise
                self._core, self._call = self._renew()
        except (StopIteration, Error):
            self._is_open = False
            raise
        except BaseException:
            self.close()
            raise

    def _send_some(self) -> None:
        """Sends items of this side until there is one to take."""
        while self._input is not None and self._core.room(self._call):
            item = next(self._input, _END)
            if item is _END:
                self._core.end(self._call)
                self._input = None
            else:
                self._core.item(self._call, item)

    def close(self) -> None:
        """Wants no more items: the other side is told to stop."""
        if self._is_open:
            self._is_open = False
            self._core.cancel(self._call)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class Line:
    """The core that a peer uses now; it is made again where the address says ``reconnect=true``."""

    def __init__(self, core: _panpipe.WaitingCore, service: Service | None = None) -> None:
        self.core = core
        self.reconnects = core.reconnects
        self._service = service
        self._lock = threading.Lock()
        self._is_closed = False

    def ready(self, timeout: float | None) -> _panpipe.WaitingCore:
        """The core, once it can be called; raises ``DeadlineExceeded`` after so many seconds."""
        if not self.reconnects or not self.core.is_over():
            return self.core
        deadline = None if timeout is None else time.monotonic() + timeout
        # The first thread that finds out connects for all.
        with self._lock:
            for pause in pauses(self.core.remote_machine):
                if self._is_closed or not self.core.is_over():
                    break
                try:
                    opened = _panpipe.connect(self.core.address, None, _registry(self._service))
                except Error as error:
                    if deadline is not None and time.monotonic() + pause >= deadline:
                        doing, address = f"calling {self.core.address}", self.core.address
                        raise make("deadline-exceeded", doing, address, "no", f"not connected again: {error}") from None
                    time.sleep(pause)
                else:
                    assert isinstance(opened, _panpipe.WaitingCore)
                    self.core = opened
        return self.core

    def close(self) -> None:
        """Makes no more connections."""
        self._is_closed = True
        self.core.close()


class Peer:
    """The other end of a connection; any number of threads may use it at once.

    What it offers is called with ``call``, ``stream``, ``send``, ``publish`` and ``subscribe``; what this side offers
    is the ``service`` that the connection was given, whose plain functions run in whichever thread waits for the other
    side.  Methods take positional and named arguments alike, so what is said of the call itself goes before it:
    ``peer.options(timeout=1).call("upper", text="Hello")``.
    """

    def __init__(self, core: _panpipe.WaitingCore, service: Service | None = None) -> None:
        self._line = Line(core, service)
        self._is_plain = not core.reconnects
        self._idempotent = False
        self._timeout: float | None = core.timeout
        self._stream_timeout: float | None = None
        self._input: Iterable[Any] | None = None

    @property
    def _core(self) -> _panpipe.WaitingCore:
        return self._line.core

    @property
    def address(self) -> str:
        """The address it was opened with."""
        return self._core.address

    @property
    def remote(self) -> Remote:
        """What was known of the other end when the connection was made."""
        return self._core.remote

    @property
    def late_replies(self) -> int:
        """Answers that came after their call had ended, and were dropped."""
        return self._core.late_replies

    def options(
        self, *, timeout: float | None = _UNSET, input: Iterable[Any] | None = None, idempotent: bool = False
    ) -> "Peer":
        """The same peer, whose calls have a ``timeout`` in seconds (``None``: none) or stream ``input`` to the handler.

        Without it calls have the address's ``timeout``, and streams have none.  A handler's own calls end no later
        than the call that it answers.  With ``reconnect=true`` calls that were never sent are sent once the connection
        stands again; those that may have run fail, and are made again only if they are ``idempotent``.
        """
        other = copy.copy(self)
        if timeout is not _UNSET:
            other._timeout = other._stream_timeout = timeout
        if input is not None:
            other._input, other._is_plain = input, False
        other._idempotent |= idempotent
        return other

    def call(self, method: str, /, *positional: Any, **named: Any) -> Any:
        """Calls a method of the other side and waits for its reply.

        Ctrl-C tells the handler to stop.  Raises what the other side answered with: ``RemoteError`` for what the
        handler raised, ``NotFound``, ``InvalidArguments`` and others by their code; ``DeadlineExceeded``,
        ``ConnectionLost``, ``Refused``, ``TooLarge``, ``Busy``, ``BadPeer`` or ``Closed``, whose ``ran`` says whether
        it may have run; and ``InvalidArguments``, too, for arguments that have no place in a message.
        """
        if self._is_plain:
            return self._line.core.call(method, positional, named, self._timeout)
        begun = time.monotonic()
        while True:
            left = None if self._timeout is None else max(self._timeout - (time.monotonic() - begun), 0.0)
            core = self._line.ready(left)
            try:
                if self._input is not None:
                    return self._call_with_input(core, method, positional, named, left)
                return core.call(method, positional, named, left)
            except Error as error:
                if not self._may_repeat(error, core):
                    raise

    def _may_repeat(self, error: Error, core: _panpipe.WaitingCore) -> bool:
        """Whether a call that failed like this is to be made on the next connection."""
        if not self._line.reconnects or self._input is not None:
            return False
        return may_repeat(error, self._idempotent, core.is_over())

    def _call_with_input(
        self,
        core: _panpipe.WaitingCore,
        method: str,
        positional: tuple[Any, ...],
        named: dict[str, Any],
        timeout: float | None,
    ) -> Any:
        assert self._input is not None
        call = core.start(method, positional, named, timeout, False, True)
        try:
            for item in self._input:
                if not core.room(call):
                    # It is answered already, and takes no more.
                    break
                core.item(call, item)
            else:
                core.end(call)
        except BaseException:
            core.cancel(call)
            raise
        return core.finish(call)

    def stream(self, method: str, /, *positional: Any, **named: Any) -> Stream:
        """Calls a method that streams: iterate what is returned.

        Iterating raises what ``call`` raises, once the items before it were taken.  Who does not iterate on holds up
        the handler, and nobody else.
        """
        core = self._line.ready(self._timeout)
        call = core.start(method, positional, named, self._stream_timeout, True, self._input is not None)
        return Stream(core, call, None if self._input is None else iter(self._input))

    def send(self, method: str, /, *positional: Any, **named: Any) -> None:
        """Sends a one-way message to a method; returns once the system has it.

        Nobody tells what becomes of it.  Raises ``TooLarge``, ``InvalidArguments``, ``Refused``, ``ConnectionLost``,
        ``Busy`` or ``Closed``.
        """
        self._line.ready(self._timeout).send(method, positional, named, False)

    def publish(self, topic: str, value: Any) -> None:
        """Publishes on a topic of the other side's service, as ``send`` sends."""
        self._line.ready(self._timeout).send(topic, (value,), None, True)

    def flush(self) -> None:
        """Waits until the other side has read all that was sent before, for the timeout.

        Raises ``DeadlineExceeded``, ``ConnectionLost``, ``Busy`` or ``Closed``.
        """
        self._core.flush(self._timeout)

    def subscribe(self, topic: str, *, policy: str = "drop-oldest") -> Stream:
        """Subscribes to a topic of the other side; what is published from now on comes, until the stream is closed.

        ``policy`` says what becomes of items that are not taken fast enough: ``drop-oldest``, ``drop-newest``
        (``Missed(count)`` stands in their place), ``disconnect`` (it ends with ``Lagged``), or ``block``.  With
        ``reconnect=true`` it is renewed when the connection is; what was published meanwhile is missed.

        Raises ``NotFound`` for a topic that is not there, ``InvalidArguments`` for a policy that is not known, and
        what ``flush`` raises.
        """

        def renew(within: float | None = None) -> tuple[_panpipe.WaitingCore, int]:
            while True:
                core = self._line.ready(within)
                try:
                    return core, core.subscribe(topic, {"policy": policy}, self._timeout)
                except Error as error:
                    if not self._may_repeat(error, core):
                        raise

        return Stream(*renew(self._timeout), renew=renew if self._line.reconnects else None)

    def describe(self) -> Any:
        """What the other side offers, as an OpenRPC document."""
        return self.call("panpipe.describe")

    def wait(self, timeout: float | None = None) -> None:
        """Runs the handlers of this side's service until the other side closes.

        Raises ``DeadlineExceeded`` after ``timeout`` seconds, ``ConnectionLost``, ``BadPeer`` or ``Closed``.
        """
        self._core.wait_for_end(timeout)

    def close(self) -> None:
        """Writes what was sent, for at most the address's ``timeout``, and closes; who waits gets ``Closed``."""
        self._line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<panpipe.Peer {self.address}>"

    def _run(
        self, call: int, method: Method, positional: tuple[Any, ...], named: dict[str, Any] | None, fits: bool
    ) -> Any:
        """Runs a handler that is no plain function; called by the native part."""
        if method.is_async:
            raise make("unsupported", f"calling {method.name}", None, "no", "an async handler needs panpipe.aio")
        if not fits:
            positional, named = method.bind(positional, named, Items(self._core, call))
        result = method.function(*positional, **named or {})
        return self._produce(call, result) if method.is_stream else result

    def _produce(self, call: int, generator: Any) -> None:
        with closing(generator):
            for item in generator:
                self._core.item(call, item)
                while not self._core.room(call):
                    if self._core.is_stopped(call):
                        return


def wrap(opened: Any, service: Service | None = None) -> Any:
    """The connection as a user holds it."""
    return Peer(opened, service) if isinstance(opened, _panpipe.WaitingCore) else opened


def _registry(service: Service | None) -> _panpipe.Registry | None:
    return None if service is None else service._registry


def connect(address: str, *, service: Service | None = None, timeout: float | None = None) -> Any:
    """Connects to an address.

    It is a ``Peer`` where the address means the panpipe protocol, and else a ``Connection``.  The methods of
    ``service`` are for the other end, which may call them.

    Raises ``InvalidAddress``, ``Unsupported``, ``Refused``, ``NotFound``, ``Permission``, ``PathTooLong``, ``Busy``,
    ``Io``, and ``DeadlineExceeded`` after the address's ``timeout`` or the given seconds; over TLS and WebSocket also
    ``Unauthenticated``, ``BadPeer`` and ``ConnectionLost``.
    """
    return wrap(_panpipe.connect(address, timeout, _registry(service)), service)


def pair(kind: str = "", *, services: tuple[Service | None, Service | None] = (None, None)) -> tuple[Any, Any]:
    """Two connected connections inside this program, of a kind and with the options of an address.

    ``socket``, as when nothing is said; ``pipe``, two pipes; ``one-way``, of which the first end reads and the second
    writes: ``pair("pipe?framing=lines")``, ``pair("framing=lines")``.

    Raises ``InvalidAddress``, ``Unsupported`` or ``Busy``.
    """
    one, other = _panpipe.pair(kind, (_registry(services[0]), _registry(services[1])))
    return wrap(one), wrap(other)
