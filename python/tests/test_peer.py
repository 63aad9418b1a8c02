"""The panpipe protocol on asyncio: calls, streams and topics, both ways."""

import asyncio
import contextlib
import dataclasses
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

import panpipe
import panpipe.aio

from conftest import Program

Run = Callable[[Coroutine[Any, Any, Any]], Any]
HERE = "unix:@panpipe-test-*?protocol=panpipe"


@dataclasses.dataclass
class User:
    name: str
    age: int = 0


def make_service() -> tuple[panpipe.Service, list[Any]]:
    """A service, and what happened in it."""
    service, seen = panpipe.Service(), list[Any]()
    news, last = service.topic("news"), service.topic("last", retain=True)

    @service.method
    def upper(text: str) -> str:
        return text.upper()

    @service.method
    def echo(value: Any = None) -> Any:
        return value

    @service.method
    async def slow(value: Any, seconds: float = 0.0) -> Any:
        await asyncio.sleep(seconds)
        return value

    @service.method
    async def hang(name: str = "") -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            seen.append(("cancelled", name))
            raise

    @service.method(thread=True)
    def in_thread(value: Any) -> Any:
        assert threading.current_thread() is not threading.main_thread()
        return value

    @service.method
    def fail(message: str) -> None:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise ValueError(message) from inner

    @service.method
    async def refuse() -> None:
        raise panpipe.NotFound("no such user", data={"id": 7})

    @service.method
    def unsendable() -> Any:
        return {"when": {1, 2}}

    @service.method
    def birthday(user: User) -> User:
        user.age += 1
        return user

    @service.method
    async def countdown(n: int) -> AsyncIterator[int]:
        try:
            for i in range(n, 0, -1):
                yield i
        finally:
            seen.append(("ended", n))

    @service.method
    def count(n: int) -> Iterator[int]:
        try:
            yield from range(n)
        finally:
            seen.append(("counted", n))

    @service.method(thread=True)
    def count_in_thread(n: int) -> Iterator[int]:
        for i in range(n):
            assert threading.current_thread() is not threading.main_thread()
            yield i

    @service.method
    async def blocks(size: int) -> AsyncIterator[bytes]:
        for number in range(10**6):
            seen.append(number)
            yield b"x" * size

    @service.method
    async def half_way() -> AsyncIterator[int]:
        yield 1
        yield 2
        raise ValueError("no third")

    @service.method
    async def total(items: AsyncIterator[int], factor: int = 1) -> int:
        return factor * sum([item async for item in items])

    @service.method(thread=True)
    def total_in_thread(items: Iterator[int]) -> int:
        return sum(items)

    @service.method
    async def doubled(items: AsyncIterator[int]) -> AsyncIterator[int]:
        async for item in items:
            yield 2 * item

    @service.method
    async def first_of(items: AsyncIterator[int]) -> int:
        return await anext(items)

    @service.method
    def note(value: Any) -> None:
        seen.append(value)

    @service.method
    async def note_later(value: Any) -> None:
        await asyncio.sleep(0.01)
        seen.append(value)

    @service.method
    async def ask_back(question: str) -> str:
        return await panpipe.current().peer.call("answer", question)

    @service.method
    async def remaining() -> float | None:
        return panpipe.current().remaining

    @service.method
    def remaining_here() -> float | None:
        return panpipe.current().remaining

    @service.method
    def announce(value: Any) -> int:
        news.publish(value)
        return news.subscribers

    @service.method
    def keep(value: Any) -> None:
        last.publish(value)

    return service, seen


@contextlib.asynccontextmanager
async def connected(
    address: str = HERE, service: panpipe.Service | None = None
) -> AsyncIterator[tuple[panpipe.aio.Peer, list[Any], panpipe.aio.ServiceServer]]:
    ours, seen = make_service()
    async with (
        panpipe.aio.serve(address, ours) as server,
        panpipe.aio.connect(server.address, service=service) as peer,
    ):
        yield peer, seen, server


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


async def last_of(stream: panpipe.aio.Stream) -> None:
    async for _ in stream:
        pass


