"""Children: what they say by their end, and that none of them is left."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import panpipe
import panpipe.aio

from conftest import Program

UPPER = [sys.executable, "-c", "import panpipe; panpipe.serve('-?framing=lines', lambda line: line.upper())"]
EXITS_3 = ["sh", "-c", "read line; echo no such luck >&2; exit 3"]
LAST_WORDS = "the child exited with status 3; its stderr ended: no such luck"


def runs(pid: int) -> bool:
    """Whether a process runs; one that nobody has reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def ends_within(seconds: float, pid: int) -> bool:
    until = time.monotonic() + seconds
    while runs(pid):
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


def test_a_child_of_ours_answers_and_ends_with_its_stdin() -> None:
    with panpipe.spawn(UPPER, "framing=lines") as child:
        pid = child.remote.pid
        assert child.remote.transport == "spawn"
        assert pid is not None
        assert child.call("hello") == b"HELLO"
        begun = time.monotonic()
    assert not Path(f"/proc/{pid}").exists()
    assert time.monotonic() - begun < 1.5, "it had to be told"


def test_a_child_on_a_loop(run: Callable[..., Any]) -> None:
    async def main() -> int | None:
        async with panpipe.aio.spawn(UPPER, "framing=lines&text=true") as child:
            assert await asyncio.gather(child.call("one"), child.call("two")) == ["ONE", "TWO"]
            return child.remote.pid

    assert not Path(f"/proc/{run(main())}").exists()


def test_a_child_that_fails_says_why_in_every_error(run: Callable[..., Any]) -> None:
    with panpipe.spawn(EXITS_3, "framing=lines") as child:
        with pytest.raises(panpipe.ConnectionLost, match=LAST_WORDS) as raised:
            child.call("hello")
        assert raised.value.ran == "maybe"
        with pytest.raises(panpipe.ConnectionLost, match=LAST_WORDS):
            child.recv()

    async def main() -> None:
        child = await panpipe.aio.spawn(EXITS_3, "framing=lines")
        calls = [child.call("hello"), child.call("there"), child.recv()]
        for error in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(error, panpipe.ConnectionLost)
            assert LAST_WORDS in str(error)
        await child.close()

    run(main())


def test_a_child_that_has_done_its_work_is_no_error(run: Callable[..., Any]) -> None:
    with panpipe.spawn(["printf", "one\ntwo\n"], "framing=lines&text=true") as child:
        assert list(child) == ["one", "two"]

    async def main() -> list[str]:
        async with panpipe.aio.spawn(["printf", "one\ntwo\n"], "framing=lines&text=true") as child:
            return [message async for message in child]

    assert run(main()) == ["one", "two"]


