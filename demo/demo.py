"""The demonstration: the founding example for real, then the same exchange over each address and framing.

Run by `make demo`. Exits with 1 when any answer is wrong.
"""

import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import panpipe

ROOT = Path(__file__).parents[1]
UPPER = ROOT / "examples" / "upper"
PORT = 9999
QUESTION = "Hello, server!"
ANSWER = "HELLO, SERVER!"

FRAMINGS = [framing["name"] for framing in panpipe.framings()]

# Round trips of which the median is shown.
ROUNDS = 200


def main() -> int:
    owner = owner_of_port(PORT)
    if owner is not None:
        print(f"demo: port {PORT} is taken by {owner}", file=sys.stderr)
        print("hint: end that program, or wait until it has ended, and run make demo again", file=sys.stderr)
        return 1
    print(f"The founding example on localhost:{PORT}: each server and each client is a process of its own.\n")
    right = [founding(server, client) for server in SERVERS for client in CLIENTS]
    print("\nThe same exchange over each address and framing: the time of a round trip in microseconds, median of")
    print(f"{ROUNDS}. Over tcp and unix a Node client calls a Python server; the rest is Python on both sides, for")
    print("stdio and fd with a child process. Two processes on two CPUs mostly pay for waking each other.\n")
    right.append(table())
    print()
    if all(right):
        print("Every answer was right.")
        return 0
    print("demo: an answer was wrong", file=sys.stderr)
    return 1


SERVERS = [
    ("Python, plain socket", [sys.executable, UPPER / "server_plain.py"]),
    ("Python, panpipe", [sys.executable, UPPER / "server.py"]),
]
CLIENTS = [
    ("Node, plain net", ["node", UPPER / "client_plain.mjs"]),
    ("Node, panpipe", ["node", UPPER / "client.mjs"]),
]


def founding(server: tuple[str, list[object]], client: tuple[str, list[object]]) -> bool:
    """Runs one server and one client, and shows what each prints."""
    with running([str(word) for word in server[1]]) as process:
        wait_for_port()
        answer = subprocess.run([str(word) for word in client[1]], capture_output=True, text=True, timeout=30)
        assert process.stdout is not None
        print(f"  {server[0] + ':':22}{process.stdout.readline().strip():30}", end="")
        print(f"{client[0] + ':':17}{answer.stdout.strip()}{answer.stderr.strip()}")
    return answer.stdout == f"{ANSWER}\n"


@contextlib.contextmanager
def running(command: list[str], **options: object) -> Iterator["subprocess.Popen[str]"]:
    """A process that is interrupted at the end, as Ctrl-C would."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def wait_for_port() -> None:
    """Returns once somebody listens on the port."""
    deadline = time.monotonic() + 30
    while owner_of_port(PORT) is None:
        if time.monotonic() > deadline:
            raise SystemExit(f"demo: nobody listens on port {PORT}")
        time.sleep(0.01)


def owner_of_port(port: int) -> str | None:
    """Who listens on a port of this machine, as far as the system tells."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if int(fields[1].rsplit(":", 1)[1], 16) == port and fields[3] == "0A":
                    inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.readlink(fd) in inodes for fd in (process / "fd").iterdir()):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                return f"process {process.name}: {command}"
    return "a process of another user"


def table() -> bool:
    """Measures each address with each framing, and prints the table."""
    with tempfile.TemporaryDirectory(prefix="panpipe-demo-") as folder:
        places = {
            "tcp": "tcp://localhost:0",
            "unix": f"unix:{folder}/*",
            "unix @name": "unix:@panpipe-demo-*",
            "stdio": "stdio:",
            "fd": "fd:",
            "mem": "mem:demo",
        }
        rows = {framing: measure(places, framing) for framing in FRAMINGS}
    print("  " + "".join(f"{title:>15}" for title in ("framing", *places)))
    for framing, times in rows.items():
        print("  " + f"{framing:>15}" + "".join(f"{'WRONG' if time is None else f'{time:.1f}':>15}" for time in times))
    return all(time is not None for times in rows.values() for time in times)


def measure(places: dict[str, str], framing: str) -> list[float | None]:
    """The median round trip over each place, or `None` for a wrong answer."""
    listening = [f"{places[place]}?framing={framing}" for place in ("tcp", "unix", "unix @name")]
    with running([sys.executable, str(ROOT / "demo" / "server.py"), *listening]) as server:
        assert server.stdout is not None
        addresses = json.loads(server.stdout.readline())
        client = ["node", str(ROOT / "demo" / "client.mjs"), QUESTION, ANSWER, str(ROUNDS), *addresses]
        times = json.loads(subprocess.run(client, stdout=subprocess.PIPE, timeout=60, check=True).stdout)
    return [*times, with_child(framing, "stdio"), with_child(framing, "fd"), inside(framing)]


def with_child(framing: str, kind: str) -> float | None:
    """Calls a child that serves on its standard streams, or on a descriptor that it inherits."""
    ours, theirs = socket.socketpair()
    address = f"stdio:?framing={framing}" if kind == "stdio" else f"fd:{theirs.fileno()}?framing={framing}"
    serve = "import panpipe, sys; panpipe.serve(sys.argv[1], bytes.upper)"
    streams = {"stdin": theirs, "stdout": theirs} if kind == "stdio" else {"pass_fds": [theirs.fileno()]}
    with ours, subprocess.Popen([sys.executable, "-c", serve, address], **streams) as child:  # type: ignore[call-overload]
        theirs.close()
        with panpipe.connect(f"fd:{ours.fileno()}?framing={framing}") as peer:
            ours.close()
            median = median_of_calls(peer)
        return median if child.wait(timeout=30) == 0 else None


def inside(framing: str) -> float | None:
    """Calls a server in this same process."""
    import threading

    listener = panpipe.listen(f"mem:demo?framing={framing}")

    def serve() -> None:
        peer = listener.accept()
        assert peer is not None
        for message in peer:
            peer.send(message.upper())

    thread = threading.Thread(target=serve)
    thread.start()
    with panpipe.connect(listener.address) as peer:
        median = median_of_calls(peer)
    thread.join()
    listener.close()
    return median


def median_of_calls(peer: panpipe.Connection) -> float | None:
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        if peer.call(QUESTION) != ANSWER.encode():
            return None
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1e6


if __name__ == "__main__":
    sys.exit(main())
