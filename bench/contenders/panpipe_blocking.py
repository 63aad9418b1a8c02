"""panpipe, blocking, as a user writes it."""

import sys

from measure import BYE, Sink, round_trips, run, stream

import panpipe


def serve(role, address):
    with panpipe.listen(address) as listener:
        # A child has nobody to tell.
        if address != "-":
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
        return panpipe.spawn([sys.executable, __file__, "server", address.removeprefix("child:"), "-"])
    return panpipe.connect(address)


run(serve, measure)
