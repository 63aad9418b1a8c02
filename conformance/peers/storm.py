"""What the clients in Python that a signal interrupts ten thousand times a second have in common."""

import signal

CALLS = 10_000
LARGE_ONES = 64
PATIENCE = 30.0
QUIET = 0.5

signals = 0


def count(*_: object) -> None:
    global signals
    signals += 1


def begin() -> None:
    # Python's handlers are installed without SA_RESTART: system calls that wait answer EINTR.
    signal.signal(signal.SIGALRM, count)
    signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)


def large(number: int) -> bytes:
    """A mebibyte of letters, others in each message."""
    letters = bytes(ord("a") + (place + number) % 26 for place in range(97))
    return (letters * (2**20 // 97 + 1))[: 2**20]


def report(spent: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(signals, round(spent * 1000))
