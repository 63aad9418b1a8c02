"""grpcio's asyncio face: a unary method whose messages are bytes as they are."""

import asyncio

import grpc
from measure import in_flight, round_trips_async, run


async def serve(role, address):
    async def answer(message, context):
        return message

    server = grpc.aio.server()
    echo = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("rival.Methods", {"Echo": echo})])
    server.add_insecure_port(address)
    await server.start()
    print(address, flush=True)
    await server.wait_for_termination()


async def measure(task, address):
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary("/rival.Methods/Echo")
        if task.workload == "in-flight":
            return await in_flight(call, task)
        return await round_trips_async(call, task)


run(
    lambda role, address: asyncio.run(serve(role, address)),
    lambda task, address: asyncio.run(measure(task, address)),
)
