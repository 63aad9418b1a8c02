"""What the Python contenders share: their two roles, and what a client times, counts and checks.

The roles and the lines that a client reads and prints are those of ``bench/measure/src/contender.rs``.
"""

import asyncio
import json
import sys
from collections import namedtuple
from time import perf_counter_ns

END = b"the end!"
# Ends a conversation over a method that has no end of its own.
BYE = b"good bye"

# The clock is looked at once in this many operations.
EVERY = 64

# What a client is asked to measure: bytes, how much at once, and nanoseconds to warm up and to measure.
Task = namedtuple("Task", "workload size count warm measured")


def run(serve, measure):
    """Runs the role that the command line names."""
    if sys.argv[1] == "server":
        serve(sys.argv[2], sys.argv[3])
        return
    echo, sink = sys.argv[2:4]
    for line in sys.stdin:
        workload, *numbers = line.split()
        size, count, warm, measured = map(int, numbers)
        task = Task(workload, size, count, warm * 1_000_000, measured * 1_000_000)
        operations, value = measure(task, sink if workload == "stream" else echo)
        print(json.dumps({"operations": operations, "value": value}), flush=True)


def message(size, number=0):
    """A message of ``size`` bytes that differs from those of other numbers."""
    return bytes((place * 7 + place // 251 + number) & 255 for place in range(size))


def place(address):
    """Where a bare socket listens or connects: a path, or a host and a port."""
    address, _, _ = address.partition("?")
    if address.startswith("unix:"):
        return address.removeprefix("unix:")
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    return host, int(port)


def round_trips(call, task):
    """The median, in microseconds, of calls one after another."""
    sent, size = message(task.size), task.size
    check(call(sent) == sent)
    operations, times, last = 0, [], perf_counter_ns()
    warm_until = last + task.warm
    until = warm_until + task.measured
    # A stall of the system may outlast the measurement; it is then measured.
    while last < until or not times:
        reply = call(sent)
        now = perf_counter_ns()
        if len(reply) != size:
            check(False)
        if last >= warm_until:
            times.append(now - last)
        last = now
        operations += 1
    check(call(sent) == sent)
    return operations, sorted(times)[len(times) // 2] / 1e3


async def round_trips_async(call, task):
    """As ``round_trips``."""
    sent, size = message(task.size), task.size
    check(await call(sent) == sent)
    operations, times, last = 0, [], perf_counter_ns()
    warm_until = last + task.warm
    until = warm_until + task.measured
    while last < until or not times:
        reply = await call(sent)
        now = perf_counter_ns()
        if len(reply) != size:
            check(False)
        if last >= warm_until:
            times.append(now - last)
        last = now
        operations += 1
    check(await call(sent) == sent)
    return operations, sorted(times)[len(times) // 2] / 1e3


async def in_flight(call, task):
    """Calls per second of as many tasks as the task says, each of which calls again as soon as it is answered."""
    size, rate = task.size, Rate(task)

    async def caller(number):
        sent = message(size, number)
        check(await call(sent) == sent)
        while rate.tick():
            if len(await call(sent)) != size:
                check(False)

    await asyncio.gather(*(caller(number) for number in range(task.count)))
    return rate.end()


def stream(send, call, task):
    """Messages per second that a sink receives, until it has acknowledged the last."""
    operations, sent = 0, message(task.size)
    for span in (task.warm, task.measured):
        count, begun = 0, perf_counter_ns()
        while perf_counter_ns() - begun < span:
            send(sent)
            count += 1
        check(call(END) == count.to_bytes(8, "big"))
        value = count * 1e9 / (perf_counter_ns() - begun)
        operations += count
    return operations, value


async def stream_async(send, call, task):
    """As ``stream``."""
    operations, sent = 0, message(task.size)
    for span in (task.warm, task.measured):
        count, begun = 0, perf_counter_ns()
        while perf_counter_ns() - begun < span:
            await send(sent)
            count += 1
        check(await call(END) == count.to_bytes(8, "big"))
        value = count * 1e9 / (perf_counter_ns() - begun)
        operations += count
    return operations, value


class Rate:
    """Counts operations per second.

    As many have to end as are under way at once before any is counted, and twice as many are, however long it takes.
    """

    def __init__(self, task):
        self.operations, self._marks = 0, []
        self._at_once = task.count
        self._warm_until = perf_counter_ns() + task.warm
        self._until = self._warm_until + task.measured

    def tick(self):
        """An operation has ended; another one may begin if this says so."""
        self.operations += 1
        if self.operations % EVERY == 0 and len(self._marks) < 2:
            now = perf_counter_ns()
            least = self._marks[0][1] + 2 * self._at_once if self._marks else self._at_once
            if self.operations >= least and now >= (self._until if self._marks else self._warm_until):
                self._marks.append((now, self.operations))
        return len(self._marks) < 2

    def end(self):
        """What a workload answers."""
        (begun, before), (ended, after) = self._marks
        return self.operations, (after - before) * 1e9 / (ended - begun)


class Sink:
    """Counts messages of one size."""

    def __init__(self):
        self.count, self.size = 0, None

    def take(self, taken):
        """The count when it is asked for, else ``None``."""
        if taken == END:
            count, self.count = self.count, 0
            return count.to_bytes(8, "big")
        if self.size is None:
            self.size = len(taken)
            check(taken == message(self.size))
        if len(taken) != self.size:
            check(False)
        self.count += 1
        return None


def check(holds):
    if not holds:
        raise SystemExit("what came is not what was sent")
