"""What a service says of its methods and makes of arguments, without a connection."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, NewType

import pytest

import panpipe
from panpipe._method import Method

Name = NewType("Name", str)


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("x is negative")


@dataclasses.dataclass
class Tree:
    name: Name
    children: list[Tree] = dataclasses.field(default_factory=list)
    at: Point | None = None


def method(function: Callable[..., Any], **options: Any) -> Method:
    service = panpipe.Service()
    service.method(**options)(function)
    return service._methods[function.__name__]


def add(a: int, b: int = 1, *rest: int, scale: float = 1.0, **more: str) -> float:
    """Adds.

    More of it.
    """
    return (a + b + sum(rest)) * scale


def draw(tree: Tree, points: dict[str, list[Point]], pair: tuple[int, str] = (1, "")) -> Tree:
    return tree


def kinds(
    any: Any,
    untyped,  # type: ignore[no-untyped-def]
    when: datetime,
    maybe: int | None,
    one: Literal["a", 1],
    data: Annotated[bytes, "of it"],
    many: tuple[bool, ...],
) -> None: ...


def test_arguments_that_fit() -> None:
    assert method(add).bind((1,)) == ((1,), {})
    assert method(add).bind((1, 2, 3), {"scale": 2, "z": "w"}) == ((1, 2, 3), {"scale": 2.0, "z": "w"})
    (tree, points), named = method(draw).bind(
        ({"name": "root", "children": [{"name": "leaf", "at": {"x": 1}}]},), {"points": {"a": [{"x": 1.5, "y": 2.5}]}}
    )
    assert tree == Tree(Name("root"), [Tree(Name("leaf"), at=Point(1.0))])
    assert points == {"a": [Point(1.5, 2.5)]}
    assert not named
    when = datetime.now().astimezone()
    values = (object(), object(), when, None, "a", b"x", [True])
    assert method(kinds).bind(values) == ((*values[:-1], (True,)), {})


@pytest.mark.parametrize(
    ("function", "positional", "named", "message"),
    [
        (add, (), {}, "arguments: missing a required argument: 'a'"),
        (add, ("1",), {}, "arguments[0]: text, not an integer"),
        (add, (1, True), {}, "arguments[1]: a bool, not an integer"),
        (add, (1, 2, 3, 4.5), {}, "arguments[3]: a number, not an integer"),
        (add, (1,), {"b": None}, "arguments.b: nil, not an integer"),
        (add, (1,), {"scale": [1]}, "arguments.scale: an array, not a number"),
        (add, (1,), {"other": 1}, "arguments.other: an integer, not text"),
        (add, (1,), {"a": 1}, "arguments: multiple values for argument 'a'"),
        (draw, ({}, {}), {}, "arguments[0].name: missing"),
        (draw, ({"name": "a", "colour": 1}, {}), {}, "arguments[0].colour: Tree has no such field"),
        (draw, ({"name": "a", "children": [{"name": 1}]}, {}), {}, "arguments[0].children[0].name: an integer"),
        (draw, ({"name": "a", "at": {"x": "1"}}, {}), {}, "arguments[0].at.x: text, not a number"),
        (draw, ({"name": "a"}, {"b c": [{"x": -1}]}), {}, "arguments[1]['b c'][0]: x is negative"),
        (draw, ({"name": "a"}, {}, [1]), {}, "arguments[2]: an array of 1, not of 2"),
        (draw, ({"name": "a"}, {}, [1, 2]), {}, "arguments[2][1]: an integer, not text"),
        (kinds, (0, 0, datetime.now().astimezone(), 1, True, b"", []), {}, "arguments[4]: True, not one of 'a', 1"),
        (kinds, (0, 0, 5, 1, "a", b"", []), {}, "arguments[2]: an integer, not a time"),
    ],
)
def test_arguments_that_do_not_fit(
    function: Callable[..., Any], positional: tuple[Any, ...], named: dict[str, Any], message: str
) -> None:
    with pytest.raises(panpipe.InvalidArguments) as raised:
        method(function).bind(positional, named)
    assert raised.value.code == "invalid-arguments"
    assert raised.value.ran == "no"
    assert message in str(raised.value)


async def total(factor: int, items: AsyncIterator[int]) -> int:
    return factor * sum([item async for item in items])


def total_here(items: Iterator[int], factor: int = 2) -> int:
    return factor * sum(items)


def test_a_parameter_may_take_what_the_caller_streams() -> None:
    items = object()
    assert method(total).bind((3,), items=items) == ((3, items), {})
    assert method(total_here, thread=True).bind((), {"factor": 4}, items) == ((items, 4), {})


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (total_here, {}, "an async function takes an AsyncIterator"),
        (total, {"thread": True}, "an async function runs in the loop"),
        (lambda x: x, {"name": ""}, "is no name"),
        (lambda x: x, {"name": "panpipe.x"}, "the protocol's own"),
        (lambda x: x, {"name": "a\nb"}, "is no name"),
        (lambda x: x, {"name": "é" * 128}, "is no name"),
    ],
)
def test_what_cannot_be_a_method(function: Callable[..., Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        panpipe.Service().method(**options)(function)


def test_a_parameter_that_no_value_fits() -> None:
    def put(where: Callable[..., Any]) -> None: ...

    with pytest.raises(TypeError, match="method put: parameter where: no value of a message is a Callable"):
        panpipe.Service().method(put)


def test_a_name_is_taken_once() -> None:
    service = panpipe.Service()
    service.method(add)
    with pytest.raises(ValueError, match="'add' is there already"):
        service.method(name="add")(draw)


def test_fast_methods_are_known_by_their_types() -> None:
    assert method(add).exact() == [int, int]
    assert method(add).least() == 1
    assert method(kinds).exact() is None
    assert method(total).exact() is None
    assert method(lambda x, y=1: x, name="<lambda>").exact() == [None, None]


def test_describes_itself() -> None:
    service = panpipe.Service("sums", "1.2")
    service.method(add)
    service.method(draw)
    service.method(total)

    @service.method(name="count.down")
    async def countdown(n: int) -> AsyncIterator[int]:
        yield n

    assert service.describe() == {
        "openrpc": "1.3.2",
        "info": {"title": "sums", "version": "1.2"},
        "methods": [
            {
                "name": "add",
                "description": "Adds.\n\nMore of it.",
                "params": [
                    {"name": "a", "required": True, "schema": {"type": "integer"}},
                    {"name": "b", "required": False, "schema": {"type": "integer", "default": 1}},
                    {"name": "rest", "required": False, "schema": {"type": "integer"}, "x-panpipe": {"rest": True}},
                    {"name": "scale", "required": False, "schema": {"type": "number", "default": 1.0}},
                    {"name": "more", "required": False, "schema": {"type": "string"}, "x-panpipe": {"rest": True}},
                ],
                "result": {"name": "result", "schema": {"type": "number"}},
            },
            {
                "name": "draw",
                "description": "",
                "params": [
                    {"name": "tree", "required": True, "schema": {"$ref": "#/components/schemas/Tree"}},
                    {
                        "name": "points",
                        "required": True,
                        "schema": {
                            "type": "object",
                            "additionalProperties": {"type": "array", "items": {"$ref": "#/components/schemas/Point"}},
                        },
                    },
                    {
                        "name": "pair",
                        "required": False,
                        "schema": {
                            "type": "array",
                            "prefixItems": [{"type": "integer"}, {"type": "string"}],
                            "items": False,
                        },
                    },
                ],
                "result": {"name": "result", "schema": {"$ref": "#/components/schemas/Tree"}},
            },
            {
                "name": "total",
                "description": "",
                "params": [{"name": "factor", "required": True, "schema": {"type": "integer"}}],
                "result": {"name": "result", "schema": {"type": "integer"}},
                "x-panpipe": {"arguments": True},
            },
            {
                "name": "count.down",
                "description": "",
                "params": [{"name": "n", "required": True, "schema": {"type": "integer"}}],
                "result": {"name": "result", "schema": {"type": "integer"}},
                "x-panpipe": {"stream": True},
            },
        ],
        "components": {
            "schemas": {
                "Tree": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"},
                        "children": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}},
                        "at": {"anyOf": [{"$ref": "#/components/schemas/Point"}, {"type": "null"}]},
                    },
                    "additionalProperties": False,
                    "required": ["name"],
                },
                "Point": {
                    "type": "object",
                    "properties": {"x": {"type": "number"}, "y": {"type": "number"}},
                    "additionalProperties": False,
                    "required": ["x"],
                },
            }
        },
        "x-panpipe-topics": [],
    }
