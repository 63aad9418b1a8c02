"""A chat room on one port: for browsers, for programs that speak panpipe, and for a person with nc.

python server.py [PORT]        9999 unless said
"""

import asyncio
import sys
import time
import unicodedata
from collections import deque
from collections.abc import AsyncIterator, Iterable
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import panpipe

PAGE = Path(__file__).parent / "page"
LONGEST_NAME = 24  # characters
LONGEST_TEXT = 2000  # characters
MOST_PEOPLE = 100
KEPT = 100  # messages that who comes later still sees
MOST_UNREAD = 500  # events that wait for one who reads slowly

Event = dict[str, Any]


class NameTaken(panpipe.Error):
    """Somebody in the room has this name. A code of our own arrives as any other does."""

    code = "name-taken"


class Mailbox:
    """What one person has still to read. When it is full the oldest goes, and its place tells how many went."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._unread = deque(events)
        self._missed = 0
        self._filled = asyncio.Event()
        self._filled.set()

    def put(self, event: Event) -> None:
        if len(self._unread) >= MOST_UNREAD:
            self._unread.popleft()
            self._missed += 1
        self._unread.append(event)
        self._filled.set()

    async def take(self) -> Event:
        while not self._unread:
            self._filled.clear()
            await self._filled.wait()
        if self._missed:
            missed, self._missed = self._missed, 0
            # Who came and went may be among what was missed.
            return {"kind": "lagged", "missed": missed, "people": list(mailboxes)}
        return self._unread.popleft()


service = panpipe.Service("chat")
history: deque[Event] = deque(maxlen=KEPT)
mailboxes: dict[str, Mailbox] = {}  # by name
names: dict[Any, str] = {}  # by peer
# Numbers go on where the clock is, so that they grow over a restart, too.
numbers = count(time.time_ns() // 1000)


@service.method
async def join(name: str, since: int = 0) -> AsyncIterator[Event]:
    """The room as it is seen by `name`, who is in it until the stream ends: who is there, what was said after the
    message with the number `since`, and then everything that happens.
    """
    name = unicodedata.normalize("NFKC", checked(name, "a name", LONGEST_NAME))
    peer = panpipe.current().peer
    if name.casefold() in {"nc", *map(str.casefold, mailboxes)}:
        raise NameTaken(f"somebody here is called {name}")
    if peer in names:
        raise panpipe.Refused(f"you are here already, as {names[peer]}")
    if len(mailboxes) >= MOST_PEOPLE:
        raise panpipe.Busy(f"there are {MOST_PEOPLE} people here, and no room for more")
    # Nothing is awaited here, so that nothing happens between the history and what comes next.
    tell("joined", name)
    mailbox = Mailbox(message for message in history if message["number"] > since)
    mailboxes[name], names[peer] = mailbox, name
    try:
        yield {"kind": "welcome", "name": name, "people": list(mailboxes)}
        while True:
            yield await mailbox.take()
    finally:
        # However it ended: left, closed, or lost.
        del mailboxes[name], names[peer]
        tell("left", name)


@service.method
def say(text: str) -> None:
    """Says something to everybody in the room."""
    if (name := names.get(panpipe.current().peer)) is None:
        raise panpipe.Refused("join the room first")
    tell("said", name, checked(text, "a message", LONGEST_TEXT))


@service.plain
def look_in(line: str) -> str:
    """Answers a line of somebody who has no more than nc."""
    match line.split(maxsplit=1):
        case ["who"]:
            return f"{len(mailboxes)} here" + (": " if mailboxes else "") + ", ".join(mailboxes)
        case ["last"]:
            return "{name}: {text}".format(**history[-1]) if history else "nothing was said yet"
        case ["say", text]:
            try:
                tell("said", "nc", checked(text, "a message", LONGEST_TEXT))
            except panpipe.InvalidArguments as error:
                return error.message
            return "said"
        case _:
            return "who, last, or say TEXT"


def tell(kind: str, name: str, text: str = "") -> None:
    """Tells everybody that something happened; nobody is waited for."""
    event = {"kind": kind, "number": next(numbers), "at": int(time.time() * 1000), "name": name, "text": text}
    if kind == "said":
        history.append(event)
    for mailbox in mailboxes.values():
        mailbox.put(event)


def checked(text: str, what: str, longest: int) -> str:
    """The text without the space around it; raises ``InvalidArguments`` for what nobody should have to read."""
    text = text.strip()
    if not 0 < len(text) <= longest:
        raise panpipe.InvalidArguments(f"{what} has 1 to {longest} characters, and not {len(text)}")
    # They would move the cursor of a terminal, or look like several messages.
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        raise panpipe.InvalidArguments(f"{what} has no control characters and no line breaks")
    return text


def main() -> None:
    if not (PAGE / "panpipe.js").exists():
        sys.exit("chat: page/panpipe.js is not there\nhint: make build puts it there")
    port = sys.argv[1] if len(sys.argv) > 1 else "9999"
    address = f"tcp://localhost:{port}?accept=panpipe,ws,lines&text=true&static={quote(str(PAGE), safe='')}"
    listener = panpipe.listen(address)
    port = listener.address.split("?")[0].rpartition(":")[2]
    print(f"chat: open http://localhost:{port}/, or see README.md for terminals", flush=True)
    service.serve(listener)


if __name__ == "__main__":
    main()
