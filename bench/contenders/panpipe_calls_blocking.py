"""panpipe's calls, blocking, as a user writes them; whom they call is ``panpipe_calls_asyncio.py``."""

from measure import round_trips, run

import panpipe


def serve(role, address):
    raise SystemExit("panpipe serves on asyncio")


def measure(task, address):
    with panpipe.connect(address) as peer:
        return round_trips(lambda message: peer.call("echo", message), task)


run(serve, measure)
