"""The peer of the panpipe protocol in Python, on asyncio."""

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from conversation import Request, failure_of, tell
from panpipe_service import make_service, own_service

import panpipe

Peer = panpipe.aio.Peer
_numbers = itertools.count()
# A net: each check takes a fraction of it.
LONGEST = 5


async def serve(request: Request) -> None:
    service = make_service(request["log"])
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(service.aserve(at)) for at in request["addresses"]]
        tell([{"address": server.address, "pid": os.getpid()} for server in servers])
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_reader(0, lambda: sys.stdin.read(1) or stop.set())
        await stop.wait()


async def child(address: str) -> None:
    await make_service().aserve(address)


async def check(request: Request) -> None:
    async with AsyncExitStack() as stack:
        own = [await stack.enter_async_context(make_service().aserve(at)) for at in request["own"]]
        for address in [*request["addresses"], *(server.address for server in own)]:
            await run(address)


async def run(address: str) -> None:
    """Does every check, and tells of each as it is done."""
    try:
        async with panpipe.aio.connect(address, service=own_service()) as peer:
            for one in CHECKS:
                failed = None
                try:
                    async with asyncio.timeout(LONGEST):
                        await one(peer)
                except Exception as error:
                    failed = f"{error!r} {error}"
                tell({"check": one.__name__, "failed": failed})
    except panpipe.Error as error:
        tell({"check": "connects", "failed": str(error)})
    tell(None)


def new_name() -> str:
    """A name that no other client gives."""
    return f"asyncio {os.getpid()} {next(_numbers)}"


def ensure(condition: object, *there: object) -> None:
    if not condition:
        raise AssertionError(*there)


async def failure(outcome: Awaitable[Any], code: str, ran: str) -> panpipe.Error:
    try:
        reply = await outcome
    except panpipe.Error as error:
        ensure((error.code, error.ran) == (code, ran), error.code, error.ran, str(error))
        return error
    raise AssertionError("it did not fail", reply)


async def calls_are_answered(peer: Peer) -> None:
    reply = await peer.call("upper", "grüße, 世界")
    ensure(reply == "GRÜSSE, 世界", reply)


async def arguments_have_names(peer: Peer) -> None:
    ensure(await peer.call("add", a=40, b=2) == 42)
    ensure(await peer.call("add", 40, b=3) == 43)


