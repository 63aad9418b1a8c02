"""grpcio, blocking: a unary method whose messages are bytes as they are."""

from concurrent.futures import ThreadPoolExecutor

import grpc
from measure import round_trips, run


def serve(role, address):
    server = grpc.server(ThreadPoolExecutor())
    echo = grpc.unary_unary_rpc_method_handler(lambda message, context: message)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("rival.Methods", {"Echo": echo})])
    server.add_insecure_port(address)
    server.start()
    print(address, flush=True)
    server.wait_for_termination()


def measure(task, address):
    with grpc.insecure_channel(address) as channel:
        return round_trips(channel.unary_unary("/rival.Methods/Echo"), task)


run(serve, measure)
