"""panpipe, blocking, as a user writes it."""

import sys

from measure import BYE, Sink, round_trips, run, stream

import panpipe

# Where a child finds its parent, which it has nothing to tell.
PARENT = "stdio:?protocol=plain"


def serve(role, address):
    with panpipe.listen(address) as listener:
        if address != PARENT:
            print(listener.address, flush=True)
        for peer in listener:
            with peer:
                sink = Sink()
                for message in peer:
                    if message == BYE:
                        break
                    if role == "echo":
                        peer.send(message)
                    elif (count := sink.take(message)) is not None:
                        peer.send(count)


def measure(task, address):
    with open_peer(address) as peer:
        measured = stream(peer.send, peer.call, task) if task.workload == "stream" else round_trips(peer.call, task)
        peer.send(BYE)
        return measured


def open_peer(address):
    if address.startswith("child:"):
        command = [sys.executable, __file__, "server", address.removeprefix("child:"), PARENT]
        return panpipe.spawn(command, "protocol=plain")
    return panpipe.connect(address)


run(serve, measure)
