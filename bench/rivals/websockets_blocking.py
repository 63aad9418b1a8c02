"""PyPI websockets with threads: an echo, without compression."""

from measure import round_trips, run
from websockets.sync.client import connect
from websockets.sync.server import serve as listen


def serve(role, address):
    def echo(socket):
        for message in socket:
            socket.send(message)

    with listen(echo, "127.0.0.1", 0, compression=None) as server:
        print(f"ws://127.0.0.1:{server.socket.getsockname()[1]}", flush=True)
        server.serve_forever()


def measure(task, address):
    with connect(address, compression=None) as socket:

        def call(message):
            socket.send(message)
            return socket.recv()

        return round_trips(call, task)


run(serve, measure)
