import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import panpipe
import panpipe.aio

from conftest import FRAMINGS, plain

Run = Callable[[Coroutine[Any, Any, Any]], Any]


async def slow_upper(message: bytes) -> bytes:
    await asyncio.sleep(0)
    return message.upper()


@pytest.mark.parametrize("handler", [bytes.upper, slow_upper], ids=["plain", "async"])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_the_founding_example(place: str, framing: str, handler: Callable[..., Any], run: Run) -> None:
    async def example() -> None:
        async with (
            panpipe.aio.serve(f"{place}?framing={framing}", handler) as server,
            panpipe.aio.connect(server.address) as peer,
        ):
            assert await peer.call("Hello, server!") == b"HELLO, SERVER!"
            await peer.send("again")
            assert await peer.recv() == b"AGAIN"

    run(example())


def test_many_calls_in_flight_each_get_their_own_reply(run: Run) -> None:
    async def calls() -> None:
        async with panpipe.aio.serve("unix:@panpipe-test-*?framing=lines", slow_upper) as server:
            peer = await panpipe.aio.connect(server.address)
            replies = await asyncio.gather(*(peer.call(f"call {number}") for number in range(3000)))
            assert replies == [f"CALL {number}".encode() for number in range(3000)]
            await peer.close()

    run(calls())


def test_huge_messages_both_ways_at_once(run: Run) -> None:
    async def exchange() -> None:
        one, other = panpipe.aio.pair("framing=length")

        async def send(peer: panpipe.aio.Connection) -> None:
            for _ in range(64):
                await peer.send(b"x" * (1 << 20))

        async def receive(peer: panpipe.aio.Connection) -> None:
            for _ in range(64):
                assert len(await peer.recv()) == 1 << 20

        await asyncio.gather(send(one), send(other), receive(one), receive(other))

    run(exchange())


def test_a_cancelled_recv_and_call_lose_nothing(run: Run) -> None:
    async def cancel() -> None:
        one, other = panpipe.aio.pair("framing=lines")
        for _ in range(3):
            for waiting in (one.recv(), one.call("given up")):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(waiting, 0.01)
            assert await other.recv() == b"given up"
        for late in ("late 1", "late 2", "late 3", "message"):
            await other.send(late)
        assert await one.recv() == b"message"

    run(cancel())


def test_a_call_out_of_time_says_maybe(run: Run) -> None:
    async def late() -> None:
        one, other = panpipe.aio.pair("framing=lines&timeout=20ms")
        with pytest.raises(panpipe.DeadlineExceeded) as raised:
            await one.call("first")
        assert raised.value.ran == "maybe"
        await other.send("FIRST")
        await other.send("SECOND")
        assert await one.call("second", timeout=30) == b"SECOND"
        with pytest.raises(panpipe.DeadlineExceeded):
            await one.recv(timeout=0.01)

    run(late())


def test_the_end_is_none_between_messages_and_an_error_for_a_waiting_call(run: Run) -> None:
    async def end() -> None:
        one, other = panpipe.aio.pair("framing=lines")
        await other.send("a")
        await other.send("b")

        async def leave() -> None:
            assert await other.recv() == b"anybody?"
            await other.close()

        assert [await one.recv(), await one.recv()] == [b"a", b"b"]
        call = asyncio.ensure_future(one.call("anybody?"))
        await leave()
        with pytest.raises(panpipe.ConnectionLost) as raised:
            await call
        assert raised.value.ran == "maybe"
        assert [message async for message in one] == []
        with pytest.raises(panpipe.Closed):
            await other.recv()

    run(end())


def test_closing_ends_a_waiting_recv(run: Run) -> None:
    async def close() -> None:
        one, _other = panpipe.aio.pair("framing=lines")
        waiting = asyncio.ensure_future(one.recv())
        await asyncio.sleep(0)
        await one.close()
        with pytest.raises(panpipe.Closed):
            await waiting

    run(close())


