"""The panpipe protocol for threads that wait, against a server on asyncio and against its like."""

import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import panpipe

from conftest import Program

SERVER = """
import asyncio, dataclasses, os, time
from collections.abc import AsyncIterator, Iterator
import panpipe

service = panpipe.Service()
news = service.topic("news")
last = service.topic("last", retain=True)
ended = []

@dataclasses.dataclass
class User:
    name: str
    age: int = 0

@service.method
def upper(text: str) -> str: return text.upper()
@service.method
def echo(value): return value
@service.method
async def slow(value, seconds: float = 0.0):
    await asyncio.sleep(seconds)
    return value
@service.method
async def hang():
    try: await asyncio.sleep(100)
    finally: ended.append("hang")
@service.method
def fail(message: str): raise ValueError(message)
@service.method
def birthday(user: User) -> User:
    user.age += 1
    return user
@service.method
async def countdown(n: int):
    try:
        for i in range(n, 0, -1): yield i
    finally: ended.append(n)
@service.method
async def total(items: AsyncIterator[int]) -> int:
    return sum([item async for item in items])
@service.method
async def first_of(items: AsyncIterator[int]) -> int:
    return await anext(items)
@service.method
async def doubled(items: AsyncIterator[int]):
    async for item in items: yield 2 * item
@service.method
def note(value): ended.append(value)
@service.method
def what_ended(): return ended
@service.method
async def ask_back(question: str, depth: int = 0):
    return await panpipe.current().peer.call("answer", question, depth)
@service.method
async def announce_back(value):
    await panpipe.current().peer.publish("ours", value)
    await panpipe.current().peer.send("noted", value)
@service.method
async def collect_back(method: str, n: int):
    return [item async for item in panpipe.current().peer.stream(method, n)]
@service.method
async def stop_early(n: int):
    async for item in panpipe.current().peer.stream("tick", n): return item
@service.method
async def total_back(n: int):
    return await panpipe.current().peer.options(input=range(n)).call("sum_up")
@service.method
async def subscribe_back():
    stream = await panpipe.current().peer.subscribe("ours")
    return await anext(stream)
@service.method
def remaining(): return panpipe.current().remaining
@service.method
def announce(value):
    news.publish(value)
    return news.subscribers
@service.method
def keep(value): last.publish(value)
@service.method
def die(): os._exit(3)

listener = panpipe.listen({address!r})
print(listener.address, flush=True)
service.serve(listener)
"""
HERE = "unix:@panpipe-test-*?protocol=panpipe"


@pytest.fixture
def server(program: Callable[[str], Program]) -> Callable[..., Program]:
    def start(address: str = HERE) -> Program:
        return program(SERVER.replace("{address!r}", repr(address)))

    return start


@pytest.fixture
def peer(server: Callable[..., Program]) -> Iterator[panpipe.Peer]:
    with panpipe.connect(server().line()) as peer:
        yield peer


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize(
    "address",
    ["tcp://localhost:0?protocol=panpipe", HERE, "unix-seqpacket:@panpipe-test-*?protocol=panpipe"],
    ids=["tcp", "unix", "seqpacket"],
)
def test_calls_streams_and_topics_over(address: str, server: Callable[..., Program]) -> None:
    with panpipe.connect(server(address).line()) as peer:
        assert peer.call("upper", "Hello, server!") == "HELLO, SERVER!"
        assert peer.call("upper", text="named") == "NAMED"
        assert list(peer.stream("countdown", 3)) == [3, 2, 1]
        big = os.urandom(3 << 20)
        assert peer.call("echo", big) == big
        assert peer.call("echo", {"big": [big]}) == {"big": [big]}
        news = peer.subscribe("news")
        assert peer.call("announce", "sun") == 1
        assert next(news) == "sun"
        news.close()
        assert list(news) == []


