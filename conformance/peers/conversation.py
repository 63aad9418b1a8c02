"""What the peers in Python and the suite say to each other; ../README.md explains it."""

import json
import sys
from typing import Any

import panpipe


class Request(dict[str, Any]):
    @classmethod
    def read(cls) -> "Request":
        return cls(json.loads(sys.stdin.readline()))


def tell(what: object) -> None:
    print(json.dumps(what), flush=True)


def answer_of(message: bytes | str | None, job: dict[str, Any], texts: list[bytes]) -> object:
    if message is None:
        return None
    kind = str if "text=true" in job["address"] else bytes
    assert type(message) is kind, f"{message!r} is no {kind.__name__}"
    data = message.encode() if isinstance(message, str) else message
    return texts.index(data) if data in texts else data.hex()


def failure_of(error: panpipe.Error) -> dict[str, str]:
    return {"code": error.code, "ran": error.ran, "text": str(error)}
