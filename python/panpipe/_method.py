"""A function that answers calls, and what its annotations say of its arguments."""

import inspect
import typing
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from typing import Any, Literal, NamedTuple

from panpipe._convert import Kind, Kinds, Mismatch, convert
from panpipe._error import Error, make

Runs = Literal["plain", "async", "stream", "async-stream"]
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Parameter(NamedTuple):
    """One argument, or with ``*`` and ``**`` all the rest."""

    name: str
    kind: Kind
    form: Any
    default: Any

    @property
    def is_required(self) -> bool:
        """Whether a call without it does not fit."""
        return self.default is inspect.Parameter.empty and self.form not in _REST

    def describe(self) -> dict[str, Any]:
        """The argument as OpenRPC has it; what takes any number of them says so."""
        rest = {"x-panpipe": {"rest": True}} if self.form in _REST else {}
        is_plain = isinstance(self.default, str | int | float | bool | None)
        schema = self.kind.schema | ({"default": self.default} if is_plain else {})
        return {"name": self.name, "required": self.is_required, "schema": schema} | rest

    def fit(self, given: Any, place: int, count: int) -> Any:
        """What the function is to get for what arrived, of ``count`` positional arguments; raises ``Mismatch``."""
        if self.form is inspect.Parameter.VAR_POSITIONAL:
            return tuple(convert(each, self.kind, f"[{number}]") for number, each in enumerate(given, place))
        if self.form is inspect.Parameter.VAR_KEYWORD:
            return {name: convert(each, self.kind, f".{name}") for name, each in given.items()}
        return convert(given, self.kind, f"[{place}]" if place < count else f".{self.name}")


class Method:
    """A function that answers calls."""

    def __init__(self, function: Callable[..., Any], name: str, kinds: Kinds, in_thread: bool) -> None:
        self.function, self.name, self.in_thread = function, name, in_thread
        self.runs: Runs = _runs(function)
        self.items: str | None = None
        """The name of the parameter that takes what the caller streams."""
        self.parameters: list[Parameter] = []
        if in_thread and self.is_async:
            raise self._wrong("an async function runs in the loop, not in a thread")
        try:
            self._signature = inspect.signature(function)
            hints = typing.get_type_hints(function) if hasattr(function, "__annotations__") else {}
        except NameError as unknown:
            raise self._wrong(str(unknown)) from unknown
        for parameter in self._signature.parameters.values():
            self._add(parameter, hints.get(parameter.name, Any), kinds)
        on_wire = [each for each in self._signature.parameters.values() if each.name != self.items]
        self._on_wire = self._signature.replace(parameters=on_wire)
        self._result = self._describe_result(hints.get("return", Any), kinds)

    @property
    def is_async(self) -> bool:
        """Whether it runs as a task."""
        return self.runs in ("async", "async-stream")

    @property
    def is_stream(self) -> bool:
        """Whether items come before its answer."""
        return self.runs in ("stream", "async-stream")

    def exact(self) -> list[type | None] | None:
        """The types of positional arguments that need no ``bind``, ``None`` for any; ``None`` when all need it."""
        if self.items is not None or any(each.is_required and each.form not in _POSITIONAL for each in self.parameters):
            return None
        taken = [each.kind for each in self.parameters if each.form in _POSITIONAL]
        return None if any(kind.convert and not kind.exact for kind in taken) else [kind.exact for kind in taken]

    def least(self) -> int:
        """How many positional arguments there must be."""
        return sum(each.is_required for each in self.parameters)

    def bind(
        self, positional: tuple[Any, ...], named: dict[str, Any] | None = None, items: Any = None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What to call the function with; raises ``InvalidArguments``, which names the argument that does not fit."""
        try:
            bound = self._on_wire.bind(*positional, **(named or {}))
        except TypeError as error:
            raise self._unfit(f"arguments: {error}") from None
        try:
            for place, parameter in enumerate(self.parameters):
                if parameter.name in bound.arguments:
                    given = bound.arguments[parameter.name]
                    bound.arguments[parameter.name] = parameter.fit(given, place, len(positional))
        except Mismatch as mismatch:
            raise self._unfit(str(mismatch.within("arguments"))) from mismatch.__cause__
        if self.items is not None:
            bound = inspect.BoundArguments(self._signature, bound.arguments)
            bound.arguments[self.items] = items
        return bound.args, bound.kwargs

    def describe(self) -> dict[str, Any]:
        """The method as OpenRPC has it."""
        described: dict[str, Any] = {
            "name": self.name,
            "description": inspect.getdoc(self.function) or "",
            "params": [each.describe() for each in self.parameters],
            "result": {"name": "result", "schema": self._result},
        }
        extra = {"stream": self.is_stream, "arguments": self.items is not None}
        if any(extra.values()):
            described["x-panpipe"] = {key: True for key, is_so in extra.items() if is_so}
        return described

    def _add(self, parameter: inspect.Parameter, annotation: Any, kinds: Kinds) -> None:
        origin = typing.get_origin(annotation) or annotation
        takes_items = origin in (AsyncIterator, AsyncIterable, Iterator)
        try:
            kind = kinds.of((typing.get_args(annotation) or (Any,))[0] if takes_items else annotation)
        except TypeError as unfit:
            raise self._wrong(f"parameter {parameter.name}: {unfit}") from None
        if not takes_items:
            self.parameters.append(Parameter(parameter.name, kind, parameter.kind, parameter.default))
        elif self.items is not None or parameter.kind in (*_REST, inspect.Parameter.POSITIONAL_ONLY):
            raise self._wrong("one parameter, which has a name, may take what the caller streams")
        elif (origin is Iterator) is not self.in_thread or self.in_thread is self.is_async:
            raise self._wrong("an async function takes an AsyncIterator, a plain one with thread=True an Iterator")
        else:
            self.items = parameter.name

    def _describe_result(self, annotation: Any, kinds: Kinds) -> dict[str, Any]:
        if self.is_stream:
            annotation = (typing.get_args(annotation) or (Any,))[0]
        try:
            return kinds.of(annotation).schema
        except TypeError:
            # It only describes; what has no place in a message is found when it is sent.
            return {}

    def _unfit(self, reason: str) -> Error:
        return make("invalid-arguments", f"calling {self.name}", None, "no", reason)

    def _wrong(self, reason: str) -> TypeError:
        return TypeError(f"method {self.name}: {reason}")


def _runs(function: Callable[..., Any]) -> Runs:
    if inspect.iscoroutinefunction(function):
        return "async"
    if inspect.isasyncgenfunction(function):
        return "async-stream"
    return "stream" if inspect.isgeneratorfunction(function) else "plain"