def test_all_that_a_child_wrote_comes_before_its_end_though_a_grandchild_holds_stdout(run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with panpipe.aio.spawn(["sh", "-c", "sleep 1000 & seq 100000; exit 3"], "framing=lines") as child:
            assert child.remote.pid is not None
            while runs(child.remote.pid):
                await asyncio.sleep(0.005)
            for number in range(1, 100_001):
                assert await child.recv() == b"%d" % number
            with pytest.raises(panpipe.ConnectionLost, match="status 3"):
                await child.recv(timeout=2)

    run(main())


def test_what_cannot_be_started_is_named() -> None:
    with pytest.raises(panpipe.NotFound, match="panpipe-no-such-program") as raised:
        panpipe.spawn(["panpipe-no-such-program"], "framing=length")
    assert isinstance(raised.value, FileNotFoundError)
    with pytest.raises(panpipe.Permission):
        panpipe.spawn(["/etc/passwd"], "framing=length")
    with pytest.raises(TypeError):
        panpipe.spawn("cat")
    with pytest.raises(panpipe.InvalidAddress):
        panpipe.spawn([])


def test_a_child_with_a_socket_of_its_own() -> None:
    source = """
import os, panpipe
print("a stray print")
panpipe.serve(f"fd:{os.environ['PANPIPE_FD']}?framing=lines", lambda line: line.upper())
"""
    with panpipe.spawn([sys.executable, "-c", source], "framing=lines&socket=true&stderr=null") as child:
        assert child.call("hello") == b"HELLO"
    assert not Path(f"/proc/{child.remote.pid}").exists()


def test_what_a_child_finds_in_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANPIPE_FD", "9")
    monkeypatch.setenv("PANPIPE_TEST", "x=y")
    script = 'echo "$PANPIPE_TEST ${PANPIPE_FD-none} $PYTHONUNBUFFERED"'
    for unbuffered in ["", "0", None]:
        if unbuffered is None:
            monkeypatch.delenv("PYTHONUNBUFFERED")
        else:
            monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
        with panpipe.spawn(["sh", "-c", script], "framing=lines&text=true") as child:
            assert child.recv() == f"x=y none {'1' if unbuffered is None else unbuffered}"


def test_a_stray_print_in_a_child_corrupts_nothing() -> None:
    source = """
import panpipe
def answer(line):
    print("a stray print")
    return line.upper()
panpipe.serve("-?framing=lines", answer)
"""
    with panpipe.spawn([sys.executable, "-c", source], "framing=lines&stderr=null") as child:
        assert child.call("hello") == b"HELLO"
        assert child.call("again") == b"AGAIN"


def test_a_childs_print_goes_out_at_once() -> None:
    source = "import time\nprint('hello')\ntime.sleep(1000)"
    with panpipe.spawn([sys.executable, "-c", source], "framing=lines") as child:
        assert child.recv(timeout=20) == b"hello"
        os.kill(child.remote.pid, signal.SIGKILL)  # type: ignore[arg-type]


SPAWNS = """
import asyncio, os, panpipe, panpipe.aio, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
child = panpipe.spawn(["sleep", "1000"], "framing=lines")
print(child.remote.pid, flush=True)
{then}
"""


def test_ctrl_c_while_waiting_for_a_child(program: Callable[[str], Program]) -> None:
    for then in ["child.call('hello', timeout=60)", "child.recv()"]:
        waiting = program(
            SPAWNS.format(then=f"try: {then}\nexcept KeyboardInterrupt: print('interrupted', flush=True)")
        )
        pid = int(waiting.line())
        while "poll" not in Path(f"/proc/{waiting.process.pid}/wchan").read_text():
            assert waiting.process.poll() is None, waiting.end()
        waiting.process.send_signal(signal.SIGINT)
        assert waiting.line() == "interrupted"
        assert ends_within(3, pid)
        assert waiting.end()[0] == 0


@pytest.mark.parametrize(
    "then",
    ["", "os._exit(0)", "sys.exit(3)", "1 / 0", "os.kill(os.getpid(), signal.SIGKILL)", "os.abort()"],
    ids=["end", "_exit", "exit", "exception", "kill", "abort"],
)
def test_no_child_is_left_however_its_parent_ends(then: str, program: Callable[[str], Program]) -> None:
    ended = program(SPAWNS.format(then=then))
    pid = int(ended.line())
    ended.process.wait(10)
    assert ends_within(1, pid)


def test_a_fork_does_not_keep_a_child_from_seeing_the_end_of_its_input(tmp_path: Path) -> None:
    # It would otherwise be told by SIGTERM, two seconds later.
    ended = tmp_path / "ended"
    child = panpipe.spawn(["sh", "-c", 'cat; sleep 0.1; echo well > "$0"', str(ended)], "framing=lines")
    assert child.call("hello") == b"hello"
    fork = os.fork()
    if fork == 0:
        signal.pause()
        os._exit(0)
    try:
        child.close()
        assert ended.read_text() == "well\n"
    finally:
        os.kill(fork, signal.SIGKILL)
        os.waitpid(fork, 0)


def test_a_fork_of_a_fork_has_children_of_its_own(program: Callable[[str], Program]) -> None:
    forked = program(
        """
import os, panpipe
child = panpipe.spawn(["cat"], "framing=lines")
def fork(then):
    pid = os.fork()
    if pid == 0:
        try: then(); os._exit(0)
        finally: os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
def again():
    global child
    own = panpipe.spawn(["cat"], "framing=lines")
    child = None
    assert own.call("hello") == b"hello"
    fork(lambda: None)
    assert own.call("hello") == b"hello"
    own.close()
fork(again)
assert child.call("hello") == b"hello"
child.close()
"""
    )
    assert forked.end() == (0, "", "")


def test_os_wait_and_forks_are_not_disturbed(program: Callable[[str], Program]) -> None:
    # In Python 3.12 and later a thread would make the fork warn, which is an error here.
    waited = program(
        """
import os, panpipe, warnings
warnings.simplefilter("error")
with panpipe.spawn(["cat"], "framing=lines&stderr=inherit") as child:
    pid = os.fork()
    if pid == 0:
        try: child.call("hello")
        except panpipe.Closed: os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert child.call("hello") == b"hello"
try: os.wait()
except ChildProcessError: print("nobody is left")
"""
    )
    code, out, err = waited.end()
    assert (code, out, err) == (0, "nobody is left\n", "")


def test_a_close_that_is_given_up_ends_the_child_all_the_same(run: Callable[..., Any]) -> None:
    async def main() -> None:
        child = await panpipe.aio.spawn(["sleep", "1000"], "framing=length")
        pid = child.remote.pid
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await child.close()
        async with asyncio.timeout(20):
            while os.path.exists(f"/proc/{pid}"):
                await asyncio.sleep(0.01)

    run(main())


def test_a_child_that_must_be_told_twice_does_not_stop_the_loop(run: Callable[..., Any]) -> None:
    async def main() -> tuple[int | None, int]:
        child = await panpipe.aio.spawn(["sleep", "1000"], "framing=length")
        pid = child.remote.pid
        closing = asyncio.ensure_future(child.close())
        turns = 0
        while not closing.done():
            await asyncio.sleep(0.02)
            turns += 1
        await closing
        return pid, turns

    pid, turns = run(main())
    assert not Path(f"/proc/{pid}").exists()
    assert turns > 50


def test_a_cancelled_close_leaves_the_child_to_the_next(run: Callable[..., Any]) -> None:
    async def main() -> int:
        child = await panpipe.aio.spawn(["sleep", "1000"], "framing=length")
        pid = child.remote.pid
        assert pid is not None
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await child.close()
        os.kill(pid, signal.SIGKILL)
        while runs(pid):
            await asyncio.sleep(0.005)
        async with panpipe.aio.spawn(["cat"], "framing=length"):
            pass
        return pid

    assert not Path(f"/proc/{run(main())}").exists()