def test_errors_travel_whole(peer: panpipe.Peer) -> None:
    with pytest.raises(panpipe.RemoteError) as raised:
        peer.call("fail", "wrong")
    assert (raised.value.type, raised.value.message, raised.value.ran) == ("ValueError", "wrong", "maybe")
    assert "in fail" in (raised.value.traceback or "")
    for kind, method, positional in [
        (panpipe.NotFound, "nothing", ()),
        (panpipe.InvalidArguments, "upper", (1,)),
        (panpipe.InvalidArguments, "echo", ({1},)),
        (panpipe.InvalidArguments, "countdown", (1,)),
    ]:
        with pytest.raises(kind) as refused:
            peer.call(method, *positional)
        assert refused.value.ran == "no"
    with pytest.raises(panpipe.NotFound):
        list(peer.stream("nothing"))
    with pytest.raises(panpipe.NotFound, match="no topic"):
        peer.subscribe("nothing")
    assert peer.call("birthday", {"name": "ann"}) == {"name": "ann", "age": 1}


def test_a_call_is_out_of_time(peer: panpipe.Peer) -> None:
    begun = time.monotonic()
    with pytest.raises(panpipe.DeadlineExceeded) as raised:
        peer.options(timeout=0.05).call("hang")
    assert raised.value.ran == "maybe"
    assert time.monotonic() - begun < 5
    until(lambda: "hang" in peer.call("what_ended"))
    assert 1 < peer.options(timeout=2).call("remaining") <= 2
    assert peer.options(timeout=None).call("remaining") is None


def test_many_threads_share_a_connection(peer: panpipe.Peer) -> None:
    def calls(thread: int) -> bool:
        return all(
            peer.call("slow" if number % 3 else "echo", [thread, number]) == [thread, number] for number in range(200)
        )

    def stream(thread: int) -> bool:
        return list(peer.stream("countdown", 500)) == list(range(500, 0, -1))

    with ThreadPoolExecutor(16) as pool:
        assert all([*pool.map(calls, range(8)), *pool.map(stream, range(8))])


def test_a_slow_call_does_not_hold_up_other_threads(peer: panpipe.Peer) -> None:
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(peer.call, "slow", 1, 1.0)
        begun = time.monotonic()
        while time.monotonic() - begun < 0.1:
            assert peer.call("upper", "x") == "X"
        assert not slow.done()
        assert slow.result() == 1


@pytest.mark.parametrize("way", ["break", "close", "with"])
def test_stopping_early_reaches_the_producer(way: str, peer: panpipe.Peer) -> None:
    if way == "break":
        for _ in peer.stream("countdown", 10**9):
            break
    elif way == "close":
        stream = peer.stream("countdown", 10**9)
        next(stream)
        stream.close()
        assert list(stream) == []
    else:
        with peer.stream("countdown", 10**9) as stream:
            next(stream)
    gc.collect()
    until(lambda: peer.call("what_ended") == [10**9])


def test_who_does_not_iterate_holds_up_nobody_else(peer: panpipe.Peer) -> None:
    stream = peer.stream("countdown", 10_000)
    next(stream)
    for _ in range(100):
        assert peer.call("upper", "x") == "X"
    assert list(stream) == list(range(9_999, 0, -1))


@pytest.mark.parametrize("n", [0, 10, 20_000])
def test_arguments_stream(n: int, peer: panpipe.Peer) -> None:
    assert peer.options(input=range(n)).call("total") == sum(range(n))
    assert list(peer.options(input=range(n)).stream("doubled")) == [2 * number for number in range(n)]


def test_a_handler_that_has_enough_ends_the_arguments(peer: panpipe.Peer) -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 7

    assert peer.options(input=endless()).call("first_of") == 7

    def broken() -> Iterator[int]:
        yield 1
        raise KeyError("broken")

    with pytest.raises(KeyError):
        peer.options(input=broken()).call("total")
    with pytest.raises(panpipe.InvalidArguments, match="item: a value of type set"):
        peer.options(input=[{1}]).call("total")
    assert peer.call("upper", "alive") == "ALIVE"


