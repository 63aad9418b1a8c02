"""PyPI websockets on asyncio: an echo, without compression."""

import asyncio

from measure import round_trips_async, run
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve as listen


async def serve(role, address):
    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    async with listen(echo, "127.0.0.1", 0, compression=None) as server:
        print(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


async def measure(task, address):
    async with connect(address, compression=None) as socket:

        async def call(message):
            await socket.send(message)
            return await socket.recv()

        return await round_trips_async(call, task)


run(
    lambda role, address: asyncio.run(serve(role, address)),
    lambda task, address: asyncio.run(measure(task, address)),
)
