import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from certificates import Certificates

ADDRESSES = ["tcp://localhost:0", "unix:{tmp}/panpipe-*", "unix:@panpipe-test-*"]
FRAMINGS = ["raw", "lines", "nul", "length", "length:u16le", "length:u64", "netstring", "varint", "content-length"]


@pytest.fixture(params=ADDRESSES, ids=["tcp", "unix", "abstract"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An address without options that a test can listen on."""
    return request.param.format(tmp=tmp_path)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine on either loop, for at most a minute."""

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(asyncio.wait_for(coroutine, 60))

    return run


class Program:
    """A Python program in a process of its own, ended with the test."""

    def __init__(self, source: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.process.communicate(timeout=10)[1])
        return line.rstrip("\n")

    def end(self) -> tuple[int, str, str]:
        """Its exit code and what it still printed."""
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@pytest.fixture
def program() -> Iterator[Callable[[str], Program]]:
    programs: list[Program] = []

    def start(source: str) -> Program:
        programs.append(Program(source))
        return programs[-1]

    yield start
    for each in programs:
        each.process.kill()
        each.process.communicate()


SERVER = """
import panpipe
listener = panpipe.listen({address!r})
print(listener.address, flush=True)
panpipe.serve(listener, lambda message: message.upper())
"""


@pytest.fixture
def upper(program: Callable[[str], Program]) -> Callable[[str], str]:
    """Starts a blocking server that upper-cases; its real address."""
    return lambda address: program(SERVER.format(address=address)).line()


def place_of(address: str) -> str:
    """The host and port of an address."""
    return address.split("//")[1].split("?")[0].split("/")[0]


def to(address: str, options: str = "", *, scheme: str | None = None) -> str:
    """What connects to the address of a listener: its place, with options of its own, perhaps by another scheme."""
    listened, place = address.split("?")[0].split(":", 1)
    return f"{scheme or listened}:{place}?{options}".removesuffix("?")


def plain(address: str) -> socket.socket:
    """A plain socket, connected to the place of an address."""
    host, port = place_of(address).rsplit(":", 1)
    return kept(socket.create_connection((host.strip("[]"), int(port)), timeout=30))


def kept(opened: socket.socket) -> socket.socket:
    """A socket that is closed at the end of the test, if not before."""
    _opened.append(opened)
    return opened


_opened: list[socket.socket] = []


@pytest.fixture(autouse=True)
def _close_plain_sockets() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Pairs for TLS, made once."""
    return Certificates(tmp_path_factory.mktemp("certificates"))
