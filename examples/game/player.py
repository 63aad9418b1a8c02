"""Play in a terminal: arrows or WASD steer, space dashes, q leaves. Without a terminal it plays by itself.

python player.py [NAME] [ADDRESS]
"""

import asyncio
import contextlib
import math
import os
import struct
import sys
import termios
import time
import tty
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import panpipe

WIDTH, HEIGHT = 48, 27
TICK = 1 / 30
SILENCE = 2.0  # seconds without a snapshot: the game has forgotten us, or begun anew
ANSWER = 0.5  # how long we wait to be let in: a datagram that gets lost is not sent again
AHEAD = 2.0  # tiles that it looks ahead, so that it goes straight on where it can

# The colours of nobody and of the players from 1 to 12, as the page has them.
COLOURS = [
    *[(34, 36, 46), (79, 124, 255), (255, 92, 92), (47, 191, 113), (255, 176, 32), (180, 92, 255), (20, 184, 196)],
    *[(255, 122, 198), (155, 197, 61), (255, 138, 61), (141, 110, 99), (107, 122, 153), (212, 212, 58)],
]
KEYS = {
    **{b"\x1b[A": (0, -1), b"w": (0, -1), b"\x1b[B": (0, 1), b"s": (0, 1)},
    **{b"\x1b[D": (-1, 0), b"a": (-1, 0), b"\x1b[C": (1, 0), b"d": (1, 0)},
}


@dataclass
class Player:
    name: str
    x: float
    y: float
    tiles: int
    is_down: bool
    is_ready: bool


@dataclass
class Snapshot:
    tick: int
    is_pause: bool
    seconds: int
    players: dict[int, Player]
    bombs: list[tuple[int, int]]
    floor: list[int]