def test_one_way_messages_come_in_order(peer: panpipe.Peer) -> None:
    for number in range(3000):
        peer.send("note", number)
    peer.flush()
    assert peer.call("what_ended") == list(range(3000))
    for _ in range(50):
        peer.send("note", b"x" * 100_000)
    peer.flush()
    assert len(peer.call("what_ended")) == 3050


def test_topics(peer: panpipe.Peer) -> None:
    peer.call("keep", "kept")
    assert next(peer.subscribe("last")) == "kept"
    news = peer.subscribe("news", policy="drop-newest")
    for number in range(3000):
        peer.send("announce", [number, "x" * 1000])
    got = missed = 0
    while got + missed < 3000:
        match next(news):
            case panpipe.Missed(count=count):
                missed += count
            case [number, _]:
                assert number == got
                got += 1
    assert missed > 0
    peer.publish("news", "from here")
    assert next(news) == "from here"


class Ours:
    def __init__(self) -> None:
        self.service = service = panpipe.Service()
        self.noted: list[Any] = []
        self.ended: list[Any] = []
        self.topic = service.topic("ours", retain=True)

        @service.method
        def answer(question: str, depth: int = 0) -> str:
            peer = panpipe.current().peer
            if depth:
                return str(peer.call("ask_back", question, depth - 1))
            return f"{question} {peer.call('upper', 'abc')} {panpipe.current().peer.address == peer.address}"

        @service.method
        def noted(value: Any) -> None:
            self.noted.append(value)

        @service.method
        def tick(n: int) -> Iterator[int]:
            try:
                yield from range(n)
            finally:
                self.ended.append(n)

        @service.method(thread=True)
        def sum_up(items: Iterator[int]) -> int:
            return sum(items)

        @service.method
        async def tock() -> None: ...


@pytest.fixture
def ours(server: Callable[..., Program]) -> Iterator[tuple[panpipe.Peer, Ours]]:
    ours = Ours()
    with panpipe.connect(server().line(), service=ours.service) as peer:
        yield peer, ours


def test_handlers_run_in_whichever_thread_waits(ours: tuple[panpipe.Peer, Ours]) -> None:
    peer, mine = ours
    assert peer.call("ask_back", "who?") == "who? ABC True"
    assert peer.call("ask_back", "deep", 20) == "deep ABC True"
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda number: peer.call("ask_back", str(number)), range(100))
        assert list(answers) == [f"{number} ABC True" for number in range(100)]
    assert peer.call("collect_back", "tick", 5000) == list(range(5000))
    assert peer.call("stop_early", 10**9) == 0
    until(lambda: peer.call("upper", "x") and 10**9 in mine.ended)
    assert peer.call("total_back", 5000) == sum(range(5000))
    peer.call("announce_back", "told")
    # One-way: it comes before the reply, and its handler may run in another thread or later.
    until(lambda: peer.call("upper", "x") and mine.noted == ["told"])
    assert peer.call("subscribe_back") == "told"
    with pytest.raises(panpipe.InvalidArguments, match="tock does not stream") as raised:
        peer.call("collect_back", "tock", 1)
    assert raised.value.via == (peer.address,)
    with pytest.raises(LookupError):
        panpipe.current()


def test_two_blocking_ends() -> None:
    mine = Ours()
    with panpipe.listen(HERE) as listener, ThreadPoolExecutor(1) as pool:
        accepting = pool.submit(listener.accept)
        client = panpipe.connect(listener.address, service=mine.service)
        there = accepting.result()
        assert isinstance(there, panpipe.Peer)
        waiting = pool.submit(client.wait)
        assert there.call("noted", 1) is None
        assert list(there.stream("tick", 100)) == list(range(100))
        with pytest.raises(panpipe.Unsupported, match=r"an async handler needs panpipe\.aio"):
            there.call("tock")
        stream = there.subscribe("ours")
        mine.topic.publish("hello")
        assert next(stream) == "hello"
        there.close()
        waiting.result(timeout=10)
        client.close()
        assert mine.topic.subscribers == 0