@pytest.mark.parametrize(
    "address",
    [
        "tcp://localhost:0?protocol=panpipe",
        "unix:{tmp}/panpipe-*?protocol=panpipe",
        HERE,
        "unix-seqpacket:@panpipe-test-*?protocol=panpipe",
        "mem:peer-{unique}?protocol=panpipe",
    ],
    ids=["tcp", "unix", "abstract", "seqpacket", "mem"],
)
def test_calls_streams_and_topics_over(address: str, tmp_path: Any, run: Run) -> None:
    async def example() -> None:
        async with connected(address.format(tmp=tmp_path, unique=id(tmp_path))) as (peer, _, _):
            assert await peer.call("upper", "Hello, server!") == "HELLO, SERVER!"
            assert await peer.call("upper", text="named") == "NAMED"
            assert [n async for n in peer.stream("countdown", 3)] == [3, 2, 1]
            big = os.urandom(3 << 20)
            assert await peer.call("echo", big) == big
            assert await peer.call("echo", [big, {"again": big}]) == [big, {"again": big}]
            news = await peer.subscribe("news")
            await peer.call("announce", "sun")
            assert await anext(news) == "sun"
            assert peer.remote.transport == address.split(":")[0]

    run(example())


@pytest.mark.parametrize("method", ["echo", "slow", "in_thread"])
def test_values_go_there_and_back(method: str, run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, _, _):
            for value in [None, 1, 2**64 - 1, -0.0, "ü", b"", b"x" * 100_000, [1, [2]], {"a": {2: b"3"}}]:
                assert await peer.call(method, value) == value
            assert await peer.call("birthday", User("ann", 1)) == {"name": "ann", "age": 2}
            assert await peer.call("birthday", user={"name": "bob"}) == {"name": "bob", "age": 1}

    run(example())


def test_many_calls_in_flight_each_get_their_own_reply(run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, _, _):
            for method in ["echo", "slow"]:
                replies = await asyncio.gather(*(peer.call(method, number) for number in range(10_000)))
                assert replies == list(range(10_000))

    run(example())


def test_slow_calls_do_not_hold_up_others(run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, _, _):
            slow = asyncio.create_task(peer.call("slow", 1, 5))
            assert await peer.call("slow", 2) == 2
            assert await peer.call("upper", "x") == "X"
            assert not slow.done()
            slow.cancel()

    run(example())


def test_an_error_travels_whole(run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, _, server):
            with pytest.raises(panpipe.RemoteError) as raised:
                await peer.call("fail", "wrong")
            error = raised.value
            assert (error.code, error.type, error.message, error.ran) == ("remote", "ValueError", "wrong", "maybe")
            assert error.address == server.address
            assert "def fail" not in str(error)
            assert error.traceback is not None
            assert "in fail" in error.traceback
            assert isinstance(error.__cause__, panpipe.RemoteError)
            assert (error.__cause__.type, error.__cause__.message) == ("KeyError", "'inner'")
            with pytest.raises(panpipe.NotFound) as raised_by_name:
                await peer.call("refuse")
            assert (raised_by_name.value.message, raised_by_name.value.data) == ("no such user", {"id": 7})
            with pytest.raises(panpipe.RemoteError, match=r"TypeError: result.when: a value of type set has no place"):
                await peer.call("unsendable")
            assert await peer.call("upper", "alive") == "ALIVE"

    run(example())


@pytest.mark.parametrize(
    ("method", "positional", "named", "kind", "message"),
    [
        ("nothing", (), {}, panpipe.NotFound, "no method is called"),
        ("upper", (), {}, panpipe.InvalidArguments, "arguments: missing a required argument: 'text'"),
        ("upper", (1,), {}, panpipe.InvalidArguments, r"arguments\[0\]: an integer, not text"),
        ("slow", (1,), {"seconds": "1"}, panpipe.InvalidArguments, "arguments.seconds: text, not a number"),
        ("countdown", (1,), {}, panpipe.InvalidArguments, "countdown streams"),
        ("upper", ({1},), {}, panpipe.InvalidArguments, r"arguments\[0\]: a value of type set"),
        ("upper", (), {"text": {"x": object()}}, panpipe.InvalidArguments, r"arguments.text.x: a value of type object"),
        ("\n", (), {}, panpipe.Unsupported, "is no name"),
        ("echo", (b"x" * (17 << 20),), {}, panpipe.TooLarge, "at most"),
    ],
)
def test_what_cannot_be_called(
    method: str, positional: Any, named: dict[str, Any], kind: type[panpipe.Error], message: str, run: Run
) -> None:
    async def example() -> None:
        async with connected() as (peer, _, _):
            with pytest.raises(kind, match=message) as raised:
                await peer.call(method, *positional, **named)
            assert raised.value.ran == "no"
            assert await peer.call("upper", "alive") == "ALIVE"

    run(example())


