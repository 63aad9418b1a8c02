"""panpipe.aio, as a user writes it."""

import asyncio

from measure import Sink, in_flight, round_trips_async, run, stream_async

import panpipe


async def serve(role, address):
    if role == "echo":
        async with panpipe.aio.serve(address, lambda message: message) as server:
            print(server.address, flush=True)
            await server.wait()
    async with panpipe.aio.listen(address) as listener:
        print(listener.address, flush=True)
        async for peer in listener:
            async with peer:
                sink = Sink()
                async for message in peer:
                    if (count := sink.take(message)) is not None:
                        await peer.send(count)


async def measure(task, address):
    async with panpipe.aio.connect(address) as peer:
        if task.workload == "in-flight":
            return await in_flight(peer.call, task)
        if task.workload == "stream":
            return await stream_async(peer.send, peer.call, task)
        return await round_trips_async(peer.call, task)


run(
    lambda role, address: asyncio.run(serve(role, address)),
    lambda task, address: asyncio.run(measure(task, address)),
)
