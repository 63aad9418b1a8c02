"""A service: the methods and topics that the other end of a connection may use."""

from collections.abc import Callable
from typing import Any, TypeVar, overload

from panpipe._convert import Kinds
from panpipe._method import Method

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
        self._topics: dict[str, Any] = {}

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
            named = function.__name__ if name is None else name
            _check(named, self._methods)
            self._methods[named] = Method(function, named, self._kinds, thread)
            return function

        return add if function is None else add(function)

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
