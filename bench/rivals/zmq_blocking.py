"""pyzmq, blocking: REQ and REP."""

import zmq
from measure import round_trips, run


def serve(role, address):
    with zmq.Context.instance().socket(zmq.REP) as rep:
        rep.bind(endpoint(address))
        print(address, flush=True)
        while True:
            rep.send(rep.recv())


def measure(task, address):
    with zmq.Context.instance().socket(zmq.REQ) as req:
        req.connect(endpoint(address))

        def call(message):
            req.send(message)
            return req.recv()

        return round_trips(call, task)


def endpoint(address):
    return "ipc://" + address.removeprefix("unix:")


run(serve, measure)