async def bytes_come_back(peer: Peer) -> None:
    for size in [0, 1, 100_000, 700_000]:
        data = bytes(range(251)) * (size // 251) + bytes(size % 251)
        ensure(await peer.call("echo", data) == data, size)


async def a_thousand_calls_have_a_reply_each(peer: Peer) -> None:
    replies = await asyncio.gather(*(peer.call("add", number, 1) for number in range(1000)))
    ensure(replies == list(range(1, 1001)), replies)


async def answers_come_in_any_order(peer: Peer) -> None:
    slow = asyncio.ensure_future(peer.call("slow", 100))
    await asyncio.sleep(0)
    ensure(await peer.call("slow", 0) == 0)
    ensure(not slow.done(), "the slow call was answered first")
    ensure(await slow == 100)


async def an_unknown_method_was_not_run(peer: Peer) -> None:
    await failure(peer.call("nothing"), "not-found", "no")


async def arguments_that_do_not_fit_were_not_run(peer: Peer) -> None:
    await failure(peer.call("add", 1), "invalid-arguments", "no")
    await failure(peer.call("add", 1, 2, 3), "invalid-arguments", "no")


async def what_is_too_large_was_not_run(peer: Peer) -> None:
    await failure(peer.call("echo", bytes(17 << 20)), "too-large", "no")
    await calls_are_answered(peer)


async def an_error_travels_whole(peer: Peer) -> None:
    error = await failure(peer.call("fail", "oh no"), "remote", "maybe")
    ensure((error.message, error.type, error.data) == ("oh no", "Trouble", [1, "two"]), vars(error))
    ensure(getattr(error.__cause__, "message", None) == "deep", error.__cause__)


async def an_error_says_through_whom_it_came(peer: Peer) -> None:
    error = await failure(peer.call("relay", "refuse", "not you"), "remote", "maybe")
    ensure(error.message == "not you" and len(error.via) == 1, vars(error))


async def a_handler_calls_back(peer: Peer) -> None:
    greetings = await asyncio.gather(*(peer.call("relay", "greet", str(number)) for number in range(100)))
    ensure(greetings == [f"Hello, {number}!" for number in range(100)], greetings)


async def a_deadline_goes_on_to_the_handlers_calls(peer: Peer) -> None:
    left = await peer.options(timeout=5).call("relay", "left", None)
    ensure(left is not None and 1 <= left <= 5100, left)


async def a_deadline_reaches_the_handler(peer: Peer) -> None:
    name = new_name()
    await failure(peer.options(timeout=0.05).call("hang", name), "deadline-exceeded", "maybe")
    await until_stopped(peer, name)


async def giving_up_reaches_the_handler(peer: Peer) -> None:
    name = new_name()
    call = asyncio.ensure_future(peer.call("hang", name))
    await asyncio.sleep(0)
    await peer.flush()
    call.cancel()
    await until_stopped(peer, name)


async def until_stopped(peer: Peer, name: str) -> None:
    while await peer.call("stopped", name) == 0:
        pass


async def a_stream_brings_its_items_and_its_end(peer: Peer) -> None:
    items = [item async for item in peer.stream("countdown", 3000)]
    ensure(items == list(range(3000, 0, -1)), items)


async def a_slow_consumer_stops_its_producer(peer: Peer) -> None:
    name = new_name()
    async with peer.stream("endless", name) as stream:
        await anext(stream)
        await calls_are_answered(peer)
        produced = await peer.call("produced", name)
        # A window of 262,144 bytes, and what was made before it was full.
        ensure(produced < 600, produced)
        for _ in range(600):
            await anext(stream)
    await until_stopped(peer, name)


async def arguments_stream(peer: Peer) -> None:
    total = await peer.options(input=range(5000)).call("total")
    ensure(total == sum(range(5000)), total)


async def streams_go_both_ways(peer: Peer) -> None:
    numbers = asyncio.Queue[int | None]()

    async def given() -> Any:
        while (number := await numbers.get()) is not None:
            yield number

    doubles = peer.options(input=given()).stream("double")
    for number in [-1, 20, 300]:
        numbers.put_nowait(number)
        ensure(await anext(doubles) == 2 * number)
    numbers.put_nowait(None)
    ensure([item async for item in doubles] == [], "there is more")


async def one_way_messages_keep_their_order(peer: Peer) -> None:
    name = new_name()
    for number in range(200):
        await peer.send("note", name, number)
    await peer.flush()
    notes: list[int] = []
    while len(notes) < 200:
        notes = await peer.call("notes", name)
        ensure(notes == list(range(len(notes))), notes)


async def a_subscriber_gets_what_is_published(peer: Peer) -> None:
    name = new_name()
    async with await peer.subscribe("news") as news:
        await peer.call("publish", [name, 1])
        await peer.publish("news", [name, 2])
        for expected in [1, 2]:
            # Others publish, too.
            while (item := await anext(news))[0] != name:
                pass
            ensure(item[1] == expected, item)


async def a_slow_subscriber_is_told_what_it_missed(peer: Peer) -> None:
    name, count = new_name(), 500
    received, missed, last = 0, 0, -1
    async with await peer.subscribe("flood") as flood:
        await peer.call("flood", name, count)
        # Others flood it, too.
        while received + missed < count:
            item = await anext(flood)
            if isinstance(item, panpipe.Missed):
                missed += item.count
                continue
            received += 1
            if item[0] == name:
                ensure(last < item[1], item[1], last)
                last = item[1]
    ensure(missed > 0, received)


async def an_unknown_topic_is_not_found(peer: Peer) -> None:
    await failure(peer.subscribe("nothing"), "not-found", "no")


async def a_service_describes_itself(peer: Peer) -> None:
    document = await peer.describe()
    methods = {method["name"]: method for method in document["methods"]}
    ensure([each["name"] for each in methods["add"]["params"]] == ["a", "b"], methods["add"])
    ensure(methods["countdown"]["x-panpipe"]["stream"] is True, methods["countdown"])
    ensure("news" in document["x-panpipe-topics"], document["x-panpipe-topics"])


CHECKS: list[Callable[[Peer], Awaitable[None]]] = [
    calls_are_answered,
    arguments_have_names,
    bytes_come_back,
    a_thousand_calls_have_a_reply_each,
    answers_come_in_any_order,
    an_unknown_method_was_not_run,
    arguments_that_do_not_fit_were_not_run,
    what_is_too_large_was_not_run,
    an_error_travels_whole,
    an_error_says_through_whom_it_came,
    a_handler_calls_back,
    a_deadline_goes_on_to_the_handlers_calls,
    a_deadline_reaches_the_handler,
    giving_up_reaches_the_handler,
    a_stream_brings_its_items_and_its_end,
    a_slow_consumer_stops_its_producer,
    arguments_stream,
    streams_go_both_ways,
    one_way_messages_keep_their_order,
    a_subscriber_gets_what_is_published,
    a_slow_subscriber_is_told_what_it_missed,
    an_unknown_topic_is_not_found,
    a_service_describes_itself,
]


async def values(request: Request) -> None:
    """Hands each of so many values from its source to the server and what comes back to the source again."""
    async with panpipe.aio.connect(request["source"]) as source, panpipe.aio.connect(request["address"]) as server:
        for number in range(request["count"]):
            try:
                await source.call("back", await server.call("values", await source.call("take", number)))
                tell(None)
            except panpipe.Error as error:
                tell(failure_of(error))


async def meet(request: Request) -> None:
    """Meets servers that break rules."""
    for meeting in request["meetings"]:
        try:
            peer = await panpipe.aio.connect(meeting["address"])
        except panpipe.Error as error:
            tell([failure_of(error)])
            continue
        begun = []
        for began in meeting["began"]:
            begun.append(asyncio.ensure_future(begin(peer, began)))
            await asyncio.sleep(0)
        # Nothing is taken of a stream before what was begun first has ended.
        tell([await end_of(each) for each in begun])
        await peer.close()


async def begin(peer: Peer, began: str) -> Any:
    match began:
        case "call":
            return await peer.call("wait")
        case "stream":
            return peer.stream("wait")
        case "subscription":
            return await peer.subscribe("wait")


async def end_of(begun: Awaitable[Any]) -> object:
    try:
        if isinstance(items := await begun, AsyncIterator):
            async for _ in items:
                pass
    except panpipe.Error as error:
        return failure_of(error)
    return None


async def killed(request: Request) -> None:
    """Makes so many calls at once of each server that it is told of, which may be killed."""
    while address := sys.stdin.readline().strip():
        async with panpipe.aio.connect(address) as peer:
            outcomes: dict[str, list[Any]] = {"answered": [], "no": [], "maybe": [], "crossed": []}

            async def call(number: int, peer: Peer = peer, outcomes: dict[str, list[Any]] = outcomes) -> None:
                data = bytes([number % 256]) * 1500
                try:
                    same, back = await peer.call("begin", number, 0, data)
                except panpipe.Error as error:
                    outcomes[error.ran].append(number)
                else:
                    own = same == number and back == data
                    outcomes["answered" if own else "crossed"].append(number if own else [number, same])

            await asyncio.gather(*map(call, range(request["calls"])))
            tell(outcomes)


match sys.argv[1:]:
    case ["child", address]:
        asyncio.run(child(address))
    case [role]:
        asyncio.run(
            {"serve": serve, "check": check, "values": values, "meet": meet, "killed": killed}[role](Request.read())
        )
