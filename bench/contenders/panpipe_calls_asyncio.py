"""panpipe's calls and topics on asyncio, as a user writes them."""

import asyncio
from contextlib import AsyncExitStack
from itertools import cycle

from measure import Rate, check, in_flight, message, round_trips_async, run

import panpipe

# Items that are published ahead of those that have come.
AHEAD = 64

service = panpipe.Service()


@service.method
def echo(message: bytes) -> bytes:
    return message


async def serve(role, address):
    if role.startswith("topics:"):
        for number in range(int(role.removeprefix("topics:"))):
            service.topic(topic(number))
    async with service.aserve(address) as server:
        print(server.address, flush=True)
        await server.wait()


async def measure(task, address):
    async with AsyncExitStack() as peers:

        async def connect():
            return await peers.enter_async_context(panpipe.aio.connect(address))

        peer = await connect()
        if task.workload == "in-flight":
            return await in_flight(lambda message: peer.call("echo", message), task)
        if task.workload == "topics":
            subscriber, topics = await connect(), [topic(number) for number in range(task.count)]
            return await items(task, peer, [await subscriber.subscribe(name) for name in topics], topics, 1)
        if task.workload == "subscribers":
            subscriptions = [await (await connect()).subscribe(topic(0)) for _ in range(task.count)]
            return await items(task, peer, subscriptions, [topic(0)], task.count)
        return await round_trips_async(lambda message: peer.call("echo", message), task)


async def items(task, publisher, subscriptions, topics, each):
    """Items per second that come to all subscribers.

    For ``each`` that have come another one is published, on the next of the topics, so that there are as many on their
    way at any time.
    """
    sent, rate, names = message(task.size), Rate(task), cycle(topics)

    async def read(subscription):
        is_first = True
        async for item in subscription:
            if is_first:
                check(item == sent)
                is_first = False
            if not rate.tick():
                return
            if rate.operations % each == 0:
                await publisher.publish(next(names), sent)
        check(False)

    readers = [asyncio.create_task(read(subscription)) for subscription in subscriptions]
    for _ in range(AHEAD):
        await publisher.publish(next(names), sent)
    # The first reader that sees the end ends it for all.
    ended, others = await asyncio.wait(readers, return_when=asyncio.FIRST_COMPLETED)
    for reader in others:
        reader.cancel()
    await asyncio.gather(*ended)
    return rate.end()


def topic(number):
    return f"topic-{number}"


run(
    lambda role, address: asyncio.run(serve(role, address)),
    lambda task, address: asyncio.run(measure(task, address)),
)
