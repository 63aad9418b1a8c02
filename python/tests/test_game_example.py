"""examples/game: the server and its players are run as they stand there, and lose a tenth of all they say."""

import asyncio
import importlib.util
import itertools
import math
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import panpipe

ROOT = Path(__file__).parents[2]
GAME = ROOT / "examples" / "game"
PROGRAMS = ROOT / "target" / "release"
PLAYERS = {
    "Rust": [PROGRAMS / "paint-player"],
    "Node": ["node", GAME / "player.mjs"],
    "Python": [sys.executable, GAME / "player.py"],
}

# Seconds that a program may take for its whole test; only a net.
NET = 60


class Playing:
    """The server, and the programs that play."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[str]] = []

    def start(self, *command: str | Path) -> "subprocess.Popen[str]":
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        net = threading.Timer(NET, process.kill)
        net.daemon = True
        net.start()
        self._running.append(process)
        return process

    def serve(self, *options: str) -> tuple[str, str]:
        """Opens a game; its addresses for browsers and for programs."""
        server = self.start(PROGRAMS / "paint-server", *options)
        lines = [line(server), line(server)]
        browsers, programs = re.findall(r"(?:open|over) (\S+)$", "\n".join(lines), re.MULTILINE)
        return browsers, programs

    def end(self) -> None:
        for process in self._running:
            process.kill()
            process.communicate()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"{process.args} has ended"
    return line.rstrip("\n")


@pytest.fixture
def playing() -> Iterator[Playing]:
    playing = Playing()
    yield playing
    playing.end()


def load_decode() -> Any:
    """The decoder of the player in Python."""
    spec = importlib.util.spec_from_file_location("game_player", GAME / "player.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.decode


async def watch(address: str, seconds: float) -> list[Any]:
    """The snapshots that one who only watches is sent."""
    seen: list[bytes] = []
    eyes = panpipe.Service()
    eyes.method(seen.append, name="snapshot")
    async with panpipe.aio.connect(address, service=eyes) as peer:
        await peer.call("watch")
        await asyncio.sleep(seconds)
    return list(map(load_decode(), seen))


def test_players_in_three_languages_move_and_see_each_other_though_a_tenth_is_lost(playing: Playing) -> None:
    browsers, programs = playing.serve("--port", "0", "--bots", "2", "--loss", "0.1", "--seed", "7")
    players = {name: playing.start(*command, name, programs) for name, command in PLAYERS.items()}
    # All are in once each has told of its first second.
    first = {name: line(player) for name, player in players.items()}
    seen = asyncio.run(watch(browsers.replace("http", "tcp").rstrip("/"), 3))

    ticked = seen[-1].tick - seen[0].tick
    assert 75 <= ticked <= 105
    # Over a stream nothing is lost; but ticks that a busy machine makes up for come as one.
    assert len(seen) > 0.7 * ticked
    for name, player in players.items():
        places = [(each.x, each.y) for snapshot in seen for each in snapshot.players.values() if each.name == name]
        # A busy machine may let somebody be silent for too long; they come back.
        assert len(places) > len(seen) / 2, f"{name} was there in {len(places)} of {len(seen)}"
        way = sum(math.dist(one, other) for one, other in itertools.pairwise(places))
        assert way > 5, f"{name} has gone {way} tiles in 3 s"

        # What it says of itself, of each second: snapshots, what was lost of them, and its place among all.
        said = [first[name], *(line(player) for _ in range(3))]
        facts = [re.fullmatch(r"(\d+) snapshots, (\d+) % lost, (\d+) tiles, place \d of \d", each) for each in said]
        assert all(facts), said
        # In the first second not everybody was there yet.
        assert all(each.endswith("of 5") for each in said[1:]), said
        numbers = [[int(number) for number in fact.groups()] for fact in facts if fact]
        assert 2 <= sum(lost for _, lost, _ in numbers[1:]) / 3 <= 25, said
        assert all(15 <= came <= 32 for came, _, _ in numbers[1:]), said
        assert numbers[-1][2] > 0, said


def test_players_come_back_to_a_game_that_begins_anew(playing: Playing) -> None:
    _, programs = playing.serve("--port", "0", "--bots", "0")
    port = re.findall(r":(\d+)\?", programs)[0]
    players = {name: playing.start(*command, name, programs) for name, command in PLAYERS.items()}
    for player in players.values():
        line(player)
    server = playing._running[0]
    server.kill()
    server.wait()
    browsers, _ = playing.serve("--port", port, "--bots", "0")

    async def all_are_back() -> None:
        address = browsers.replace("http", "tcp").rstrip("/")
        present: set[str] = set()
        while present != set(players):
            present = {each.name for snapshot in await watch(address, 0.3) for each in snapshot.players.values()}

    asyncio.run(asyncio.wait_for(all_are_back(), NET))
    for player in players.values():
        # Few of the lines are older than the new game, and few tell of none.
        said = [line(player) for _ in range(6)]
        counts = [int(count) for count in re.findall(r"^(\d+) snapshots", "\n".join(said[3:]), re.MULTILINE)]
        assert max(counts, default=0) > 10, said


def test_who_does_not_play_is_not_sent_datagrams(playing: Playing) -> None:
    _, programs = playing.serve("--port", "0")
    came: list[bytes] = []

    async def ask() -> None:
        eyes = panpipe.Service()
        eyes.method(came.append, name="snapshot")
        async with panpipe.aio.connect(programs, service=eyes) as peer:
            with pytest.raises(panpipe.Unsupported, match="has to play"):
                await peer.call("watch")
            welcome = await peer.call("join", "Ann")
            await peer.send("steer", welcome["key"] + 1, 1, 0, 0, False)
            tick = await peer.call("ping")
            while await peer.call("ping") < tick + 10:
                pass
            assert came == []
            await peer.send("steer", welcome["key"], 1, 0, 0, False)
            while not came:
                await peer.call("ping")

    asyncio.run(asyncio.wait_for(ask(), NET))