def decode(data: bytes) -> Snapshot:
    """What is in a snapshot; README.md has the layout."""
    tick, is_pause, left, count = struct.unpack_from(">IBHB", data)
    at = 8
    players = {}
    for _ in range(count):
        number, flags, x, y, tiles, length = struct.unpack_from(">BBHHHB", data, at)
        name = data[at + 9 : at + 9 + length].decode(errors="replace")
        players[number] = Player(name, x / 1000, y / 1000, tiles, bool(flags & 2), bool(flags & 8))
        at += 9 + length
    bombs = [(data[at + 1 + 2 * each], data[at + 2 + 2 * each]) for each in range(data[at])]
    at += 1 + 2 * data[at]
    floor = [owner for two in data[at : at + WIDTH * HEIGHT // 2] for owner in (two >> 4, two & 15)]
    return Snapshot(tick, bool(is_pause), left // 30, players, bombs, floor)


class Game:
    """The game, as one player sees it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.you = 0
        self.newest: Snapshot | None = None
        self.wish: tuple[float, float] = (0, 0)
        self.dash = False
        self.lost = 0  # in a hundred, of the last second
        self.ticks = 0  # snapshots of the last second
        self.eyes = panpipe.Service()
        self.eyes.method(self.snapshot)
        self._heard = self._since = time.monotonic()
        self._came, self._first = 0, 0

    def snapshot(self, data: bytes) -> None:
        snapshot = decode(data)
        # One that was overtaken tells nothing new.
        if self.newest is not None and snapshot.tick <= self.newest.tick:
            return
        self.newest, self._heard = snapshot, time.monotonic()
        self._came += 1

    async def play(self, address: str) -> None:
        """Joins and steers, and does so again whenever the game does not know us."""
        while True:
            try:
                # A connection of its own each time: to a game that began anew we are strangers.
                async with panpipe.aio.connect(address, service=self.eyes) as peer:
                    await self._steer(peer, await peer.options(timeout=ANSWER).call("join", self.name))
            except panpipe.Error:
                await asyncio.sleep(1)

    async def _steer(self, peer: Any, welcome: dict[str, Any]) -> None:
        self.you, self.newest, self._heard, number = welcome["you"], None, time.monotonic(), 0
        while time.monotonic() - self._heard < SILENCE:
            # Everything each time: whichever message arrives says it all.
            await peer.send("steer", welcome["key"], number, *self.wish, self.dash)
            number += 1
            await asyncio.sleep(TICK)
            self._count()

    def _count(self) -> None:
        if self.newest is None or (not self._first and not self._begin()):
            return
        if time.monotonic() - self._since >= 1:
            sent = max(self.newest.tick - self._first, 1)
            self.ticks, self.lost = self._came, max(0, 100 * (sent - self._came) // sent)
            self._begin()

    def _begin(self) -> bool:
        assert self.newest is not None
        self._since, self._came, self._first = time.monotonic(), 0, self.newest.tick
        return True

    def ranking(self) -> list[tuple[int, Player]]:
        """Numbers and players, whoever has most tiles first."""
        players = {} if self.newest is None else self.newest.players
        return sorted(players.items(), key=lambda each: -each[1].tiles)

    def choose(self) -> None:
        """Steers by itself: to the tile that is not ours and is nearest to what lies ahead, and dashes at others."""
        if self.newest is None or (own := self.newest.players.get(self.you)) is None:
            return
        for number, other in self.newest.players.items():
            near = math.hypot(other.x - own.x, other.y - own.y) < 3.5
            if own.is_ready and near and number != self.you and not other.is_down:
                self.wish, self.dash = (other.x - own.x, other.y - own.y), True
                return
        length = max(math.hypot(*self.wish), 1)
        ahead = (own.x + self.wish[0] / length * AHEAD, own.y + self.wish[1] / length * AHEAD)
        others = (tile for tile, owner in enumerate(self.newest.floor) if owner != self.you)
        middles = ((tile % WIDTH + 0.5, tile // WIDTH + 0.5) for tile in others)
        x, y = min(middles, key=lambda middle: math.dist(middle, ahead), default=(own.x, own.y))
        self.wish, self.dash = (x - own.x, y - own.y), False


def picture(game: Game) -> str:
    """The floor as half blocks, two rows of tiles in a line, and the ranking beside it."""
    seen = game.newest
    if seen is None:
        return "\x1b[H\x1b[J looking for the game …"
    tiles = [COLOURS[owner] for owner in seen.floor] + [(0, 0, 0)] * WIDTH
    for column, row in seen.bombs:
        tiles[row * WIDTH + column] = (255, 255, 255) if seen.tick % 10 < 5 else (255, 240, 120)
    for number, player in seen.players.items():
        if not player.is_down:
            red, green, blue = COLOURS[number]
            dark = (red * 2 // 5, green * 2 // 5, blue * 2 // 5)
            tiles[int(player.y) * WIDTH + int(player.x)] = (255, 255, 255) if number == game.you else dark
    clock = f"{'next round in' if seen.is_pause else 'time left'} {seen.seconds} s"
    beside = [clock, f"{game.ticks} ticks/s, {game.lost} % lost", ""]
    for number, player in game.ranking():
        you = " (you)" if number == game.you else ""
        beside.append(f"{paint(COLOURS[number], 38)}██\x1b[0m {player.tiles:4} {player.name}{you}")
    lines = []
    for line in range((HEIGHT + 1) // 2):
        upper, lower = tiles[2 * line * WIDTH :][:WIDTH], tiles[(2 * line + 1) * WIDTH :][:WIDTH]
        runs = groupby(zip(upper, lower, strict=True))
        cells = (f"{paint(up, 38)}{paint(low, 48)}{'▀' * len(list(run))}" for (up, low), run in runs)
        lines.append(f" {''.join(cells)}\x1b[0m  {beside[line] if line < len(beside) else ''}\x1b[K")
    return "\x1b[H" + "\r\n".join(lines) + "\r\n\n arrows or WASD steer, space dashes, q leaves\x1b[J"


def paint(colour: tuple[int, ...], ground: int) -> str:
    return f"\x1b[{ground};2;{colour[0]};{colour[1]};{colour[2]}m"


@contextlib.contextmanager
def raw_terminal() -> Iterator[None]:
    """Keys come as they are pressed, on a screen of their own."""
    before = termios.tcgetattr(0)
    tty.setcbreak(0)
    print("\x1b[?1049h\x1b[?25l", end="", flush=True)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        print("\x1b[?25h\x1b[?1049l", end="", flush=True)


async def play_by_hand(game: Game) -> None:
    leaving = asyncio.Event()

    def pressed() -> None:
        key = os.read(0, 16)
        if key in (b"q", b""):
            leaving.set()
        game.dash = key == b" "
        game.wish = KEYS.get(key, game.wish)

    loop = asyncio.get_running_loop()
    loop.add_reader(0, pressed)
    with raw_terminal():
        while not leaving.is_set():
            print(picture(game), end="", flush=True)
            await asyncio.sleep(TICK)
    loop.remove_reader(0)


async def play_alone(game: Game) -> None:
    """Plays by itself, and prints once a second how it goes."""
    for turn in range(1 << 62):
        game.choose()
        await asyncio.sleep(TICK)
        if turn % 30 == 29 and game.newest is not None and game.you in game.newest.players:
            places = [number for number, _ in game.ranking()]
            tiles, place = game.newest.players[game.you].tiles, places.index(game.you) + 1
            print(
                f"{game.ticks} snapshots, {game.lost} % lost, {tiles} tiles, place {place} of {len(places)}", flush=True
            )


async def main(name: str = "Python", address: str = "udp://localhost:9999?protocol=panpipe") -> None:
    game = Game(name)
    playing = asyncio.create_task(game.play(address))
    await (play_by_hand(game) if sys.stdin.isatty() and sys.stdout.isatty() else play_alone(game))
    playing.cancel()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:3]))
