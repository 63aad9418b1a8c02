"""The chat room in a terminal: what is typed is said.

python terminal.py NAME [ADDRESS]
"""

import asyncio
import contextlib
import sys
from typing import Any

import panpipe


class Room:
    """The room, for one who comes back when the connection is lost."""

    def __init__(self, terminal: Any, name: str, address: str) -> None:
        self._show, self._name, self._address = terminal.send, name, address
        self._peer: Any = None
        self._is_in = asyncio.Event()
        self._last: int | None = None  # the number of the message that was seen last

    async def stay(self) -> None:
        """Shows what happens, until the room refuses us."""
        while True:
            try:
                async with panpipe.aio.connect(self._address) as self._peer:
                    async for event in self._peer.stream("join", self._name, self._last or 0):
                        await self._happened(event)
                reason = "the room was closed"
            except panpipe.Error as error:
                reason = error.message or str(error)
                if self._last is None and error.code not in ("refused", "connection-lost"):
                    await self._show(f"! {reason}")
                    return
            self._is_in.clear()
            await self._show(f"! {reason}; trying again")
            await asyncio.sleep(1)

    async def say(self, text: str) -> None:
        """Says it, once we are in the room."""
        await self._is_in.wait()
        try:
            await self._peer.call("say", text)
        except panpipe.Error as error:
            await self._show(f"! {error.message or error}")

    async def _happened(self, event: dict[str, Any]) -> None:
        self._last = event.get("number", self._last or 0)
        self._is_in.set()
        match event:
            case {"kind": "said", "name": name, "text": text}:
                await self._show(f"{name}: {text}")
            case {"kind": "joined" | "left" as kind, "name": name}:
                await self._show(f"* {name} {kind}")
            case {"kind": "welcome", "people": people}:
                await self._show(f"* here: {', '.join(people)}")
            case {"kind": "lagged", "missed": missed}:
                await self._show(f"* too slow: {missed} missed here")


async def main(name: str, address: str = "tcp://localhost:9999") -> None:
    # The terminal is a peer like any other: its lines are messages.
    async with panpipe.aio.connect("stdio:?framing=lines&text=true") as terminal:
        room = Room(terminal, name, address)

        async def type_in() -> None:
            async for line in terminal:
                if line.strip():
                    await room.say(line)

        tasks = [asyncio.create_task(room.stay()), asyncio.create_task(type_in())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if not tasks[0].cancelled():
        sys.exit(1)


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit("usage: terminal.py NAME [ADDRESS]")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))
