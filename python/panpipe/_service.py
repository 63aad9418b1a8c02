"""A service: the methods and topics that the other end of a connection may use."""

import asyncio
import inspect
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, overload

from panpipe import _panpipe
from panpipe._answering import PlainHandler
from panpipe._convert import Kinds
from panpipe._method import Method
from panpipe._topic import Topic

if TYPE_CHECKING:
    from panpipe._serving import Serving

_F = TypeVar("_F", bound=Callable[..., Any])


class Service:
    """Methods and topics for the other end of each connection that it is given to.

    ::

        service = panpipe.Service()

        @service.method
        def upper(text: str) -> str:
            return text.upper()

        service.serve("tcp://localhost:9999")

    Annotations are checked: a dataclass is made of the map that arrives for it, and what does not fit is answered with
    ``invalid-arguments``, naming the place.  A service may be given to any number of servers and connections.
    """

    def __init__(self, title: str = "service", version: str = "0") -> None:
        self._title, self._version = title, version
        self._kinds = Kinds()
        self._methods: dict[str, Method] = {}
        self._topics: dict[str, Topic] = {}
        self._plain: PlainHandler | None = None
        self._registry = _panpipe.Registry()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._register(Method(self.describe, "panpipe.describe", Kinds(), False))

    @overload
    def method(self, function: _F, /) -> _F: ...
    @overload
    def method(self, *, name: str | None = None, thread: bool = False) -> Callable[[_F], _F]: ...
    def method(self, function: Any = None, *, name: str | None = None, thread: bool = False) -> Any:
        """Makes a function a method, by its own name or another: ``@service.method``, ``@service.method(name="up")``.

        A plain function runs in the loop, one after another; an ``async def`` one beside others, as a task; with
        ``thread=True`` a plain one runs in a thread of the loop's pool.  A generator, plain or async, streams.  A
        parameter that is an ``AsyncIterator[T]`` (in a thread an ``Iterator[T]``) gets the items that the caller
        streams, which are not checked.

        Raises ``ValueError`` for a name that is taken or not allowed, ``TypeError`` for annotations that no value fits.
        """

        def add(function: _F) -> _F:
            named = getattr(function, "__name__", "") if name is None else name
            _check(named, self._methods)
            self._methods[named] = Method(function, named, self._kinds, thread)
            self._register(self._methods[named])
            return function

        return add if function is None else add(function)

    @overload
    def plain(self, function: _F, /) -> _F: ...
    @overload
    def plain(self, *, thread: bool = False) -> Callable[[_F], _F]: ...
    def plain(self, function: Any = None, *, thread: bool = False) -> Any:
        """Answers plain messages: ``@service.plain``, ``@service.plain(thread=True)``, or ``service.plain(function)``.

        They come from peers that know nothing of panpipe, to addresses with a framing in ``accept``.  The function gets
        the message, bytes or with ``text=true`` a string, and what it returns is sent back; ``None`` sends nothing.  A
        plain one runs in the loop, an ``async def`` one beside others, with ``thread=True`` a plain one in a thread of
        the loop's pool; the messages of one connection are handled one after another.  One that raises is logged and
        closes its connection, which it finds as ``panpipe.current().peer``.

        Raises ``ValueError`` when there is a handler already, ``TypeError`` for an async one in a thread.
        """

        def add(function: _F) -> _F:
            if self._plain is not None:
                raise ValueError("there is a handler of plain messages already")
            if thread and inspect.iscoroutinefunction(function):
                raise TypeError("an async function runs in the loop, not in a thread")
            self._plain = PlainHandler(function, thread)
            return function

        return add if function is None else add(function)

    def _register(self, method: Method) -> None:
        is_apart = method.runs != "plain" or method.in_thread
        takes_items = method.items is not None
        handler = _panpipe.Handler(
            method, method.function, is_apart, method.is_stream, takes_items, method.least(), method.exact()
        )
        self._registry.add_method(method.name, handler)

    def _run_on(self, loop: asyncio.AbstractEventLoop) -> _panpipe.Registry:
        """What a connection on this loop answers with."""
        self._loop = loop
        for topic in self._topics.values():
            topic._loop = loop
        return self._registry

    def topic(self, name: str, *, retain: bool = False) -> Topic:
        """Makes a topic; with ``retain`` whoever subscribes gets the last value first.

        Raises ``ValueError`` for a name that is taken or not allowed.
        """
        _check(name, self._topics)
        self._topics[name] = topic = Topic(name, retain)
        topic._loop = self._loop
        self._registry.add_topic(name, topic._native)
        return topic

    def aserve(self, address: str | _panpipe.Listener) -> "Serving":
        """Serves on asyncio: ``async with service.aserve(address) as server``; awaited, it serves until cancelled.

        Raises what ``serve`` raises.
        """
        from panpipe._serving import Serving

        return Serving(address, self)

    def serve(self, address: str | _panpipe.Listener, *, grace: float = 10.0) -> None:
        """Serves in this thread until SIGTERM or Ctrl-C, on an asyncio loop of its own.

        With a listener in place of the address, its ``address`` is known before serving begins.

        Either of them refuses new calls and lets those that run finish for ``grace`` seconds; a second one ends it at
        once.  After SIGTERM it returns, Ctrl-C raises ``KeyboardInterrupt``.

        Raises ``InvalidAddress``, ``Unsupported``, ``AddressInUse``, ``NotFound``, ``Permission``, ``PathTooLong``,
        ``Busy`` or ``Io``.  An address with a framing in ``accept`` is unsupported without a handler of ``plain``.
        """
        asyncio.run(self._serve(address, grace))

    async def _serve(self, address: str | _panpipe.Listener, grace: float) -> None:
        server = await self.aserve(address).open()
        loop, serving = asyncio.get_running_loop(), asyncio.ensure_future(server.wait())

        def stop() -> None:
            loop.remove_signal_handler(signal.SIGTERM)
            serving.cancel()

        # Only the main thread gets signals.
        with suppress(ValueError, RuntimeError):
            loop.add_signal_handler(signal.SIGTERM, stop)
        try:
            await asyncio.wait([serving])
        finally:
            await server.close(grace)
        with suppress(asyncio.CancelledError):
            await serving

    def describe(self) -> dict[str, Any]:
        """The methods and topics as an OpenRPC 1.3 document, from annotations, defaults and docstrings."""
        return {
            "openrpc": "1.3.2",
            "info": {"title": self._title, "version": self._version},
            "methods": [method.describe() for method in self._methods.values()],
            "components": {"schemas": self._kinds.schemas},
            "x-panpipe-topics": list(self._topics),
        }


def _check(name: str, taken: dict[str, Any]) -> None:
    if name in taken:
        raise ValueError(f"{name!r} is there already")
    size = len(name.encode())
    if not 0 < size < 256 or any(character < " " or character == "\x7f" for character in name):
        raise ValueError(f"{name!r:.100} is no name: 1 to 255 bytes without control characters")
    if name.startswith("panpipe."):
        raise ValueError(f"{name!r}: names that begin with panpipe. are the protocol's own")
