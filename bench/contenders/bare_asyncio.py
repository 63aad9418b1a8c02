"""asyncio streams."""

import asyncio
import struct
from collections import deque

from measure import Sink, in_flight, place, round_trips_async, run, stream_async

HEAD = struct.Struct(">I")


def write(writer, message):
    writer.write(HEAD.pack(len(message)) + message)


async def read(reader):
    (count,) = HEAD.unpack(await reader.readexactly(HEAD.size))
    return await reader.readexactly(count)


async def serve(role, address):
    async def answer(reader, writer):
        sink = Sink()
        while True:
            try:
                message = await read(reader)
            except asyncio.IncompleteReadError:
                break
            if role == "echo":
                write(writer, message)
            elif (count := sink.take(message)) is not None:
                write(writer, count)
            await writer.drain()
        writer.close()

    where = place(address)
    if isinstance(where, str):
        server = await asyncio.start_unix_server(answer, where)
        print(f"unix:{where}", flush=True)
    else:
        server = await asyncio.start_server(answer, *where)
        print("tcp://{}:{}".format(*server.sockets[0].getsockname()), flush=True)
    await server.serve_forever()


async def measure(task, address):
    where = place(address)
    if isinstance(where, str):
        reader, writer = await asyncio.open_unix_connection(where)
    else:
        reader, writer = await asyncio.open_connection(*where)

    async def send(message):
        write(writer, message)
        await writer.drain()

    async def call(message):
        write(writer, message)
        return await read(reader)

    try:
        if task.workload == "in-flight":
            return await many_in_flight(task, reader, writer)
        if task.workload == "stream":
            return await stream_async(send, call, task)
        return await round_trips_async(call, task)
    finally:
        writer.close()
        await writer.wait_closed()


async def many_in_flight(task, reader, writer):
    """Replies come in order; one task reads them and wakes whoever waits for the next."""
    loop, waiting = asyncio.get_running_loop(), deque()

    def call(message):
        reply = loop.create_future()
        waiting.append(reply)
        write(writer, message)
        return reply

    async def read_replies():
        while True:
            message = await read(reader)
            waiting.popleft().set_result(message)

    replies = asyncio.create_task(read_replies())
    try:
        return await in_flight(call, task)
    finally:
        replies.cancel()


run(
    lambda role, address: asyncio.run(serve(role, address)),
    lambda task, address: asyncio.run(measure(task, address)),
)
