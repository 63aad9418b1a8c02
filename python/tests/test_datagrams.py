import asyncio
import socket
import subprocess
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import panpipe

from conftest import Program

Run = Callable[[Coroutine[Any, Any, Any]], Any]

PLACES = ["udp://localhost:0", "udp://[::1]:0", "unix-dgram:{tmp}/d-*", "unix-dgram:@panpipe-test-*"]


@pytest.fixture(params=PLACES, ids=["udp", "udp6", "unix", "abstract"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An address that a test can listen on."""
    return request.param.format(tmp=tmp_path)


def host_and_port(address: str) -> tuple[str, int]:
    host, port = address.removeprefix("udp://").split("?")[0].rsplit(":", 1)
    return "127.0.0.1" if host == "localhost" else host, int(port)


def test_the_founding_example(place: str, upper: Callable[[str], str]) -> None:
    with panpipe.connect(upper(place)) as peer:
        assert peer.call("Hello, server!") == b"HELLO, SERVER!"
        assert peer.call(b"") == b""
        for number in range(100):
            assert peer.call(f"call {number}") == f"CALL {number}".encode()


def test_the_founding_example_on_a_loop(place: str, run: Run) -> None:
    async def main() -> None:
        async with (
            panpipe.aio.serve(place, lambda message: message.upper()) as server,
            panpipe.aio.connect(server.address) as peer,
        ):
            assert await peer.call("Hello, server!") == b"HELLO, SERVER!"
            replies = await asyncio.gather(*(peer.call(f"call {number}") for number in range(100)))
            assert replies == [f"CALL {number}".encode() for number in range(100)]
            assert server.dropped == peer.dropped == 0

    run(main())


def test_an_async_handler_answers_too(place: str, run: Run) -> None:
    async def upper(message: bytes) -> bytes:
        await asyncio.sleep(0.001)
        return message.upper()

    async def main() -> None:
        async with panpipe.aio.serve(place, upper) as server:
            peers = [await panpipe.aio.connect(server.address) for _ in range(20)]
            replies = await asyncio.gather(*(peer.call(f"call {at}") for at, peer in enumerate(peers)))
            assert replies == [f"CALL {number}".encode() for number in range(20)]
            for peer in peers:
                await peer.close()

    run(main())


def test_senders_are_accepted_apart_and_answered(place: str, run: Run) -> None:
    async def main() -> None:
        async with panpipe.aio.listen(place) as listener:
            peers = [await panpipe.aio.connect(listener.address) for _ in range(5)]
            for number, peer in enumerate(peers):
                await peer.send(f"first {number}")
            links = []
            for _ in peers:
                link = await listener.accept()
                assert link is not None
                links.append(link)
            for number, peer in enumerate(peers):
                await peer.send(f"second {number}")
            for link in links:
                first = await link.recv()
                assert await link.recv() == first.replace(b"first", b"second")
                await link.send(first)
            for number, peer in enumerate(peers):
                assert await peer.recv() == f"first {number}".encode()
            assert len({link.remote.address for link in links}) == 5

    run(main())


def test_a_slow_reader_gets_everything_in_order(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with panpipe.aio.listen(f"unix-dgram:{tmp_path}/d") as listener:
            peer = await panpipe.aio.connect(listener.address)

            async def send() -> None:
                for number in range(1000):
                    await peer.send(str(number))

            async def send_back(link: panpipe.aio.Connection) -> None:
                for number in range(1000):
                    await link.send(str(number))

            sending = asyncio.create_task(send())
            link = await listener.accept()
            assert link is not None
            back = asyncio.create_task(send_back(link))
            await asyncio.sleep(0.1)
            for number in range(1000):
                assert await link.recv() == str(number).encode()
            for number in range(1000):
                assert await peer.recv() == str(number).encode()
            await asyncio.gather(sending, back)
            await link.close()
            await peer.close()

    run(main())


def test_nobody_there_is_refused_and_a_later_server_is_reached(run: Run) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            address = "udp://{}:{}".format(*free.getsockname())
        async with panpipe.aio.connect(address) as peer:
            for _ in range(3):
                with pytest.raises(panpipe.Refused) as raised:
                    await peer.call("anybody?")
                assert raised.value.ran == "maybe"
            async with panpipe.aio.serve(address, lambda message: message):
                assert await peer.call("now?") == b"now?"

    run(main())


def test_a_call_to_a_silent_server_ends_at_its_deadline(run: Run) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        address = "udp://{}:{}?timeout=50ms".format(*server.getsockname())

        async def main() -> None:
            async with panpipe.aio.connect(address) as peer:
                calls = asyncio.gather(*(peer.call(f"call {at}") for at in range(3)), return_exceptions=True)
                # The first is on its way; the others have waited behind it and never left.
                assert [error.ran for error in await calls] == ["maybe", "no", "no"]

        run(main())
        with panpipe.connect(address) as peer, pytest.raises(panpipe.DeadlineExceeded) as raised:
            peer.call("anybody?")
        assert raised.value.ran == "maybe"


def test_a_close_waits_for_no_call_whose_turn_has_not_come(run: Run) -> None:
    def outcome(call: Callable[[], Any]) -> str:
        with pytest.raises(panpipe.Error) as raised:
            call()
        return f"{raised.value.code} {raised.value.ran}"

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"udp://127.0.0.1:{silent.getsockname()[1]}?timeout=600s"
        with ThreadPoolExecutor() as pool:
            peer = panpipe.connect(address)
            calls = [pool.submit(outcome, lambda: peer.call("x")) for _ in range(3)]
            assert silent.recv(9) == b"x"
            peer.close()
            assert sorted(call.result(timeout=20) for call in calls) == ["closed maybe"] + ["closed no"] * 2

        async def close() -> list[str]:
            peer = await panpipe.aio.connect(address)
            calls = [asyncio.ensure_future(peer.call("x")) for _ in range(3)]
            await asyncio.sleep(0)
            await peer.send("behind them")
            async with asyncio.timeout(20):
                await peer.close()
                errors = await asyncio.gather(*calls, return_exceptions=True)
            return sorted(f"{error.code} {error.ran}" for error in errors if isinstance(error, panpipe.Error))

        assert run(close()) == ["closed maybe"] + ["closed no"] * 2
        assert [silent.recv(99), silent.recv(99)] == [b"x", b"behind them"]


def test_plain_sockets_both_ways(program: Callable[[str], Program], upper: Callable[[str], str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(host_and_port(upper("udp://localhost:0")))
        client.send(b"Hello, server!")
        assert client.recv(100) == b"HELLO, SERVER!"
        client.send(b"")
        assert client.recv(100) == b""
    server = program(
        """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    message, sender = server.recvfrom(2000)
    server.sendto(message.upper(), sender)
"""
    )
    with panpipe.connect(f"udp://localhost:{server.line()}") as peer:
        assert peer.call("Hello, server!") == b"HELLO, SERVER!"


def test_a_metrics_client_is_counted(tmp_path: Path) -> None:
    """As StatsD clients do it: many little programs send and never listen."""
    with panpipe.listen("udp://localhost:0") as listener:
        for _ in range(3):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(b"requests:1|c", host_and_port(listener.address))
                client.sendto(b"time:320|ms", host_and_port(listener.address))
                link = listener.accept(timeout=10)
                assert link is not None
                assert [link.recv(), link.recv()] == [b"requests:1|c", b"time:320|ms"]


def test_nc_calls_over_udp(upper: Callable[[str], str]) -> None:
    host, port = host_and_port(upper("udp://127.0.0.1:0"))
    done = subprocess.run(["nc", "-u", "-w", "1", host, str(port)], input=b"Hello\n", capture_output=True, timeout=20)
    assert done.stdout == b"HELLO\n"


def test_logger_logs_to_a_unix_datagram_socket(tmp_path: Path) -> None:
    with panpipe.listen(f"unix-dgram:{tmp_path}/log?text=true") as listener:
        for word in ["first", "second"]:
            subprocess.run(["logger", "-u", str(tmp_path / "log"), "-d", word], check=True, timeout=20)
        link = listener.accept(timeout=10)
        assert link is not None
        assert link.recv(timeout=10).endswith("first")
        # Neither has a name, and they are one connection.
        assert link.recv(timeout=10).endswith("second")


def test_systemd_notify_says_that_it_is_ready(tmp_path: Path) -> None:
    with panpipe.listen(f"unix-dgram:{tmp_path}/notify?text=true") as listener:
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "PATH": "/usr/bin:/bin"}
        notify = subprocess.Popen(["systemd-notify", "--ready", "--no-block"], env=environment)
        link = listener.accept(timeout=10)
        assert link is not None
        assert "READY=1" in link.recv(timeout=10)
        assert notify.wait(10) == 0


FLOODED = """
import resource, sys, panpipe
with panpipe.listen("udp://127.0.0.1:0") as listener:
    print(listener.address, flush=True)
    links = []
    for _ in range(200):
        link = listener.accept()
        links.append(link)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print("accepted", flush=True)
    received = 0
    while links[0].recv(timeout=10) != b"end":
        received += 1
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(received, listener.dropped, grown, flush=True)
"""


def test_a_flood_is_counted_and_takes_bounded_memory(program: Callable[[str], Program]) -> None:
    server = program(FLOODED)
    place = host_and_port(server.line())
    senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(200)]
    for sender in senders:
        sender.sendto(b"hello", place)
    assert server.line() == "accepted"
    for _ in range(500):
        for sender in senders:
            sender.sendto(b"x" * 1000, place)
    reading = threading.Event()

    def end() -> None:
        while not reading.wait(0.01):
            senders[0].sendto(b"end", place)

    ending = threading.Thread(target=end)
    ending.start()
    try:
        _received, dropped, grown = map(int, server.line().split())
    finally:
        reading.set()
        ending.join()
        for sender in senders:
            sender.close()
    assert dropped > 0
    # 200 mailboxes of 256 KiB would be 50 MiB; all together may hold 16.
    assert grown < 40 << 10, f"{grown} KiB more"


def test_a_closed_listener_ends_an_accept_in_another_thread(place: str) -> None:
    listener = panpipe.listen(place)
    accepted: list[Any] = []
    waiting = threading.Thread(target=lambda: accepted.append(listener.accept()))
    waiting.start()
    threading.Event().wait(0.05)
    listener.close()
    waiting.join(10)
    assert accepted == [None]
