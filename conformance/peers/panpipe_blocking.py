"""The peer of the panpipe protocol in Python, for threads that wait. It is a client only: servers are asyncio's."""

import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from conversation import Request, failure_of, tell
from panpipe_service import own_service

import panpipe

Peer = panpipe.Peer
_numbers = itertools.count()


def check(request: Request) -> None:
    for address in request["addresses"]:
        run(address)


def run(address: str) -> None:
    """Does every check, and tells of each as it is done."""
    try:
        with panpipe.connect(address, service=own_service()) as peer:
            for one in CHECKS:
                failed = None
                try:
                    one(peer)
                except Exception as error:
                    failed = f"{error!r} {error}"
                tell({"check": one.__name__, "failed": failed})
    except panpipe.Error as error:
        tell({"check": "connects", "failed": str(error)})
    tell(None)


def new_name() -> str:
    """A name that no other client gives."""
    return f"blocking {os.getpid()} {next(_numbers)}"


def ensure(condition: object, *there: object) -> None:
    if not condition:
        raise AssertionError(*there)


def failure(call: Callable[[], Any], code: str, ran: str) -> panpipe.Error:
    try:
        reply = call()
    except panpipe.Error as error:
        ensure((error.code, error.ran) == (code, ran), error.code, error.ran, str(error))
        return error
    raise AssertionError("it did not fail", reply)


def calls_are_answered(peer: Peer) -> None:
    reply = peer.call("upper", "grüße, 世界")
    ensure(reply == "GRÜSSE, 世界", reply)


def arguments_have_names(peer: Peer) -> None:
    ensure(peer.call("add", a=40, b=2) == 42)
    ensure(peer.call("add", 40, b=3) == 43)


