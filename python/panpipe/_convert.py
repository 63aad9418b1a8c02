"""What an annotation says of a value: its JSON Schema, and the check that makes a dataclass of a map."""

import dataclasses
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Union

_ANY = (Any, object, dataclasses.MISSING)
_SCALARS: dict[Any, tuple[str, dict[str, Any]]] = {
    str: ("text", {"type": "string"}),
    bytes: ("bytes", {"type": "string", "format": "binary"}),
    bool: ("a bool", {"type": "boolean"}),
    int: ("an integer", {"type": "integer"}),
    float: ("a number", {"type": "number"}),
    datetime: ("a time", {"type": "string", "format": "date-time"}),
    type(None): ("nil", {"type": "null"}),
}


class Mismatch(Exception):
    """A value that is not what the annotation says, with the path inside of it."""

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(f"{path}: {reason}")
        self.reason, self.path = reason, path

    def within(self, part: str) -> "Mismatch":
        """The same, seen from what ``part`` is a part of."""
        return Mismatch(self.reason, part + self.path)


class Kind(NamedTuple):
    """What values an annotation allows."""

    exact: type | None
    """A type whose own instances need no check; ``None`` when ``convert`` decides, or is missing."""
    convert: Callable[[Any], Any] | None
    """Makes what the annotation says of a value that arrived, or raises ``Mismatch``; ``None`` takes anything."""
    schema: dict[str, Any]
    """Its JSON Schema."""


class Kinds:
    """The kinds of a service; each dataclass is one schema, to which the others refer."""

    def __init__(self) -> None:
        self.schemas: dict[str, dict[str, Any]] = {}
        self._classes: dict[type, Kind] = {}

    def of(self, annotation: Any) -> Kind:
        """The kind of an annotation; raises ``TypeError`` for one that no value of a message fits."""
        if annotation in _ANY or isinstance(annotation, typing.TypeVar):
            return Kind(None, None, {})
        if annotation is None or annotation in _SCALARS:
            return _scalar(type(None) if annotation is None else annotation)
        if hasattr(annotation, "__supertype__"):
            return self.of(annotation.__supertype__)
        if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
            return self._dataclass(annotation)
        origin, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
        if origin is typing.Annotated:
            return self.of(arguments[0])
        if origin in (Union, types.UnionType):
            return self._union([self.of(each) for each in arguments])
        if origin is typing.Literal:
            return _literal(arguments)
        if origin in (list, Sequence, Iterable):
            return self._list(self.of(arguments[0] if arguments else Any))
        if origin is tuple:
            return self._tuple(arguments)
        if origin in (dict, Mapping):
            return self._dict(*(self.of(each) for each in arguments or (Any, Any)))
        raise TypeError(f"no value of a message is a {getattr(annotation, '__name__', annotation)}")

    def _union(self, kinds: list[Kind]) -> Kind:
        def of(value: Any) -> Any:
            inner = []
            for kind in kinds:
                if kind.convert is None:
                    return value
                try:
                    return kind.convert(value)
                except Mismatch as mismatch:
                    inner.append(mismatch)
            # Whoever looked deepest knows best what was meant.
            raise max(inner, key=lambda mismatch: len(mismatch.path))

        return Kind(None, of, {"anyOf": [kind.schema for kind in kinds]})

    def _list(self, item: Kind) -> Kind:
        def of(value: Any) -> list[Any]:
            return [convert(each, item, f"[{place}]") for place, each in enumerate(_expect(value, list, "an array"))]

        return Kind(None if item.convert else list, of, {"type": "array", "items": item.schema})

    def _tuple(self, arguments: tuple[Any, ...]) -> Kind:
        if not arguments or arguments[1:] == (...,):
            each = self._list(self.of(arguments[0] if arguments else Any))
            assert each.convert is not None
            as_list = each.convert
            return Kind(None, lambda value: tuple(as_list(value)), each.schema)
        kinds = [self.of(argument) for argument in arguments]

        def of(value: Any) -> tuple[Any, ...]:
            if len(_expect(value, list, "an array")) != len(kinds):
                raise Mismatch(f"an array of {len(value)}, not of {len(kinds)}")
            pairs = zip(value, kinds, strict=True)
            return tuple(convert(each, kind, f"[{place}]") for place, (each, kind) in enumerate(pairs))

        schema = {"type": "array", "prefixItems": [kind.schema for kind in kinds], "items": False}
        return Kind(None, of, schema)

    def _dict(self, key: Kind, value: Kind) -> Kind:
        def of(map: Any) -> dict[Any, Any]:
            entries = _expect(map, dict, "a map").items()
            return {convert(k, key, f"[{k!r}]"): convert(v, value, _part(k)) for k, v in entries}

        is_plain = not (key.convert or value.convert)
        return Kind(dict if is_plain else None, of, {"type": "object", "additionalProperties": value.schema})

    def _dataclass(self, cls: type) -> Kind:
        if cls in self._classes:
            return self._classes[cls]
        name = cls.__name__ if cls.__name__ not in self.schemas else f"{cls.__module__}.{cls.__qualname__}"
        schema: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
        self.schemas[name] = schema
        fields: dict[str, Kind] = {}
        required: list[str] = []

        def of(value: Any) -> Any:
            entries = _expect(value, dict, f"a {name}")
            if unknown := [key for key in entries if key not in fields]:
                raise Mismatch(f"{name} has no such field", _part(unknown[0]))
            if missing := [key for key in required if key not in entries]:
                raise Mismatch("missing", _part(missing[0]))
            built = {key: convert(each, fields[key], _part(key)) for key, each in entries.items()}
            try:
                return cls(**built)
            except (TypeError, ValueError) as refused:
                raise Mismatch(str(refused)) from refused

        # Known before its fields are looked at, since they may refer to it.
        kind = self._classes[cls] = Kind(None, of, {"$ref": f"#/components/schemas/{name}"})
        hints = typing.get_type_hints(cls)
        for field in dataclasses.fields(cls):
            if field.init:
                fields[field.name] = self.of(hints[field.name])
                schema["properties"][field.name] = fields[field.name].schema
                if field.default is field.default_factory is dataclasses.MISSING:
                    required.append(field.name)
        schema["required"] = required
        return kind


def _scalar(annotation: type) -> Kind:
    word, schema = _SCALARS[annotation]

    def of(value: Any) -> Any:
        if type(value) is annotation:
            return value
        # JavaScript has one number, and sends 1.0 as the integer 1.
        if annotation is float and type(value) is int:
            return float(value)
        raise Mismatch(f"{_word(value)}, not {word}")

    return Kind(annotation, of, schema)


def _literal(values: tuple[Any, ...]) -> Kind:
    def of(value: Any) -> Any:
        if not any(value == each and type(value) is type(each) for each in values):
            raise Mismatch(f"{value!r:.50}, not one of {', '.join(map(repr, values))}")
        return value

    return Kind(None, of, {"enum": list(values)})


def convert(value: Any, kind: Kind, part: str) -> Any:
    """What the kind says of a value that is ``part`` of another; raises ``Mismatch``."""
    if kind.convert is None:
        return value
    try:
        return kind.convert(value)
    except Mismatch as mismatch:
        raise mismatch.within(part) from mismatch.__cause__


def _expect(value: Any, expected: type, word: str) -> Any:
    if not isinstance(value, expected):
        raise Mismatch(f"{_word(value)}, not {word}")
    return value


def _word(value: Any) -> str:
    if isinstance(value, list):
        return "an array"
    return "a map" if isinstance(value, dict) else _SCALARS[type(value)][0]


def _part(key: Any) -> str:
    return f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r}]"
