"""panpipe, blocking, as a user writes it."""

from measure import Sink, round_trips, run, stream

import panpipe


def serve(role, address):
    with panpipe.listen(address) as listener:
        print(listener.address, flush=True)
        for peer in listener:
            with peer:
                sink = Sink()
                for message in peer:
                    if role == "echo":
                        peer.send(message)
                    elif (count := sink.take(message)) is not None:
                        peer.send(count)


def measure(task, address):
    with panpipe.connect(address) as peer:
        if task.workload == "stream":
            return stream(peer.send, peer.call, task)
        return round_trips(peer.call, task)


run(serve, measure)