def test_a_hello_is_not_late_because_nobody_looked() -> None:
    with panpipe.listen("tcp://localhost:0?protocol=panpipe") as listener, ThreadPoolExecutor(1) as pool:
        client = panpipe.connect(listener.address)
        there = listener.accept()
        time.sleep(5.2)
        waiting = pool.submit(there.wait)
        with pytest.raises(panpipe.NotFound):
            client.call("anything")
        client.close()
        waiting.result(timeout=10)
        there.close()


def test_a_pair() -> None:
    mine = Ours()
    one, other = panpipe.pair("?protocol=panpipe", services=(mine.service, None))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(one.wait)
        other.call("noted", 1)
        other.close()
        waiting.result(timeout=10)
    one.close()
    with pytest.raises(panpipe.Unsupported, match="this speaks the protocol panpipe"):
        panpipe.pair("framing=lines", services=(mine.service, None))


def test_a_dead_peer_ends_everything_at_once(server: Callable[..., Program]) -> None:
    with panpipe.connect(server().line()) as peer, ThreadPoolExecutor(16) as pool:
        calls = [pool.submit(peer.call, "hang") for _ in range(8)]
        stream = peer.stream("countdown", 10**9)
        next(stream)
        with pytest.raises(panpipe.ConnectionLost) as raised:
            peer.call("die")
        assert raised.value.ran == "maybe"
        for call in calls:
            assert isinstance(call.exception(timeout=5), panpipe.ConnectionLost)
        with pytest.raises(panpipe.ConnectionLost):
            list(stream)
        with pytest.raises(panpipe.ConnectionLost) as unsent:
            peer.call("upper", "x")
        assert unsent.value.ran == "no"


def test_closing_ends_what_waits(server: Callable[..., Program]) -> None:
    peer = panpipe.connect(server().line())
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(peer.call, "hang") for _ in range(4)]
        time.sleep(0.1)
        peer.close()
        for call in calls:
            assert isinstance(call.exception(timeout=5), panpipe.Closed)
    with pytest.raises(panpipe.Closed):
        peer.call("upper", "x")
    peer.close()


INTERRUPTED = """
import panpipe, signal, threading, os, time
peer = panpipe.connect({address!r})
peer.call("upper", "x")
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    peer.call("hang")
except KeyboardInterrupt:
    print("interrupted", flush=True)
deadline = time.monotonic() + 5
while "hang" not in peer.call("what_ended"):
    assert time.monotonic() < deadline
print("cancelled", flush=True)
"""


def test_ctrl_c_cancels_the_call(server: Callable[..., Program], program: Callable[[str], Program]) -> None:
    client = program(INTERRUPTED.format(address=server().line()))
    assert client.line() == "interrupted"
    assert client.line() == "cancelled"


def test_a_child_that_serves_its_stdio() -> None:
    source = "import panpipe\ns = panpipe.Service()\n@s.method\ndef double(n: int) -> int:\n    print('stray')\n"
    source += "    return 2 * n\npanpipe.serve('stdio:?protocol=panpipe', s)\n"
    with panpipe.spawn([sys.executable, "-c", source], "protocol=panpipe") as peer:
        assert [peer.call("double", n) for n in range(50)] == [2 * n for n in range(50)]


def test_a_fork_does_not_disturb_its_parent(peer: panpipe.Peer) -> None:
    peer.call("upper", "x")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            peer.call("upper", "x")
        except panpipe.Closed:
            peer.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert peer.call("upper", "alive") == "ALIVE"


def test_what_nobody_holds_is_closed(server: Callable[..., Program]) -> None:
    address = server().line()
    panpipe.connect(address).close()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        panpipe.connect(address).call("upper", "x")
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
