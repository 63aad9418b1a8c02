"""examples/chat: its programs are run as they stand there."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import panpipe

CHAT = Path(__file__).parents[2] / "examples" / "chat"

# Seconds that a program may take for its whole test; only a net.
NET = 60


class Running:
    """A program whose lines are read and written."""

    def __init__(self, program: str, *arguments: str) -> None:
        interpreter = "node" if program.endswith(".mjs") else sys.executable
        self.process = subprocess.Popen(
            [interpreter, CHAT / program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self._out = self.process.stdin, self.process.stdout
        self._net = threading.Timer(NET, self.process.kill)
        self._net.start()

    def type(self, *lines: str) -> None:
        self._in.write("".join(f"{line}\n" for line in lines))
        self._in.flush()

    def until(self, pattern: str) -> list[str]:
        """Its lines up to one that is as the pattern says."""
        lines: list[str] = []
        while not lines or not re.fullmatch(pattern, lines[-1]):
            line = self._out.readline()
            assert line, f"it ended before {pattern!r}, after {lines}"
            lines.append(line.removesuffix("\n"))
        return lines

    def end(self) -> tuple[int, str]:
        """Ends its input; its exit code and what it still printed."""
        rest = self.process.communicate(timeout=NET)[0]
        return self.process.returncode, rest

    def kill(self) -> None:
        self._net.cancel()
        self.process.kill()
        self.process.communicate()


Run = Callable[..., Running]


@pytest.fixture
def run() -> Iterator[Run]:
    """Starts programs of the example, which end with the test."""
    running: list[Running] = []

    def start(program: str, *arguments: str) -> Running:
        running.append(Running(program, *arguments))
        return running[-1]

    yield start
    for each in running:
        each.kill()


def open_room(run: Run, port: str = "0") -> tuple[Running, str]:
    server = run("server.py", port)
    (line,) = server.until(r"chat: open http://localhost:\d+/.*")
    return server, re.findall(r"localhost:(\d+)", line)[0]


@pytest.fixture
def room(run: Run) -> str:
    """The address of a room for panpipe peers."""
    return f"tcp://localhost:{open_room(run)[1]}"


TERMINALS = ["terminal.py", "terminal.mjs"]


def test_terminals_of_two_languages_and_nc_hear_each_other(run: Run, room: str) -> None:
    ann = run("terminal.py", "Ann", room)
    assert ann.until(r"\* here: .*")[-1] == "* here: Ann"
    bob = run("terminal.mjs", "Bob", room)
    assert bob.until(r"\* here: .*")[-1] == "* here: Ann, Bob"
    ann.until(r"\* Bob joined")
    ann.type("hello from Python")
    bob.until("Ann: hello from Python")
    bob.type("hello from Node")
    assert ann.until("Bob: hello from Node") == ["Ann: hello from Python", "Bob: hello from Node"]

    port = room.rpartition(":")[2]
    typed = "who\nlast\nsay hello from a shell\nsay\n"
    # It keeps its side open until all answers are there.
    with subprocess.Popen(["nc", "localhost", port], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as nc:
        assert nc.stdin is not None
        assert nc.stdout is not None
        nc.stdin.write(typed)
        nc.stdin.flush()
        answers = [nc.stdout.readline() for _ in typed.splitlines()]
        nc.kill()
    assert answers == ["2 here: Ann, Bob\n", "Bob: hello from Node\n", "said\n", "who, last, or say TEXT\n"]
    for person in (ann, bob):
        person.until("nc: hello from a shell")

    assert bob.end()[0] == 0
    ann.until(r"\* Bob left")
    assert ann.end()[0] == 0


@pytest.mark.parametrize("terminal", TERMINALS)
def test_who_comes_while_people_talk_misses_nothing_and_sees_nothing_twice(terminal: str, run: Run, room: str) -> None:
    with panpipe.connect(room) as peer, peer.stream("join", "Ann") as events:
        assert next(events)["kind"] == "welcome"
        for number in range(250):
            peer.call("say", f"message {number}")
            if number == 200:
                late = run(terminal, "Late", room)
        while next(events).get("name") != "Late":
            pass
        peer.call("say", "the end")
        lines = late.until("Ann: the end")
    assert lines[0] == "* here: Ann, Late"
    said = [int(line.rpartition(" ")[2]) for line in lines if line.startswith("Ann: message")]
    assert said == list(range(said[0], 250))
    # A hundred are kept, and at least the last of them were said before it came.
    assert len(said) >= 100


def test_who_comes_back_sees_only_what_was_said_meanwhile(room: str) -> None:
    with panpipe.connect(room) as speaker, speaker.stream("join", "Ann") as events:
        next(events)
        for text in ("one", "two", "three"):
            speaker.call("say", text)
        heard = [next(events) for _ in range(3)]
        with panpipe.connect(room) as peer, peer.stream("join", "Bob", heard[1]["number"]) as missed:
            assert next(missed)["people"] == ["Ann", "Bob"]
            assert next(missed) == heard[2]


def test_what_nobody_should_read_is_refused(run: Run, room: str) -> None:
    ann = run("terminal.py", "Ann", room)
    ann.until(r"\* here: Ann")
    for terminal in TERMINALS:
        other = run(terminal, "ann", room)
        assert other.until("! .*") == ["! somebody here is called ann"]
        assert other.process.wait(NET) == 1
    ann.type("x" * 2001, "escape \x1b[2J", "fine")
    assert ann.until("Ann: fine") == [
        "! a message has 1 to 2000 characters, and not 2001",
        "! a message has no control characters and no line breaks",
        "Ann: fine",
    ]
    with panpipe.connect(room) as peer:
        with pytest.raises(panpipe.Refused, match="join the room first"):
            peer.call("say", "anonymous")
        for name in ("", "x" * 25, "a\nb"):
            with pytest.raises(panpipe.InvalidArguments):
                next(peer.stream("join", name))
        with pytest.raises(panpipe.RemoteError) as taken:
            next(peer.stream("join", "NC"))
        assert taken.value.code == "name-taken"


def test_a_reader_that_stops_slows_nobody_and_is_told_what_it_missed(run: Run, room: str) -> None:
    messages = 3000
    text = "x" * 500
    slow = run("terminal.py", "Slow", room)
    slow.until(r"\* here: Slow")

    async def talk() -> list[dict[str, Any]]:
        async with panpipe.aio.connect(room) as peer:
            events = peer.stream("join", "Ann")
            assert (await anext(events))["kind"] == "welcome"
            os.kill(slow.process.pid, signal.SIGSTOP)

            async def speak() -> None:
                for number in range(messages):
                    await peer.call("say", f"{number} {text}")

            speaking = asyncio.create_task(speak())
            heard = [await anext(events) for _ in range(messages)]
            await speaking
            os.kill(slow.process.pid, signal.SIGCONT)
            await peer.call("say", "the end")
            return heard

    heard = asyncio.run(talk())
    # Who reads in time misses nothing, for all that somebody does not.
    assert [event["text"] for event in heard] == [f"{number} {text}" for number in range(messages)]

    lines = slow.until("Ann: the end")
    places = [index for index, line in enumerate(lines) if line.startswith("* too slow: ")]
    said = [int(line.split()[1]) if line.startswith("Ann: ") and text in line else None for line in lines]
    assert len(places) >= 1
    # Each place says how many are missing just there.
    for place in places:
        missed = int(re.findall(r"\d+", lines[place])[0])
        before, after = said[place - 1], said[place + 1]
        assert before is not None
        assert after is not None
        assert after - before - 1 == missed
    assert [number for number in said if number is not None][-1] == messages - 1


@pytest.mark.parametrize("terminal", TERMINALS)
def test_a_room_that_opens_again_is_found_again(terminal: str, run: Run) -> None:
    server, port = open_room(run)
    ann = run(terminal, "Ann", f"tcp://localhost:{port}")
    ann.until(r"\* here: Ann")
    server.process.kill()
    assert ann.until("! .*")[-1].endswith("; trying again")
    open_room(run, port)
    ann.until(r"\* here: Ann")
    ann.type("back again")
    ann.until("Ann: back again")


def test_a_port_that_is_taken_is_named(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        server = subprocess.run([sys.executable, CHAT / "server.py", port], capture_output=True, text=True)
    assert server.returncode != 0
    assert f"listening on tcp://localhost:{port}" in server.stderr
