"""``fifo:``, the kinds of pairs, and ends that are handed to a child."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import panpipe
import panpipe.aio

from conftest import Program

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def shell(script: str) -> str:
    return subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, text=True, timeout=30, check=True).stdout


def test_echo_into_the_path_is_a_message_and_writers_come_and_go(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    with panpipe.listen(f"fifo:{path}?framing=lines&text=true") as listener:
        reader = listener.accept()
        assert reader is not None
        for number in range(3):
            shell(f"echo hi {number} > {path}")
            assert reader.recv(timeout=10) == f"hi {number}"
        with pytest.raises(panpipe.DeadlineExceeded):
            reader.recv(timeout=0.02)
        with pytest.raises(panpipe.AddressInUse, match="another process reads this FIFO"):
            panpipe.listen(f"fifo:{path}")
        reader.close()
    assert not path.exists()


@pytest.mark.parametrize("options", ["", "?reply={path}-back"], ids=["one-way", "with-replies"])
def test_a_listener_without_descriptors_leaves_no_fifo_behind(
    program: Callable[[str], Program], tmp_path: Path, options: str
) -> None:
    listening = program(f"""
import os, panpipe, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = []
try:
    while True: taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError: pass
while True:
    try: listener = panpipe.listen("fifo:{tmp_path}/fifo{options.format(path=tmp_path / "fifo")}")
    except panpipe.Busy as error:
        os.close(taken.pop())
        print(os.path.lexists("{tmp_path}/fifo"), os.path.lexists("{tmp_path}/fifo-back"))
    else: break
print("listening")
""")
    code, out, err = listening.end()
    assert (code, err) == (0, "")
    assert set(out.split("\n")) == {"False False", "listening", ""}


def test_cat_gets_what_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE, text=True) as cat:
        with panpipe.connect(f"fifo:{path}?framing=lines") as writer:
            writer.send("one")
            writer.send("two")
            with pytest.raises(panpipe.TooLarge, match="exclusive=true"):
                writer.send("x" * 4096)
            with pytest.raises(panpipe.Unsupported, match="reply=PATH2"):
                writer.recv()
            with pytest.raises(panpipe.Unsupported, match="reply=PATH2"):
                writer.call("three")
        assert cat.communicate(timeout=10)[0] == "one\ntwo\n"
    assert path.exists()


def test_nobody_reads(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(panpipe.DeadlineExceeded, match="no reader has opened the FIFO"):
        panpipe.connect(f"fifo:{path}?timeout=50ms")

    async def connect() -> None:
        with pytest.raises(panpipe.DeadlineExceeded, match="no reader has opened the FIFO"):
            await panpipe.aio.connect(f"fifo:{path}?timeout=50ms")

    run(connect())


def test_a_reader_that_dies_is_an_error_and_no_signal(program: Callable[[str], Program], tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    reader = program(f"""
import panpipe
listener = panpipe.listen("fifo:{path}?framing=lines")
reader = listener.accept()
print(reader.recv().decode(), flush=True)
reader.recv()
""")
    while not path.exists():
        pass
    with panpipe.connect(f"fifo:{path}?framing=lines") as writer:
        writer.send("hi")
        assert reader.line() == "hi"
        reader.process.send_signal(signal.SIGKILL)
        reader.process.wait(10)
        with pytest.raises(panpipe.ConnectionLost):
            writer.send("again")
    assert path.exists()
    with panpipe.listen(f"fifo:{path}?framing=lines") as listener:
        shell(f"echo next > {path}")
        connection = listener.accept()
        assert connection is not None
        assert connection.recv(timeout=10) == b"next"


def test_echo_and_cat_are_answered_again_and_again(program: Callable[[str], Program], tmp_path: Path) -> None:
    fifo, reply = tmp_path / "fifo", tmp_path / "reply"
    address = f"fifo:{fifo}?reply={reply}&framing=lines"
    server = program(f"""