def test_a_call_is_out_of_time_and_its_handler_stops(run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, seen, _):
            with pytest.raises(panpipe.DeadlineExceeded) as raised:
                await peer.options(timeout=0.02).call("hang")
            assert raised.value.ran == "maybe"
            await until(lambda: seen == [("cancelled", "")])
            await peer.call("upper", "x")
            await until(lambda: peer.late_replies == 1)

    run(example())


def test_cancelling_a_call_cancels_its_handler(run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, seen, server):
            tasks = [asyncio.create_task(peer.call("hang", str(number))) for number in range(500)]
            await asyncio.sleep(0)
            await peer.call("upper", "x")
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert all(task.cancelled() for task in tasks)
            await until(lambda: len(seen) == 500)
            await until(lambda: next(iter(server.peers))._core.serving == 0)
            assert await peer.call("upper", "alive") == "ALIVE"

    run(example())


def test_cancelling_before_the_handler_has_begun_is_answered_too(run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, _, server):
            for _ in range(50):
                task = asyncio.create_task(peer.call("hang"))
                await asyncio.sleep(0)
                task.cancel()
            await peer.flush()
            await until(lambda: next(iter(server.peers))._core.serving == 0)

    run(example())


def test_what_remains_of_the_time_goes_along(run: Run) -> None:
    ours = panpipe.Service()

    async def example() -> None:
        async with connected(service=ours) as (peer, _, server):

            @ours.method
            async def through() -> Any:
                # The handler's own call inherits what is left.
                return await next(iter(server.peers)).call("remaining_there")

            @ours.method
            def remaining_there() -> float | None:
                return panpipe.current().remaining

            for method in ["remaining", "remaining_here"]:
                assert 4 < await peer.options(timeout=5).call(method) <= 5
                assert await peer.options(timeout=None).call(method) is None
                assert 9 < await peer.call(method) <= 10
            back = next(iter(server.peers))
            assert 2 < await back.options(timeout=3).call("remaining_there") <= 3

        async with connected() as (far, _, _):
            hop = panpipe.Service()

            @hop.method
            async def hop_over() -> Any:
                return await far.call("remaining")

            @hop.method
            async def hang_over() -> Any:
                return await far.options(timeout=60).call("hang", "far")

            async with panpipe.aio.serve(HERE, hop) as near, panpipe.aio.connect(near.address) as peer:
                assert 1 < await peer.options(timeout=2).call("hop_over") <= 2
                with pytest.raises(panpipe.DeadlineExceeded):
                    await peer.options(timeout=0.05).call("hang_over")

    run(example())


def test_what_a_handler_leaves_behind_has_its_own_time(run: Run) -> None:
    async def example() -> None:
        async with connected() as (far, _, _):
            hop, left_behind = panpipe.Service(), list[asyncio.Task[Any]]()

            @hop.method
            async def begin() -> None:
                async def later() -> Any:
                    await asyncio.sleep(0.15)
                    return await far.call("remaining")

                left_behind.append(asyncio.create_task(later()))

            async with panpipe.aio.serve(HERE, hop) as near, panpipe.aio.connect(near.address) as peer:
                await peer.options(timeout=0.1).call("begin")
                assert await left_behind[0] > 5

    run(example())


def test_what_a_handler_passes_on_says_where_it_came_from(run: Run) -> None:
    async def example() -> None:
        async with connected() as (far, _, server):
            hop = panpipe.Service()

            @hop.method
            async def through() -> Any:
                return await far.call("fail", "wrong")

            async with panpipe.aio.serve(HERE, hop) as near, panpipe.aio.connect(near.address) as peer:
                with pytest.raises(panpipe.RemoteError) as raised:
                    await peer.call("through")
                assert (raised.value.type, raised.value.message) == ("ValueError", "wrong")
                assert raised.value.via == (server.address,)

    run(example())


