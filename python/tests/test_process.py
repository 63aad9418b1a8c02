"""What a Python program may expect of its own process: signals, forks, threads, standard streams."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import panpipe


@pytest.mark.parametrize(
    "wait",
    [
        "panpipe.serve(panpipe.listen('unix:@panpipe-test-*?framing=length'), lambda m: m)",
        "panpipe.listen('unix:@panpipe-test-*?framing=length').accept()",
        "one.recv()",
        "one.call('x', timeout=600)",
        "one.send(b'x' * 10_000_000)",
        "panpipe.connect(full, timeout=600)",
        "asyncio",
    ],
    ids=["serve", "accept", "recv", "call", "send", "connect", "asyncio"],
)
def test_ctrl_c_works_while_waiting(wait: str, program: Callable[..., object]) -> None:
    waiting = program(
        f"""
import asyncio, os, panpipe, panpipe.aio, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
one, other = panpipe.pair("framing=length")
listener = panpipe.listen("unix:@panpipe-test-*?backlog=1&framing=length")
full = listener.address
kept = [panpipe.connect(full) for _ in range(2)]
async def forever():
    async with panpipe.aio.serve("unix:@panpipe-test-*?framing=length", lambda m: m) as server:
        await server.wait()
print("ready", flush=True)
try: {wait if "asyncio" not in wait else "asyncio.run(forever())"}
except KeyboardInterrupt: print("interrupted", flush=True)
"""
    )
    assert waiting.line() == "ready"
    # Until it waits, the interrupt would end it in Python code, which is no test of ours.
    while not is_waiting(waiting.process.pid):
        assert waiting.process.poll() is None, waiting.end()
    waiting.process.send_signal(signal.SIGINT)
    assert waiting.end() == (0, "interrupted\n", "")


def is_waiting(pid: int) -> bool:
    """Whether the main thread waits for input, for room or for a connection, in the system."""
    with open(f"/proc/{pid}/wchan", "rb") as file:
        where = file.read()
    return any(place in where for place in (b"poll", b"unix_stream", b"sk_wait"))


def test_an_uncaught_ctrl_c_in_serve_is_exit_130_for_a_shell(program: Callable[..., object], tmp_path: object) -> None:
    serving = program(
        f"""
import panpipe, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
listener = panpipe.listen("unix:{tmp_path}/a.sock?framing=length")
print(listener.address, flush=True)
panpipe.serve(listener, lambda m: m)
"""
    )
    with panpipe.connect(serving.line()) as peer:
        assert peer.call("x") == b"x"
        serving.process.send_signal(signal.SIGINT)
        code, _, _ = serving.end()
    # A shell shows death by SIGINT as 130.
    assert code == -signal.SIGINT
    assert os.listdir(str(tmp_path)) == []


def test_a_fork_may_connect_anew_and_is_told_when_it_uses_what_is_not_its_own(upper: Callable[[str], str]) -> None:
    address = upper("unix:@panpipe-test-*?framing=lines")
    peer = panpipe.connect(address)
    assert peer.call("before") == b"BEFORE"
    child = os.fork()
    if child == 0:
        try:
            for use in (lambda: peer.call("x"), lambda: peer.send("x"), peer.recv):
                try:
                    use()
                    os._exit(1)
                except panpipe.Closed as error:
                    if "forked" not in str(error):
                        os._exit(2)
            peer.close()
            with panpipe.connect(address) as own:
                os._exit(0 if own.call("child") == b"CHILD" else 3)
        finally:
            os._exit(4)
    assert os.waitpid(child, 0)[1] == 0
    assert peer.call("after") == b"AFTER"


def test_a_fork_of_a_server_leaves_its_socket_file_alone(tmp_path: object) -> None:
    listener = panpipe.listen(f"unix:{tmp_path}/a.sock?framing=length")
    child = os.fork()
    if child == 0:
        listener.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert os.listdir(str(tmp_path)) == ["a.sock"]


@pytest.mark.parametrize("address", ["udp://localhost:0", "unix-dgram:@panpipe-test-*", "fifo:{tmp}/a?reply={tmp}/b"])
def test_a_fork_of_a_listener_takes_nothing_that_is_its_parents(tmp_path: Path, address: str) -> None:
    with panpipe.listen(address.format(tmp=tmp_path)) as listener:
        begin, begun = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(begun)
            os.read(begin, 1)
            try:
                listener.accept(timeout=10)
            except panpipe.Closed as error:
                os._exit(0 if "forked" in str(error) else 1)
            finally:
                os._exit(2)
        os.close(begin)
        with panpipe.connect(listener.address) as sender:
            sender.send("one")
            os.close(begun)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            sender.send("two")
            accepted = listener.accept(timeout=10)
            assert accepted is not None
            with accepted:
                assert [accepted.recv(timeout=10), accepted.recv(timeout=10)] == [b"one", b"two"]


def test_no_thread_but_the_main_one(program: Callable[..., object]) -> None:
    counting = program(
        """
