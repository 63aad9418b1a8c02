"""Peers whose address says ``reconnect=true``."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import panpipe
import panpipe.aio

from conftest import Program

Run = Callable[[Coroutine[Any, Any, Any]], Any]

SERVER = """
import asyncio, os, panpipe
service = panpipe.Service()
news = service.topic("news")
runs = []

@service.method
def pid() -> int: return os.getpid()
@service.method
async def hang(): await asyncio.sleep(100)
@service.method
async def late() -> int:
    await asyncio.sleep(0.2)
    return os.getpid()
@service.method
def die(): os._exit(1)
@service.method
def announce(value):
    news.publish(value)
    return news.subscribers

listener = panpipe.listen({address!r})
print("ready", flush=True)
service.serve(listener)
"""


@pytest.fixture
def address(tmp_path: Any) -> str:
    return f"unix:{tmp_path}/service?protocol=panpipe&reconnect=true"


@pytest.fixture
def start(program: Callable[[str], Program], address: str) -> Callable[[], Program]:
    def start() -> Program:
        server = program(SERVER.replace("{address!r}", repr(address)))
        assert server.line() == "ready"
        return server

    return start


def end(server: Program) -> None:
    server.process.kill()
    server.process.wait()


def later(seconds: float, do: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(seconds, do)
    timer.start()
    return timer


def test_calls_wait_for_the_next_connection_and_subscriptions_are_renewed(
    run: Run, start: Callable[[], Program], address: str
) -> None:
    async def example() -> None:
        server = await asyncio.to_thread(start)
        states: list[str] = []
        async with panpipe.aio.connect(address) as peer:
            peer.on_state(states.append)
            news = await peer.subscribe("news")
            first = await peer.call("pid")
            assert await peer.call("announce", 1) == 1
            assert await anext(news) == 1
            for _ in range(2):
                hanging = asyncio.create_task(peer.call("hang"))
                again = asyncio.create_task(peer.options(idempotent=True).call("late"))
                stream = asyncio.create_task(anext(news))
                # The tasks begin, so that their calls go before this one.
                await asyncio.sleep(0)
                await peer.call("pid")
                end(server)
                with pytest.raises(panpipe.ConnectionLost) as raised:
                    await hanging
                assert raised.value.ran == "maybe"
                waiting = asyncio.create_task(peer.call("pid"))
                with pytest.raises(panpipe.DeadlineExceeded) as late:
                    await peer.options(timeout=0.05).call("pid")
                assert late.value.ran == "no"
                assert peer.state == "reconnecting"
                server = await asyncio.to_thread(start)
                second = await waiting
                assert second == await again == server.process.pid != first
                while await peer.call("announce", 2) == 0:
                    await asyncio.sleep(0.01)
                assert await stream == 2
            assert states == ["reconnecting", "connected"] * 2
            end(server)
            while peer.state == "connected":
                await asyncio.sleep(0.01)
        assert peer.state == "closed"
        with pytest.raises(panpipe.Closed):
            await peer.call("pid")

    run(example())


def test_a_server_that_drains_is_left_for_the_next_one(run: Run, start: Callable[[], Program], address: str) -> None:
    async def example() -> None:
        server = await asyncio.to_thread(start)
        async with panpipe.aio.connect(address) as peer:
            for _ in range(3):
                pids = {await peer.call("pid") for _ in range(10)}
                calls = [asyncio.create_task(peer.call("late")) for _ in range(20)]
                await asyncio.sleep(0)
                await peer.call("pid")
                server.process.terminate()
                more = [asyncio.create_task(peer.call("pid")) for _ in range(20)]
                assert set(await asyncio.gather(*calls)) == pids
                await asyncio.to_thread(server.end)
                server = await asyncio.to_thread(start)
                assert set(await asyncio.gather(*more)) <= pids | {server.process.pid}

    run(example())


def test_closing_while_nobody_is_there_ends_what_waits(run: Run, start: Callable[[], Program], address: str) -> None:
    async def example() -> None:
        server = await asyncio.to_thread(start)
        async with panpipe.aio.connect(address) as peer:
            end(server)
            waiting = asyncio.create_task(peer.call("pid"))
            await asyncio.sleep(0.05)
            await peer.close()
            with pytest.raises(panpipe.Error):
                await waiting
            await peer.wait()

    run(example())


def test_without_it_nothing_is_made_again(run: Run, start: Callable[[], Program], address: str) -> None:
    async def example() -> None:
        server = await asyncio.to_thread(start)
        async with panpipe.aio.connect(address.removesuffix("&reconnect=true")) as peer:
            await peer.call("pid")
            end(server)
            await peer.wait()
            assert peer.state == "closed"
            with pytest.raises(panpipe.ConnectionLost):
                await peer.options(idempotent=True).call("pid")

    run(example())


def test_threads_wait_for_the_next_connection(start: Callable[[], Program], address: str) -> None:
    server = start()
    with panpipe.connect(address) as peer:
        news = peer.subscribe("news")
        first = peer.call("pid")
        with pytest.raises(panpipe.ConnectionLost) as raised:
            peer.call("die")
        assert raised.value.ran == "maybe"
        server.process.wait()
        begun = time.monotonic()
        with pytest.raises(panpipe.DeadlineExceeded) as late:
            peer.options(timeout=0.3).call("pid")
        assert late.value.ran == "no"
        assert time.monotonic() - begun < 5
        started: list[Program] = []
        timers = [later(0.3, lambda: started.append(start()))]
        second = peer.call("pid")
        timers[0].join()
        assert second == started[0].process.pid != first
        timers += [later(0.3, lambda: peer.call("announce", "again"))]
        assert next(news) == "again"
        timers += [later(0.1, lambda: end(started[0])), later(0.4, lambda: started.append(start()))]
        assert peer.options(idempotent=True).call("late") in {each.process.pid for each in started}
        # A program that is started when the test is over is nobody's.
        for timer in timers:
            timer.join()
