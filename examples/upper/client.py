"""The founding example's client: sends a message, prints the answer and closes."""

import panpipe

with panpipe.connect("tcp://localhost:9999?framing=raw") as peer:
    print(peer.call("Hello, server!").decode())