import asyncio, os, panpipe, panpipe.aio
def threads(): return len(os.listdir("/proc/self/task"))
async def main():
    async with panpipe.aio.serve("tcp://localhost:0?framing=lines", lambda m: m.upper()) as server:
        async with panpipe.aio.connect(server.address) as peer:
            assert await peer.call("x") == b"X"
            print(threads(), flush=True)
asyncio.run(main())
one, other = panpipe.pair("framing=lines")
one.send("x"); other.recv()
print(threads(), flush=True)
"""
    )
    assert [counting.line(), counting.line()] == ["1", "1"]


@pytest.mark.parametrize("address", ["-?framing=lines", "stdio:?framing=lines"])
def test_a_stray_print_does_not_reach_the_protocol_on_stdio(address: str) -> None:
    source = f"""
import os, panpipe
def handle(message):
    print("stray")
    os.system("echo stray from a child")
    return message.upper()
panpipe.serve({address!r}, handle)
print("the end")
"""
    run = subprocess.run(
        [sys.executable, "-c", source], input=b"one\ntwo\n", capture_output=True, timeout=30, check=True
    )
    assert run.stdout == b"ONE\nTWO\n"
    assert run.stderr.count(b"stray\n") == 2
    assert run.stderr.count(b"stray from a child\n") == 2


def run_with(source: str, stdin: bytes) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([sys.executable, "-c", source], input=stdin, capture_output=True, timeout=30, check=True)


def test_stdio_as_a_client() -> None:
    source = """
import panpipe
with panpipe.connect("-?framing=lines") as peer:
    assert peer.call("question") == b"answer"
    print("not in the protocol")
"""
    run = run_with(source, b"answer\n")
    assert (run.stdout, run.stderr) == (b"question\n", b"not in the protocol\n")


def test_an_inherited_descriptor() -> None:
    import socket

    ours, theirs = socket.socketpair()
    source = f"import panpipe; panpipe.serve('fd:{theirs.fileno()}?framing=lines', lambda m: m.upper())"
    child = subprocess.Popen([sys.executable, "-c", source], pass_fds=[theirs.fileno()])
    theirs.close()
    ours.sendall(b"hello\n")
    assert ours.recv(100) == b"HELLO\n"
    ours.close()
    assert child.wait(timeout=30) == 0


@pytest.mark.parametrize("address", ["fd:web?framing=lines", "fd:3?framing=lines"])
@pytest.mark.parametrize(
    "face",
    [
        "panpipe.serve(sys.argv[1], bytes.upper)",
        "async def main(): await panpipe.aio.serve(sys.argv[1], bytes.upper)\nasyncio.run(main())",
    ],
    ids=["blocking", "asyncio"],
)
def test_a_socket_of_systemd_is_served_and_left_in_place(tmp_path: Path, address: str, face: str) -> None:
    path = tmp_path / "a.sock"
    program = ["systemd-socket-activate", "-l", str(path), "--fdname=web", sys.executable, "-c"]
    script = f"import asyncio, sys, panpipe, panpipe.aio\n{face}"
    child = subprocess.Popen([*program, script, address], stderr=subprocess.PIPE, text=True)
    assert child.stderr
    assert "Listening on" in child.stderr.readline()
    for message in ["Hello, server!", "again"]:
        with panpipe.connect(f"unix:{path}?framing=lines") as peer:
            assert peer.call(message) == message.upper().encode()
    child.kill()
    child.communicate()
    assert path.exists()