def test_a_handler_calls_back_and_both_ends_call_at_once(run: Run) -> None:
    ours = panpipe.Service()

    @ours.method
    async def answer(question: str) -> str:
        return f"{question} {await panpipe.current().peer.call('upper', '42')}"

    async def example() -> None:
        async with connected(service=ours) as (peer, _, server):
            await peer.flush()
            asked = [peer.call("ask_back", str(number)) for number in range(100)]
            back = next(iter(server.peers))
            answered = [back.call("answer", str(number)) for number in range(100)]
            assert await asyncio.gather(*asked, *answered) == [f"{number} 42" for number in range(100)] * 2

    run(example())


def test_nobody_is_current_outside_of_a_handler() -> None:
    with pytest.raises(LookupError, match="no handler runs here"):
        panpipe.current()


@pytest.mark.parametrize("method", ["count", "count_in_thread"])
def test_generators_stream(method: str, run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, _, _):
            size = 2000 if method == "count" else 200
            assert [n async for n in peer.stream(method, size)] == list(range(size))
            streams = [peer.stream("countdown", 100) for _ in range(50)]
            for stream in streams:
                assert [n async for n in stream] == list(range(100, 0, -1))

    run(example())


def test_a_stream_fails_after_its_items(run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, _, _):
            stream = peer.stream("half_way")
            assert [await anext(stream), await anext(stream)] == [1, 2]
            with pytest.raises(panpipe.RemoteError, match="no third"):
                await anext(stream)
            assert [item async for item in stream] == []
            with pytest.raises(panpipe.NotFound):
                await anext(peer.stream("nothing"))
            with pytest.raises(panpipe.InvalidArguments, match="upper does not stream"):
                await anext(peer.stream("upper", "x"))

    run(example())


@pytest.mark.parametrize("size", [0, 1000, 100_000])
def test_who_does_not_iterate_holds_up_the_handler_and_nobody_else(size: int, run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, seen, _):
            stream = peer.stream("blocks", size)
            await anext(stream)
            begun = -1
            while len(seen) > begun:
                begun = len(seen)
                assert await peer.call("upper", "x") == "X"
                await asyncio.sleep(0.02)
            # The window, and what was about to be sent.
            assert begun <= (256 << 10) // (size + 64) + 3
            for number in range(1, begun):
                assert await anext(stream) == b"x" * size, number
            await until(lambda: len(seen) > begun)
            await stream.aclose()

    run(example())


@pytest.mark.parametrize("way", ["break", "close", "with", "drop"])
def test_stopping_early_reaches_the_producer(way: str, run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, seen, server):
            if way == "break":
                async for _ in peer.stream("countdown", 10**9):
                    break
            elif way == "close":
                stream = peer.stream("countdown", 10**9)
                await anext(stream)
                await stream.aclose()
                assert [item async for item in stream] == []
            elif way == "with":
                async with peer.stream("countdown", 10**9) as stream:
                    await anext(stream)
            else:
                peer.stream("countdown", 10**9)
                gc.collect()
                await peer.flush()
            if way != "drop":
                await until(lambda: seen == [("ended", 10**9)])
            await until(lambda: next(iter(server.peers))._core.serving == 0)
            async for _ in peer.stream("count", 10**9):
                break
            await until(lambda: ("counted", 10**9) in seen)

    run(example())


def test_a_task_that_is_cancelled_inside_of_a_stream_may_go_on(run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, _, _):
            stream = peer.stream("countdown", 3)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await anext(stream)
            assert [n async for n in stream] == [3, 2, 1]

    run(example())


async def numbers(n: int) -> AsyncIterator[int]:
    for number in range(n):
        yield number


@pytest.mark.parametrize("n", [0, 10, 20_000])
def test_arguments_stream(n: int, run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, _, _):
            assert await peer.options(input=numbers(n)).call("total", factor=3) == 3 * sum(range(n))
            assert await peer.options(input=range(n)).call("total") == sum(range(n))
            doubled = peer.options(input=numbers(n)).stream("doubled")
            assert [item async for item in doubled] == [2 * number for number in range(n)]
            assert await peer.options(input=range(min(n, 200))).call("total_in_thread") == sum(range(min(n, 200)))

    run(example())


