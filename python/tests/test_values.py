"""The values of the panpipe protocol, by vectors/protocol/values.json and by what Python alone has."""

import dataclasses
import decimal
import enum
import json
import math
import random
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, ClassVar

import pytest

from panpipe._panpipe import decode_value, encode_value

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/protocol/values.json").read_text())
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SPECIAL = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "-0": -0.0}


def build(data: dict[str, Any]) -> Any:
    """The Python value that a vector describes."""
    ((kind, content),) = data.items()
    match kind:
        case "nil":
            return None
        case "int":
            return int(content)
        case "float":
            return SPECIAL[content] if content in SPECIAL else float(content)
        case "bytes":
            return bytes.fromhex(content)
        case "array":
            return [build(item) for item in content]
        case "map":
            return {build(key): build(value) for key, value in content}
        case "time":
            return EPOCH + timedelta(seconds=int(content[0]), microseconds=content[1] // 1000)
        case _:
            return content


def same(one: Any, other: Any) -> bool:
    """Equal, also in what ``==`` does not see: types, the sign of zero, NaN, the order of a map."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return (
            math.isnan(one) if math.isnan(other) else (one, math.copysign(1, one)) == (other, math.copysign(1, other))
        )
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one), list(other)) and same(list(one.values()), list(other.values()))
    return bool(one == other)


READ = [case for case in VECTORS if "value" in case]
REFUSED = [case for case in VECTORS if "error" in case]
# To Python 1 and True are one key, and a datetime has microseconds.
UNKNOWN_TO_PYTHON = {'map with the keys 1, true and "1"'}
ROUNDED = {"time: a time with nanoseconds"}


def test_the_vectors_are_all_sorted() -> None:
    names = {case["name"] for case in READ}
    assert names >= UNKNOWN_TO_PYTHON | ROUNDED
    assert len(READ) + len(REFUSED) == len(VECTORS) > 100


@pytest.mark.parametrize("case", READ, ids=lambda case: case["name"])
def test_reads_and_writes(case: dict[str, Any]) -> None:
    payload = bytes.fromhex(case["hex"])
    if case["name"] in UNKNOWN_TO_PYTHON:
        with pytest.raises(ValueError, match=r"value\[true\]: a key that comes twice"):
            decode_value(payload, False)
        return
    value = build(case["value"])
    assert same(decode_value(payload, False), value)
    if not case.get("reads") and case["name"] not in ROUNDED and not isinstance(value, bytes):
        assert encode_value(value) == (payload, False)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case["name"])
def test_refuses(case: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(case["path"]) + ": "):
        decode_value(bytes.fromhex(case["hex"]), False)


@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 100], ids=["empty", "some"])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_lone_bytes_are_raw_and_inner_ones_are_values(kind: type, content: bytes) -> None:
    assert encode_value(kind(content)) == (content, True)
    assert decode_value(content, True) == content
    assert decode_value(encode_value([kind(content)])[0], False) == [content]


def test_every_cut_of_a_value_is_refused() -> None:
    whole = encode_value({"user": ["ann", {"ages": [1, 300, -70000, 2**40, 1.5, None, True, b"x" * 40, EPOCH]}]})[0]
    assert decode_value(whole, False)
    for end in range(len(whole)):
        with pytest.raises(ValueError, match=r"^value"):
            decode_value(whole[:end], False)


def test_whatever_comes_is_a_value_or_refused() -> None:
    # The seed makes it the same each time.
    chance = random.Random(1)
    wholes = [bytes.fromhex(case["hex"]) for case in VECTORS]
    values = 0
    for _ in range(30_000):
        payload = bytearray(chance.choice(wholes) + chance.choice(wholes)[: chance.randrange(4)])
        for _ in range(chance.randrange(3)):
            if payload:
                payload[chance.randrange(len(payload))] = chance.randrange(256)
        try:
            value = decode_value(bytes(payload), False)
        except ValueError:
            continue
        values += 1
        again = encode_value(value)
        assert same(decode_value(*again), value)
    assert values > 1000


@dataclasses.dataclass
class User:
    name: str
    age: int | None = None
    kind: ClassVar[str] = "user"


class Number(enum.IntEnum):
    TWO = 2


def test_dataclasses_and_subclasses_are_what_they_are_made_of() -> None:
    assert decode_value(encode_value({"users": [User("ann"), User("bob", 7)]})[0], False) == {
        "users": [{"name": "ann", "age": None}, {"name": "bob", "age": 7}]
    }
    assert decode_value(encode_value([Number.TWO, (1, 2)])[0], False) == [2, [1, 2]]


def test_a_time_of_any_zone_is_an_instant() -> None:
    there = datetime(2026, 7, 1, 12, 30, 15, 250, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert decode_value(encode_value(there)[0], False) == there


class Loop:
    pass


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"user": {"when": datetime(2026, 1, 1)}}, "value.user.when: a datetime without a time zone"),
        ([1, {2}], r"value\[1\]: a value of type set has no place"),
        ([decimal.Decimal(1)], r"value\[0\]: a value of type Decimal has no place"),
        (Loop(), "value: a value of type Loop has no place"),
        (User, "value: a value of type type has no place"),
        ({"a b": {3: Loop()}}, r'value\["a b"\]\[3\]: a value of type Loop'),
        ([2**64], r"value\[0\]: an integer that is not between"),
        (-(2**63) - 1, "value: an integer that is not between"),
        ({(1, 2): 3}, "value: a map with a key of type tuple"),
        ({1.5: 3}, "value: a map with a key of type float"),
        ({"bad": "\ud800"}, "value.bad: text with a lone surrogate"),
        (User(Loop()), "value.name: a value of type Loop"),  # type: ignore[arg-type]
        (nested(65), r"value(\[0\]){64}: nested more than 64 deep"),
        (ENDLESS, "nested more than 64 deep"),
        (memoryview(b"12345678").cast("i"), "value: a memoryview of something else than bytes"),
    ],
)
def test_what_has_no_place_is_an_error_with_its_path(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode_value(value)


def test_what_a_property_raises_comes_through() -> None:
    @dataclasses.dataclass
    class Broken:
        name: str = "x"

        def __getattribute__(self, name: str) -> Any:
            if name == "name":
                raise KeyError("no name")
            return super().__getattribute__(name)

    with pytest.raises(KeyError, match="no name"):
        encode_value(Broken())
