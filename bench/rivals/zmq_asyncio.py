"""pyzmq's asyncio sockets: DEALER and ROUTER."""

import asyncio
from collections import deque

import zmq
import zmq.asyncio
from measure import in_flight, round_trips_async, run


async def serve(role, address):
    with zmq.asyncio.Context.instance().socket(zmq.ROUTER) as router:
        router.bind(endpoint(address))
        print(address, flush=True)
        while True:
            await router.send_multipart(await router.recv_multipart())


async def measure(task, address):
    with zmq.asyncio.Context.instance().socket(zmq.DEALER) as dealer:
        dealer.connect(endpoint(address))
        if task.workload == "in-flight":
            return await many_in_flight(task, dealer)

        async def call(message):
            await dealer.send(message)
            return await dealer.recv()

        return await round_trips_async(call, task)


async def many_in_flight(task, dealer):
    """Replies come in order; one task receives them and wakes whoever waits for the next."""
    loop, waiting = asyncio.get_running_loop(), deque()

    async def call(message):
        reply = loop.create_future()
        waiting.append(reply)
        await dealer.send(message)
        return await reply

    async def receive_replies():
        while True:
            message = await dealer.recv()
            waiting.popleft().set_result(message)

    replies = asyncio.create_task(receive_replies())
    try:
        return await in_flight(call, task)
    finally:
        replies.cancel()


def endpoint(address):
    return "ipc://" + address.removeprefix("unix:")


run(
    lambda role, address: asyncio.run(serve(role, address)),
    lambda task, address: asyncio.run(measure(task, address)),
)