def test_a_handler_that_has_enough_ends_the_arguments(run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, _, _):
            ended = []

            async def endless() -> AsyncIterator[int]:
                try:
                    while True:
                        yield 7
                finally:
                    ended.append(True)

            assert await peer.options(input=endless()).call("first_of") == 7
            await until(lambda: ended)
            assert await peer.call("total") == 0

    run(example())


def test_arguments_that_fail_end_the_call(run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, _, server):

            async def broken() -> AsyncIterator[Any]:
                yield 1
                raise KeyError("broken")

            with pytest.raises(KeyError, match="broken"):
                await peer.options(input=broken()).call("total")
            with pytest.raises(panpipe.InvalidArguments, match="item: a value of type set"):
                await peer.options(input=[{1}]).call("total")
            with pytest.raises(KeyError, match="broken"):
                _ = [item async for item in peer.options(input=broken()).stream("doubled")]
            with pytest.raises(panpipe.InvalidArguments, match="takes no stream"):
                await peer.options(input=[1]).call("upper", "x")
            await until(lambda: next(iter(server.peers))._core.serving == 0)

    run(example())


def test_one_way_messages_come_in_order(run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, seen, _):
            for number in range(5000):
                await peer.send("note", number)
            await peer.flush()
            assert seen == list(range(5000))
            await peer.send("note_later", "later")
            await until(lambda: seen[-1] == "later")

    run(example())


def test_a_fast_sender_waits_for_a_slow_receiver(run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, seen, _):
            for _ in range(100):
                await peer.send("note", b"x" * 100_000)
            await peer.flush()
            assert len(seen) == 100

    run(example())


