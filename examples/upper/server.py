"""The founding example's server: takes what a client sends, upper-cases it and sends it back, for ever."""

import panpipe


def upper(message: bytes) -> bytes:
    print("received", message, flush=True)
    return message.upper()


panpipe.serve("tcp://localhost:9999?framing=raw", upper)
