"""Listens on each address that a line of stdin holds, says how that went, and stops listening before the next."""

import sys

import panpipe

print("ready", flush=True)
for line in sys.stdin:
    try:
        listener = panpipe.listen(line.rstrip("\n"))
    except panpipe.Error as error:
        listener = None
        print(error.code, flush=True)
    else:
        print("listening", flush=True)
    sys.stdin.readline()
    if listener is not None:
        listener.close()