def test_closing_writes_what_was_sent_and_tells_what_it_could_not(run: Run) -> None:
    async def close() -> None:
        one, _other = panpipe.aio.pair("framing=length&timeout=100ms")
        await one.send(b"x" * 900_000)
        with pytest.raises(panpipe.DeadlineExceeded) as raised:
            await one.close()
        assert raised.value.ran == "maybe"
        await one.close()
        with pytest.raises(panpipe.Closed):
            await one.recv()

    run(close())


def test_a_cancelled_close_closes(run: Run) -> None:
    async def close() -> None:
        one, _other = panpipe.aio.pair("framing=length&timeout=60s")
        await one.send(b"x" * 900_000)
        closing = asyncio.ensure_future(one.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        with pytest.raises(panpipe.Closed):
            await one.recv()

    run(close())


def test_a_slow_handler_delays_only_its_own_client(run: Run) -> None:
    async def handler(message: bytes) -> bytes:
        if message == b"slow":
            await asyncio.sleep(60)
        return message

    async def serve() -> None:
        async with panpipe.aio.serve("tcp://localhost:0?framing=lines", handler) as server:
            silent, slow = plain(server.address), plain(server.address)
            slow.sendall(b"fast\nslow\n")
            async with panpipe.aio.connect(server.address) as peer:
                assert await peer.call("fast", timeout=30) == b"fast"
            loop = asyncio.get_running_loop()
            slow.setblocking(False)
            assert await loop.sock_recv(slow, 100) == b"fast\n"
            silent.close()
            slow.close()

    run(serve())


def test_a_handler_that_raises_closes_its_connection(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def fails(message: bytes) -> bytes:
        await asyncio.sleep(0)
        raise KeyError("no such thing")

    def fails_at_once(message: bytes) -> bytes:
        raise KeyError("no such thing")

    async def serve(handler: Callable[..., Any]) -> None:
        async with (
            panpipe.aio.serve("unix:@panpipe-test-*?framing=lines", handler) as server,
            panpipe.aio.connect(server.address) as peer,
        ):
            with pytest.raises(panpipe.ConnectionLost):
                await peer.call("x")

    for handler in (fails, fails_at_once):
        caplog.clear()
        run(serve(handler))
        assert "no such thing" in caplog.text


def test_listen_and_accept(place: str, run: Run) -> None:
    async def accept() -> None:
        async with panpipe.aio.listen(f"{place}?framing=lines") as listener:
            client = await panpipe.aio.connect(listener.address)
            async for peer in listener:
                await peer.send("welcome")
                assert await client.recv() == b"welcome"
                await peer.close()
                break
            assert await client.recv() is None
            await client.close()

    run(accept())


def test_a_closed_server_answers_nobody(run: Run, tmp_path: Any) -> None:
    async def close() -> None:
        server = await panpipe.aio.listen(f"unix:{tmp_path}/a.sock?framing=length")
        await server.close()
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(panpipe.NotFound):
            await panpipe.aio.connect(server.address)

    run(close())


def test_await_serve_runs_until_cancelled(run: Run, tmp_path: Any) -> None:
    async def serve() -> None:
        address = f"unix:{tmp_path}/a.sock?framing=lines"

        async def for_ever() -> None:
            await panpipe.aio.serve(address, bytes.upper)

        serving = asyncio.ensure_future(for_ever())
        while not list(tmp_path.glob("*.sock")):
            await asyncio.sleep(0)
        async with panpipe.aio.connect(address) as peer:
            assert await peer.call("x") == b"X"
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        assert list(tmp_path.iterdir()) == []

    run(serve())


@pytest.mark.parametrize("handler", [bytes.upper, slow_upper], ids=["plain", "async"])
def test_packets_keep_their_boundaries_without_a_framing(handler: Callable[..., Any], run: Run) -> None:
    async def example() -> None:
        async with (
            panpipe.aio.serve("unix-seqpacket:@panpipe-test-*?protocol=plain", handler) as server,
            panpipe.aio.connect(server.address) as peer,
        ):
            replies = await asyncio.gather(*(peer.call(f"call {number}") for number in range(500)))
            assert replies == [f"CALL {number}".encode() for number in range(500)]

    run(example())
