"""Many tasks or threads on one connection, listener or server: nobody waits for those that do not go on."""

import asyncio
import gc
import os
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import panpipe
import panpipe.aio

Run = Callable[[Coroutine[Any, Any, Any]], Any]

NET = 10
"""Seconds that a test waits for what must come: only a failure takes so long."""

MUCH = 4 << 20
"""More bytes than the system takes and than may wait to be written."""


def alive(kind: type) -> int:
    gc.collect()
    return sum(isinstance(each, kind) for each in gc.get_objects())


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident() -> int:
    """The bytes of memory that this process has in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("is_called_late", [False, True], ids=["called", "called-late"])
def test_closed_connections_leave_nothing_behind(run: Run, is_called_late: bool) -> None:
    async def close() -> None:
        async with panpipe.aio.serve("unix:@panpipe-test-*?framing=length", bytes.upper) as server:

            async def once() -> None:
                peer = await panpipe.aio.connect(server.address)
                if not is_called_late:
                    assert await peer.call("x") == b"X"
                await peer.close()
                if is_called_late:
                    with pytest.raises(panpipe.Closed):
                        await peer.call("x")

            async def settled(before: int) -> None:
                """The server notices ends a little later."""
                async with asyncio.timeout(NET):
                    while descriptors() > before:
                        await asyncio.sleep(0)

            before, cores = descriptors(), alive(panpipe._panpipe.Core)
            for _ in range(30):
                await once()
            await settled(before)
            assert alive(panpipe._panpipe.Core) == cores

    run(close())


def test_recvs_that_give_up_leave_no_futures_behind(run: Run) -> None:
    async def give_up() -> None:
        one, _other = panpipe.aio.pair("framing=lines")

        async def recvs(count: int) -> int:
            for _ in range(count):
                with pytest.raises(panpipe.DeadlineExceeded):
                    await one.recv(timeout=0)
            return alive(asyncio.Future)

        assert await recvs(300) == await recvs(1)

    run(give_up())


def test_a_call_that_finds_no_room_in_time_was_not_sent(run: Run) -> None:
    async def call() -> None:
        one, other = panpipe.aio.pair("framing=lines")
        sending = asyncio.ensure_future(one.send(b"x" * MUCH))
        await asyncio.sleep(0)
        with pytest.raises(panpipe.DeadlineExceeded) as raised:
            await asyncio.wait_for(one.call("late", timeout=0.02), NET)
        assert raised.value.ran == "no"
        assert len(await other.recv()) == MUCH
        await sending
        await one.send("next")
        assert await other.recv() == b"next"

    run(call())


def test_closing_a_listener_ends_an_accept_and_frees_its_descriptors(run: Run) -> None:
    async def close() -> None:
        listener = await panpipe.aio.listen("unix:@panpipe-test-*?framing=length")
        accepting = [asyncio.ensure_future(listener.accept()) for _ in range(2)]
        await asyncio.sleep(0)
        await listener.close()
        assert await asyncio.wait_for(asyncio.gather(*accepting), NET) == [None, None]
        # One of these has the listener's number now.
        for one, other in [panpipe.aio.pair("framing=lines") for _ in range(4)]:
            await one.send("x")
            assert await asyncio.wait_for(other.recv(), NET) == b"x"

    run(close())


def test_a_cancelled_accept_takes_no_connection_from_another(run: Run) -> None:
    async def accept() -> None:
        async with panpipe.aio.listen("unix:@panpipe-test-*?framing=length") as listener:
            first, second = (asyncio.ensure_future(listener.accept()) for _ in range(2))
            await asyncio.sleep(0)
            second.cancel()
            await asyncio.wait([second])
            async with panpipe.aio.connect(listener.address):
                peer = await asyncio.wait_for(first, NET)
                assert peer is not None
                await peer.close()

    run(accept())


def test_a_handler_that_is_cancelled_closes_its_connection(run: Run) -> None:
    async def handler(_message: bytes) -> None:
        inner = asyncio.ensure_future(asyncio.sleep(60))
        inner.cancel()
        await inner

    async def serve() -> None:
        async with (
            panpipe.aio.serve("unix:@panpipe-test-*?timeout=10s&framing=length", handler) as server,
            panpipe.aio.connect(server.address) as peer,
        ):
            with pytest.raises(panpipe.ConnectionLost):
                await peer.call("x")

    run(serve())


def test_a_handler_can_close_its_own_server(run: Run) -> None:
    async def serve() -> None:
        ended = asyncio.Event()

        async def handler(message: bytes) -> bytes:
            await server.close()
            ended.set()
            return message

        async with panpipe.aio.serve("unix:@panpipe-test-*?timeout=10s&framing=length", handler) as server:
            peer = await panpipe.aio.connect(server.address)
            with pytest.raises(panpipe.ConnectionLost):
                await peer.call("x")
            await asyncio.wait_for(ended.wait(), NET)
            await asyncio.wait_for(server.wait(), NET)
            await peer.close()

    run(serve())


def test_a_reply_does_not_wait_for_the_slow_request_of_another_client() -> None:
    all_sent, has_reply = threading.Event(), threading.Event()

    def handler(message: bytes) -> bytes:
        if message == b"block":
            assert all_sent.wait(NET)
        if message == b"slow":
            has_reply.wait(2 * NET)
        if message == b"end":
            raise SystemExit
        return message

    def serve() -> None:
        with suppress(SystemExit):
            panpipe.serve(listener, handler)

    listener = panpipe.listen("unix:@panpipe-test-*?framing=lines")
    serving = threading.Thread(target=serve)
    serving.start()
    first, fast, slow = (panpipe.connect(listener.address) for _ in range(3))
    # Whether the server comes to them in one turn makes no difference to the outcome.
    first.send("block")
    fast.send("fast")
    slow.send("slow")
    all_sent.set()
    try:
        assert fast.recv(timeout=NET) == b"fast"
    finally:
        has_reply.set()
        first.send("end")
        serving.join()


def test_a_send_that_found_no_room_in_time_was_not_sent() -> None:
    one, other = panpipe.pair("framing=lines")
    with pytest.raises(panpipe.DeadlineExceeded) as raised:
        one.send(b"x" * MUCH, timeout=0.02)
    assert raised.value.ran == "maybe"
    with pytest.raises(panpipe.DeadlineExceeded) as raised:
        one.send(b"debit", timeout=0.02)
    assert raised.value.ran == "no"
    # It waits until the first one is written.
    sending = threading.Thread(target=one.send, args=("next",))
    sending.start()
    assert len(other.recv(timeout=NET)) == MUCH
    assert other.recv(timeout=NET) == b"next"
    sending.join()


def test_sends_that_give_up_do_not_fill_the_memory() -> None:
    one, _other = panpipe.pair("framing=lines")
    message = b"x" * MUCH
    before = resident()
    for _ in range(40):
        with pytest.raises(panpipe.DeadlineExceeded):
            one.send(message, timeout=0.001)
    assert resident() - before < 10 * MUCH


def test_closing_a_listener_ends_an_accept_in_another_thread(place: str) -> None:
    listener = panpipe.listen(f"{place}?framing=length")
    accepted: list[object] = []
    begins = threading.Event()

    def accept() -> None:
        begins.set()
        # Where it comes too late to wait, it is told so.
        with suppress(panpipe.Closed):
            accepted.append(listener.accept())

    # A daemon, so that a failure does not keep the tests from ending.
    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    begins.wait()
    accepting.join(0.05)
    listener.close()
    accepting.join(NET)
    assert not accepting.is_alive()
    assert accepted in ([None], [])
