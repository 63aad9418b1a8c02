"""What the peers in Python and the suite say to each other; ../README.md explains it."""

import json
import sys
from typing import Any

import panpipe


class Request(dict[str, Any]):
    @classmethod
    def read(cls) -> "Request":
        return cls(json.loads(sys.stdin.readline()))


def texts_of(request: Request) -> list[bytes]:
    parts = (text.partition("*") for text in request["texts"])
    return [bytes.fromhex(part) * int(times or 1) for part, _, times in parts]


class Progress:
    """How many texts flows have sent and received on a connection."""

    def __init__(self) -> None:
        self.sent = self.received = 0


class BrokenOff(Exception):
    """What came in place of the message whose turn it was."""

    def __init__(self, message: bytes | None) -> None:
        self.message = message


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