import panpipe
listener = panpipe.listen({address!r})
print(listener.address, flush=True)
panpipe.serve(listener, lambda message: message.upper())
""")
    assert server.line() == address
    for number in range(5):
        assert shell(f"echo hi {number} > {fifo} & cat {reply}") == f"HI {number}\n"
    for _ in range(5):
        with panpipe.connect(address) as peer:
            assert peer.call("hello") == b"HELLO"
    server.process.send_signal(signal.SIGINT)
    server.process.wait(10)
    assert not fifo.exists()
    assert not reply.exists()


def test_the_same_on_a_loop(run: Run, tmp_path: Path) -> None:
    fifo, reply = tmp_path / "fifo", tmp_path / "reply"
    address = f"fifo:{fifo}?reply={reply}&framing=lines&exclusive=true"

    async def main() -> None:
        async with panpipe.aio.serve(address, lambda message: message.upper()):
            for number in range(3):
                cat = await asyncio.create_subprocess_shell(
                    f"echo hi {number} > {fifo} & cat {reply}", stdout=subprocess.PIPE
                )
                assert (await cat.communicate())[0] == f"HI {number}\n".encode()
            for _ in range(3):
                async with panpipe.aio.connect(address) as peer:
                    assert await peer.call("hello") == b"HELLO"
                    large = b"x" * 300_000
                    assert await asyncio.gather(*(peer.call(large) for _ in range(4))) == [large.upper()] * 4
        # A listener, which is left by each client before the next is let in.
        async with panpipe.aio.listen(address) as listener:
            for _ in range(3):
                async with panpipe.aio.connect(address) as client:
                    await client.send("hi")
                    accepted = await listener.accept()
                    assert accepted is not None
                    assert await accepted.recv() == b"hi"
                assert await accepted.recv() is None
                await accepted.close()

    run(main())


def test_one_way_on_a_loop(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    address = f"fifo:{path}?framing=lines"

    async def main() -> None:
        async with panpipe.aio.listen(address) as listener:
            reader = await listener.accept()
            assert reader is not None

            async def write(letter: str) -> None:
                async with panpipe.aio.connect(address) as writer:
                    for _ in range(300):
                        await writer.send(letter * 4095)
                    with pytest.raises(panpipe.TooLarge):
                        await writer.send(letter * 4096)

            async def read() -> None:
                for _ in range(600):
                    message = await reader.recv()
                    assert len(message) == 4095
                    assert len(set(message)) == 1

            await asyncio.gather(write("a"), write("b"), read())
            with pytest.raises(panpipe.Unsupported, match="only reads"):
                await reader.send("no")
            await reader.close()
        assert not path.exists()

    run(main())


def test_once_ends_with_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    with panpipe.listen(f"fifo:{path}?framing=lines&once=true") as listener:
        shell(f"printf 'a\\nb\\n' > {path} &")
        (connection,) = list(listener)
        assert list(connection) == [b"a", b"b"]


@pytest.mark.parametrize("kind", ["", "socket", "pipe"])
def test_pairs_go_both_ways(kind: str, run: Run) -> None:
    one, other = panpipe.pair(f"{kind}?framing=lines")
    one.send("hi")
    assert other.recv() == b"hi"
    other.send("HI")
    assert one.recv() == b"HI"
    one.close()
    assert other.recv() is None

    async def main() -> None:
        one, other = panpipe.aio.pair(f"{kind}?framing=lines")
        large = b"x" * (2 << 20)
        _, message = await asyncio.gather(one.send(large), other.recv())
        assert message == large
        await one.close()
        assert await other.recv() is None

    run(main())


def test_a_one_way_pair(run: Run) -> None:
    reader, writer = panpipe.pair("one-way")
    writer.send("hi")
    assert reader.recv() == b"hi"
    with pytest.raises(panpipe.Unsupported, match="only reads"):
        reader.send("no")
    with pytest.raises(panpipe.Unsupported, match="only writes"):
        writer.recv()
    with pytest.raises(panpipe.Unsupported, match="known: socket, pipe, one-way"):
        panpipe.pair("tube")


CHILD = """
import panpipe
with panpipe.connect("fd:{}?framing=lines") as parent:
    for message in parent:
        parent.send(message.upper())
"""


def test_a_child_goes_on_with_an_end_that_was_detached(run: Run) -> None:
    ours, theirs = panpipe.pair("framing=lines")
    reader, writer = theirs.detach()
    assert reader == writer
    with subprocess.Popen([sys.executable, "-c", CHILD.format(reader)], pass_fds=[reader]) as child:
        os.close(reader)
        assert ours.call("hello", timeout=20) == b"HELLO"
        ours.close()
        assert child.wait(20) == 0
    with pytest.raises(panpipe.Closed):
        theirs.detach()

    async def main() -> None:
        ours, theirs = panpipe.aio.pair("framing=lines")
        reader, _ = theirs.detach()
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD.format(reader), pass_fds=[reader])
        os.close(reader)
        assert await ours.call("hello", timeout=20) == b"HELLO"
        await ours.close()
        assert await child.wait() == 0

    run(main())


def test_a_program_that_knows_only_stdin_and_stdout_goes_on_with_a_pair_of_pipes() -> None:
    ours, theirs = panpipe.pair("pipe?framing=lines")
    reader, writer = theirs.detach()
    assert reader != writer
    with subprocess.Popen(["sed", "-u", "s/hello/goodbye/"], stdin=reader, stdout=writer) as child:
        os.close(reader)
        os.close(writer)
        assert ours.call("hello", timeout=20) == b"goodbye"
        ours.close()
        assert child.wait(20) == 0


def test_an_end_with_something_unread_is_not_detached(run: Run) -> None:
    one, other = panpipe.pair("framing=lines")
    one.send("a")
    one.send("b")
    assert other.recv() == b"a"
    with pytest.raises(panpipe.Busy, match="lost"):
        other.detach()
    assert other.recv() == b"b"
    for fd in set(other.detach()):
        os.close(fd)
    assert one.recv() is None

    async def main() -> None:
        one, other = panpipe.aio.pair("framing=lines")
        call = asyncio.ensure_future(one.call("a"))
        assert await other.recv() == b"a"
        with pytest.raises(panpipe.Busy, match="lost"):
            one.detach()
        # It goes on as before.
        await other.send("A")
        assert await call == b"A"

    run(main())


@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_bad_days_change_nothing(seed: int, run: Run) -> None:
    framing = ["lines", "nul", "length", "netstring", "varint", "content-length"][seed % 6]

    async def main() -> None:
        address = f"mem:{seed}?chaos={seed}&framing={framing}"
        async with (
            panpipe.aio.serve(address, lambda message: message.upper()),
            panpipe.aio.connect(address) as peer,
        ):
            messages = [b"x" * size for size in (0, 1, 17, 256, 5000, 70_000, 2)]
            assert await asyncio.gather(*map(peer.call, messages)) == [message.upper() for message in messages]

    run(main())