def bytes_come_back(peer: Peer) -> None:
    for size in [0, 1, 100_000, 700_000]:
        data = bytes(range(251)) * (size // 251) + bytes(size % 251)
        ensure(peer.call("echo", data) == data, size)


def a_thousand_calls_have_a_reply_each(peer: Peer) -> None:
    with ThreadPoolExecutor(20) as threads:
        replies = list(threads.map(lambda number: peer.call("add", number, 1), range(1000)))
    ensure(replies == list(range(1, 1001)), replies)


def answers_come_in_any_order(peer: Peer) -> None:
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(peer.call, "slow", 100)
        ensure(peer.call("slow", 0) == 0)
        ensure(not slow.done(), "the slow call was answered first")
        ensure(slow.result() == 100)


def an_unknown_method_was_not_run(peer: Peer) -> None:
    failure(lambda: peer.call("nothing"), "not-found", "no")


def arguments_that_do_not_fit_were_not_run(peer: Peer) -> None:
    failure(lambda: peer.call("add", 1), "invalid-arguments", "no")
    failure(lambda: peer.call("add", 1, 2, 3), "invalid-arguments", "no")


def what_is_too_large_was_not_run(peer: Peer) -> None:
    failure(lambda: peer.call("echo", bytes(17 << 20)), "too-large", "no")
    calls_are_answered(peer)


def an_error_travels_whole(peer: Peer) -> None:
    error = failure(lambda: peer.call("fail", "oh no"), "remote", "maybe")
    ensure((error.message, error.type, error.data) == ("oh no", "Trouble", [1, "two"]), vars(error))
    ensure(getattr(error.__cause__, "message", None) == "deep", error.__cause__)


def an_error_says_through_whom_it_came(peer: Peer) -> None:
    error = failure(lambda: peer.call("relay", "refuse", "not you"), "remote", "maybe")
    ensure(error.message == "not you" and len(error.via) == 1, vars(error))


def a_handler_calls_back(peer: Peer) -> None:
    with ThreadPoolExecutor(10) as threads:
        greetings = list(threads.map(lambda number: peer.call("relay", "greet", str(number)), range(100)))
    ensure(greetings == [f"Hello, {number}!" for number in range(100)], greetings)


def a_deadline_goes_on_to_the_handlers_calls(peer: Peer) -> None:
    left = peer.options(timeout=5).call("relay", "left", None)
    ensure(left is not None and 1 <= left <= 5100, left)


def a_deadline_reaches_the_handler(peer: Peer) -> None:
    name = new_name()
    failure(lambda: peer.options(timeout=0.05).call("hang", name), "deadline-exceeded", "maybe")
    until_stopped(peer, name)


def giving_up_reaches_the_handler(peer: Peer) -> None:
    name = new_name()
    # Ctrl-C is all that ends a call before its time.
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        peer.call("hang", name)
    except KeyboardInterrupt:
        until_stopped(peer, name)
    else:
        raise AssertionError("it was not interrupted")


def until_stopped(peer: Peer, name: str) -> None:
    while peer.call("stopped", name) == 0:
        pass


def a_stream_brings_its_items_and_its_end(peer: Peer) -> None:
    items = list(peer.stream("countdown", 3000))
    ensure(items == list(range(3000, 0, -1)), items)


def a_slow_consumer_stops_its_producer(peer: Peer) -> None:
    name = new_name()
    with peer.stream("endless", name) as stream:
        next(stream)
        calls_are_answered(peer)
        produced = peer.call("produced", name)
        # A window of 262,144 bytes, and what was made before it was full.
        ensure(produced < 600, produced)
        for _ in range(600):
            next(stream)
    until_stopped(peer, name)


def arguments_stream(peer: Peer) -> None:
    total = peer.options(input=range(5000)).call("total")
    ensure(total == sum(range(5000)), total)


def streams_go_both_ways(peer: Peer) -> None:
    doubles = list(peer.options(input=[-1, 20, 300]).stream("double"))
    ensure(doubles == [-2, 40, 600], doubles)


def one_way_messages_keep_their_order(peer: Peer) -> None:
    name = new_name()
    for number in range(200):
        peer.send("note", name, number)
    peer.flush()
    notes: list[int] = []
    while len(notes) < 200:
        notes = peer.call("notes", name)
        ensure(notes == list(range(len(notes))), notes)


def a_subscriber_gets_what_is_published(peer: Peer) -> None:
    name = new_name()
    with peer.subscribe("news") as news:
        peer.call("publish", [name, 1])
        peer.publish("news", [name, 2])
        for expected in [1, 2]:
            # Others publish, too.
            while (item := next(news))[0] != name:
                pass
            ensure(item[1] == expected, item)


def a_slow_subscriber_is_told_what_it_missed(peer: Peer) -> None:
    name, count = new_name(), 500
    received, missed, last = 0, 0, -1
    with peer.subscribe("flood") as flood:
        peer.call("flood", name, count)
        # Others flood it, too.
        while received + missed < count:
            item = next(flood)
            if isinstance(item, panpipe.Missed):
                missed += item.count
                continue
            received += 1
            if item[0] == name:
                ensure(last < item[1], item[1], last)
                last = item[1]
    ensure(missed > 0, received)


def an_unknown_topic_is_not_found(peer: Peer) -> None:
    failure(lambda: peer.subscribe("nothing"), "not-found", "no")


def a_service_describes_itself(peer: Peer) -> None:
    document = peer.describe()
    methods = {method["name"]: method for method in document["methods"]}
    ensure([each["name"] for each in methods["add"]["params"]] == ["a", "b"], methods["add"])
    ensure(methods["countdown"]["x-panpipe"]["stream"] is True, methods["countdown"])
    ensure("news" in document["x-panpipe-topics"], document["x-panpipe-topics"])


CHECKS: list[Callable[[Peer], None]] = [
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


def values(request: Request) -> None:
    """Hands each of so many values from its source to the server and what comes back to the source again."""
    with panpipe.connect(request["source"]) as source, panpipe.connect(request["address"]) as server:
        for number in range(request["count"]):
            try:
                source.call("back", server.call("values", source.call("take", number)))
                tell(None)
            except panpipe.Error as error:
                tell(failure_of(error))


def meet(request: Request) -> None:
    """Meets servers that break rules."""
    for meeting in request["meetings"]:
        try:
            peer = panpipe.connect(meeting["address"])
        except panpipe.Error as error:
            tell([failure_of(error)])
            continue
        with ThreadPoolExecutor(len(meeting["began"])) as threads:
            begun = [threads.submit(begin, peer, began) for began in meeting["began"]]
            # Nothing is taken of a stream before what was begun first has ended.
            tell([end_of(each.result) for each in begun])
        peer.close()


def begin(peer: Peer, began: str) -> Any:
    match began:
        case "call":
            return peer.call("wait")
        case "stream":
            return peer.stream("wait")
        case "subscription":
            return peer.subscribe("wait")


def end_of(begun: Callable[[], Any]) -> object:
    try:
        if isinstance(items := begun(), Iterator):
            for _ in items:
                pass
    except panpipe.Error as error:
        return failure_of(error)
    return None


def killed(request: Request) -> None:
    """Makes so many calls of each server that it is told of, which may be killed."""
    while address := sys.stdin.readline().strip():
        with panpipe.connect(address) as peer, ThreadPoolExecutor(50) as threads:
            outcomes: dict[str, list[Any]] = {"answered": [], "no": [], "maybe": [], "crossed": []}

            def call(number: int, peer: Peer = peer, outcomes: dict[str, list[Any]] = outcomes) -> None:
                data = bytes([number % 256]) * 1500
                try:
                    same, back = peer.call("begin", number, 0, data)
                except panpipe.Error as error:
                    outcomes[error.ran].append(number)
                else:
                    own = same == number and back == data
                    outcomes["answered" if own else "crossed"].append(number if own else [number, same])

            list(threads.map(call, range(request["calls"])))
            tell(outcomes)


{"check": check, "values": values, "meet": meet, "killed": killed}[sys.argv[1]](Request.read())