def test_what_goes_wrong_with_a_one_way_message_is_logged(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def example() -> None:
        # What was logged in the last second, by another test, counts.
        await asyncio.sleep(1)
        async with connected() as (peer, _, _):
            await peer.send("nothing")
            await peer.send("fail", "oh no")
            await peer.send("upper", 5)
            await peer.send("refuse")
            assert await peer.call("upper", "alive") == "ALIVE"
            await until(lambda: "no such user" in caplog.text)
            for _ in range(1000):
                await peer.send("nothing")
            await peer.flush()

    with caplog.at_level(logging.WARNING, "panpipe"):
        run(example())
    assert "no method is called" in caplog.text
    assert "oh no" in caplog.text
    assert "an integer, not text" in caplog.text
    assert "more in this second are not logged" in caplog.text
    assert 20 <= len(caplog.records) <= 100


def test_subscribers_get_what_is_published_from_then_on(run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, _, server), panpipe.aio.connect(server.address) as other:
            assert await peer.call("announce", 0) == 0
            mine, its = await peer.subscribe("news"), await other.subscribe("news", policy="block")
            for number in range(1, 100):
                assert await peer.call("announce", number) == 2
            await peer.publish("news", 100)
            for stream in (mine, its):
                assert [await anext(stream) for _ in range(100)] == list(range(1, 101))
            await mine.aclose()
            await until(lambda: sum(each._core.serving for each in server.peers) == 1)
            assert await other.call("announce", 101) == 1
            assert await anext(its) == 101
            with pytest.raises(panpipe.NotFound, match="no topic is called"):
                await peer.subscribe("nothing")
            with pytest.raises(panpipe.InvalidArguments, match="no policy is called x; known: drop-oldest"):
                await peer.subscribe("news", policy="x")
            its = await other.subscribe("news")
            await other.close()
            await until(lambda: len(server.peers) == 1)
            with pytest.raises(panpipe.Error):
                await anext(its)
            assert await peer.call("announce", 102) == 0

    run(example())


def test_who_comes_late_gets_what_is_retained(run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, _, _):
            await peer.call("keep", "first")
            await peer.call("keep", b"second")
            late = await peer.subscribe("last")
            await peer.call("keep", 3)
            assert [await anext(late), await anext(late)] == [b"second", 3]

    run(example())


def test_what_a_slow_subscriber_missed_stands_in_its_place(run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, _, _):
            oldest, newest = await peer.subscribe("news"), await peer.subscribe("news", policy="drop-newest")
            leaves = await peer.subscribe("news", policy="disconnect")
            item = "x" * 1000
            for number in range(3000):
                await peer.send("announce", [number, item])
            await peer.flush()

            async def take(stream: panpipe.aio.Stream) -> tuple[list[int], int]:
                got, missed = [], 0
                while len(got) + missed < 3000:
                    match await anext(stream):
                        case panpipe.Missed(count=count):
                            missed += count
                        case [number, _]:
                            got.append(number)
                return got, missed

            got, missed = await take(oldest)
            assert missed > 0
            assert got[0] == 0
            assert got[-1] == 2999
            assert got == sorted(got)
            got, missed = await take(newest)
            assert missed > 0
            assert got == list(range(3000 - missed))
            with pytest.raises(panpipe.Lagged):
                await last_of(leaves)

    run(example())


def test_a_publisher_waits_for_subscribers_that_block(run: Run) -> None:
    async def example() -> None:
        service = panpipe.Service()
        topic = service.topic("all")
        async with service.aserve(HERE) as server, panpipe.aio.connect(server.address) as peer:
            stream = await peer.subscribe("all", policy="block")
            published = 0
            with contextlib.suppress(panpipe.Busy):
                while published < 1000:
                    topic.publish(b"x" * 10_000)
                    published += 1
            assert published < 1000
            room = asyncio.create_task(topic.room())
            await asyncio.sleep(0.02)
            assert not room.done()
            for _ in range(published):
                await anext(stream)
            await room
            topic.publish("more")
            assert await anext(stream) == "more"
            await topic.room()

    run(example())


def test_describes_itself_over_the_wire(run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, _, _):
            described = await peer.describe()
            assert described == make_service()[0].describe()
            assert described["x-panpipe-topics"] == ["news", "last"]

    run(example())


def test_a_pair_and_a_service_at_each_end(run: Run) -> None:
    async def example() -> None:
        service, _ = make_service()
        one, other = panpipe.aio.pair("?protocol=panpipe", services=(service, service))
        assert await one.call("upper", "a") == "A"
        assert await other.call("upper", "b") == "B"
        with pytest.raises(panpipe.Unsupported, match="this speaks the protocol panpipe"):
            panpipe.aio.pair("framing=lines", services=(service, None))
        await one.close()
        await other.close()

    run(example())


def test_closing_ends_what_waits(run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, seen, server):
            call = asyncio.create_task(peer.call("hang", "x"))
            await asyncio.sleep(0)
            await peer.call("upper", "x")
            await peer.close()
            with pytest.raises(panpipe.Closed):
                await call
            with pytest.raises(panpipe.Closed):
                await peer.call("upper", "x")
            await until(lambda: seen == [("cancelled", "x")])
            await until(lambda: not server.peers)
            await peer.close()

    run(example())


def test_closed_connections_leave_nothing_behind(run: Run) -> None:
    async def example() -> None:
        async with connected() as (first, _, server):
            await first.call("slow", 1)
            before = len(os.listdir("/proc/self/fd"))
            for number in range(20):
                async with panpipe.aio.connect(server.address) as peer:
                    assert await peer.call("slow", number) == number
                    assert [n async for n in peer.stream("countdown", 2)] == [2, 1]
                    with contextlib.suppress(panpipe.DeadlineExceeded):
                        await peer.options(timeout=0.0001).call("slow", number)
                del peer
            await until(lambda: len(server.peers) == 1)
            await until(lambda: len(os.listdir("/proc/self/fd")) == before)

    gc.collect()
    gc.disable()
    try:
        run(example())
    finally:
        gc.enable()


SERVER = """
import asyncio, panpipe
service = panpipe.Service()

@service.method
async def hang(): await asyncio.sleep(100)

@service.method
async def slow(seconds: float): await asyncio.sleep(seconds); return "done"

@service.method
async def endless():
    while True: yield b"x" * 1000

async def main():
    async with service.aserve("unix:@panpipe-test-*?protocol=panpipe") as server:
        print(server.address, flush=True)
        await server.wait()
asyncio.run(main())
"""


def test_a_killed_peer_ends_everything_at_once(run: Run, program: Callable[[str], Program]) -> None:
    async def example() -> None:
        server = program(SERVER)
        async with panpipe.aio.connect(server.line()) as peer:
            calls = [asyncio.create_task(peer.call("hang")) for _ in range(900)]
            stream = peer.stream("endless")
            await anext(stream)
            await asyncio.sleep(0.05)
            server.process.kill()
            begun = time.monotonic()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert time.monotonic() - begun < 5
            assert {(type(each), each.ran) for each in outcomes} == {(panpipe.ConnectionLost, "maybe")}  # type: ignore[union-attr]
            with pytest.raises(panpipe.ConnectionLost):
                await last_of(stream)
            with pytest.raises(panpipe.ConnectionLost) as raised:
                await peer.call("hang")
            assert raised.value.ran == "no"

    run(example())


def test_draining_finishes_what_runs_and_refuses_the_rest(run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, seen, server):
            running = asyncio.create_task(peer.call("slow", "done", 0.1))
            hanging = asyncio.create_task(peer.call("hang", "hung"))
            # The tasks begin, so that their calls go before this one.
            await asyncio.sleep(0)
            await peer.call("upper", "x")
            closing = asyncio.create_task(server.close(grace=0.3))
            await asyncio.sleep(0.05)
            with pytest.raises(panpipe.Refused) as raised:
                await peer.call("upper", "late")
            assert raised.value.ran == "no"
            assert await running == "done"
            await closing
            with pytest.raises((panpipe.ConnectionLost, panpipe.Cancelled)):
                await hanging
            assert seen == [("cancelled", "hung")]

    run(example())


def test_draining_ends_subscriptions(run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, _, server):
            stream = await peer.subscribe("news")
            await peer.call("announce", 1)
            begun = time.monotonic()
            await server.close()
            assert time.monotonic() - begun < 5
            assert [item async for item in stream] == [1]

    run(example())


def test_a_handler_can_close_its_own_server(run: Run) -> None:
    async def example() -> None:
        service = panpipe.Service()

        @service.method
        async def stop() -> str:
            await server.close()
            return "stopped"

        async with (
            panpipe.aio.serve(HERE, service) as server,
            panpipe.aio.connect(server.address) as peer,
            panpipe.aio.connect(server.address) as other,
        ):
            await until(lambda: len(server.peers) == 2)
            assert await peer.call("stop") == "stopped"
            await other.wait()
            await peer.wait()
            await server.wait()

    run(example())


def test_who_has_said_nothing_does_not_hold_up_a_close_for_long(run: Run) -> None:
    async def example() -> None:
        async with panpipe.Service().aserve("tcp://127.0.0.1:0") as server:
            port = int(server.address.rpartition(":")[2])
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            await until(lambda: len(server.peers) == 1)
            begun = time.monotonic()
            await server.close()
            # It is given a second to say what it came for, and not the five that its hello may take.
            assert time.monotonic() - begun < 3
            writer.close()

    run(example())


def test_a_thread_may_publish(run: Run) -> None:
    async def example() -> None:
        service = panpipe.Service()
        topic = service.topic("all")

        @service.method(thread=True)
        def announce(value: Any) -> None:
            topic.publish(value)

        async with service.aserve(HERE) as server, panpipe.aio.connect(server.address) as peer:
            stream = await peer.subscribe("all")
            await peer.call("announce", "from a thread")
            assert await anext(stream) == "from a thread"
            with pytest.raises(panpipe.InvalidArguments, match="value: a value of type set"):
                await asyncio.to_thread(topic.publish, {1})

    run(example())


def test_a_thread_may_ask_who_called_while_the_loop_is_at_work(run: Run) -> None:
    async def example() -> None:
        service = panpipe.Service()

        @service.method(thread=True)
        def who() -> list[str]:
            peer = panpipe.current().peer
            return sorted({f"{peer.remote.transport} {peer.address[:4]}" for _ in range(1000)})

        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            async with service.aserve(HERE) as server, panpipe.aio.connect(server.address) as peer:
                for _ in range(10):
                    assert await asyncio.gather(*(peer.call("who") for _ in range(50))) == [["unix unix"]] * 50
        finally:
            sys.setswitchinterval(before)

    run(example())


@pytest.mark.parametrize(
    "address", ["udp://localhost:0?protocol=panpipe", "unix-dgram:@panpipe-test-*?protocol=panpipe"]
)
def test_datagrams_carry_calls_and_no_streams(address: str, run: Run) -> None:
    async def example() -> None:
        async with connected(address) as (peer, seen, _):
            assert await asyncio.gather(*(peer.call("slow", number) for number in range(50))) == list(range(50))
            with pytest.raises(panpipe.RemoteError, match="wrong"):
                await peer.call("fail", "wrong")
            await peer.send("note", 1)
            await until(lambda: seen == [1])
            with pytest.raises(panpipe.Unsupported, match="datagrams carry no streams"):
                peer.stream("countdown", 3)
            with pytest.raises(panpipe.Unsupported, match="datagrams carry no streams"):
                await peer.subscribe("news")
            with pytest.raises(panpipe.TooLarge):
                await peer.call("echo", b"x" * 300_000)
            with pytest.raises(panpipe.DeadlineExceeded):
                await peer.options(timeout=0.02).call("hang")

    run(example())


SERVE = """
import asyncio, panpipe, sys
service = panpipe.Service()

@service.method
async def slow(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"

@service.method
def address() -> str:
    return "?"

listener = panpipe.listen({address!r})
print("ready", flush=True)
service.serve(listener)
print("returned", flush=True)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, -signal.SIGINT)])
def test_signals_drain_a_service(
    number: signal.Signals, code: int, run: Run, program: Callable[[str], Program], tmp_path: Any
) -> None:
    async def example() -> None:
        address = f"unix:{tmp_path}/serve?protocol=panpipe"
        server = program(SERVE.format(address=address))
        assert await asyncio.to_thread(server.line) == "ready"
        async with panpipe.aio.connect(address) as peer:
            slow = asyncio.create_task(peer.call("slow", 0.3))
            await asyncio.sleep(0)
            await peer.call("address")
            server.process.send_signal(number)
            assert await slow == "done"
        returned, out, _ = await asyncio.to_thread(server.end)
        assert returned == code
        assert out == ("returned\n" if code == 0 else "")
        assert not os.path.exists(f"{tmp_path}/serve")

    run(example())


def test_a_child_that_serves_its_stdio(run: Run) -> None:
    async def example() -> None:
        source = "import panpipe\ns = panpipe.Service()\ns.method(str.upper, name='upper') if 0 else None\n"
        source += "@s.method\ndef double(n: int) -> int:\n    print('stray')\n    return 2 * n\n"
        source += "s.serve('stdio:?protocol=panpipe')\n"
        async with panpipe.aio.spawn([sys.executable, "-c", source], "protocol=panpipe") as peer:
            assert await asyncio.gather(*(peer.call("double", n) for n in range(100))) == [2 * n for n in range(100)]

    run(example())


def test_the_wrong_protocol_is_refused_clearly(run: Run) -> None:
    async def example() -> None:
        service, _ = make_service()
        with pytest.raises(panpipe.Unsupported, match="this speaks the protocol panpipe"):
            await panpipe.aio.connect("tcp://localhost:1?framing=lines", service=service)
        with pytest.raises(panpipe.Unsupported, match="this speaks the protocol panpipe"):
            async with service.aserve("tcp://localhost:0?framing=lines"):
                pass
        with pytest.raises(panpipe.Unsupported, match="this takes plain messages"):
            async with panpipe.aio.serve("tcp://localhost:0?protocol=panpipe", bytes.upper):
                pass

    run(example())


def test_a_fork_does_not_disturb_its_parent(run: Run) -> None:
    async def example() -> None:
        async with connected() as (peer, _, _):
            await peer.call("upper", "x")
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    peer._core.call("upper", ("x",), {}, 1.0, False)
                except panpipe.Closed:
                    peer._core.close(True)
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
            assert await peer.call("upper", "alive") == "ALIVE"

    run(example())


def test_listen_gives_peers(run: Run) -> None:
    async def example() -> None:
        async with panpipe.aio.listen(HERE) as listener:
            service, _ = make_service()
            connecting = asyncio.create_task(panpipe.aio.connect(listener.address, service=service)._opening)
            accepted = await listener.accept()
            client = await connecting
            assert isinstance(accepted, panpipe.aio.Peer)
            assert await accepted.call("upper", "x") == "X"
            with pytest.raises(panpipe.NotFound):
                await client.call("upper", "x")
            await client.close()
            await accepted.close()

    run(example())
