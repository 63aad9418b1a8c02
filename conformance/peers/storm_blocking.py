"""A blocking client in Python that a signal interrupts ten thousand times a second: ``storm_blocking.py ADDRESS``."""

import sys
import time

import storm

import panpipe

storm.begin()
with panpipe.connect(sys.argv[1]) as peer:
    for number in range(storm.CALLS):
        assert peer.call(b"call %d" % number, timeout=storm.PATIENCE) == b"CALL %d" % number
    for number in range(storm.LARGE_ONES):
        peer.send(storm.large(number))
        assert peer.recv(timeout=storm.PATIENCE) == storm.large(number).upper()
    before = time.process_time()
    try:
        peer.recv(timeout=storm.QUIET)
        raise AssertionError("nothing was to come")
    except panpipe.DeadlineExceeded:
        storm.report(time.process_time() - before)
