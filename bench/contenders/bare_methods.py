"""The bare system calls of the methods beside stream sockets: packets, datagrams, named pipes, a child's pipes."""

import contextlib
import os
import socket
import struct
import subprocess
import sys

from measure import Sink, round_trips, run, stream

HEAD = struct.Struct(">I")

# No packet here is larger.
LARGEST = 70 << 10


class Packets:
    """A connected socket whose packets are the messages."""

    def __init__(self, sock):
        self.send, self._sock = sock.send, sock

    def recv(self):
        return self._sock.recv(LARGEST)


class Frames:
    """A pipe for each way."""

    def __init__(self, reader, writer):
        self._reader, self._writer = reader, writer

    def send(self, message):
        frame = memoryview(HEAD.pack(len(message)) + message)
        while frame:
            frame = frame[os.write(self._writer, frame) :]

    def recv(self):
        (count,) = HEAD.unpack(self._exact(HEAD.size))
        return self._exact(count)

    def _exact(self, count):
        data = os.read(self._reader, count)
        if len(data) == count:
            return data
        parts = [data]
        while data and (count := count - len(data)):
            data = os.read(self._reader, count)
            parts.append(data)
        if not data:
            raise EOFError
        return b"".join(parts)


def split(address):
    scheme, _, target = address.partition("?")[0].partition(":")
    return scheme, target


def place(target):
    host, _, port = target.removeprefix("//").rpartition(":")
    return host, int(port)


def answer(role, recv, send):
    sink = Sink()
    while message := recv():
        if role == "echo":
            send(message)
        elif (count := sink.take(message)) is not None:
            send(count)


def serve(role, address):
    scheme, target = split(address)
    if scheme == "unix-seqpacket":
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(target)
            listener.listen()
            print(address, flush=True)
            while True:
                with listener.accept()[0] as sock:
                    answer(role, Packets(sock).recv, sock.send)
    elif scheme in ("unix-dgram", "udp"):
        sock = socket.socket(socket.AF_UNIX if scheme == "unix-dgram" else socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(target if scheme == "unix-dgram" else place(target))
        print(address if scheme == "unix-dgram" else "udp://{}:{}".format(*sock.getsockname()), flush=True)
        sink = Sink()
        while True:
            message, sender = sock.recvfrom(LARGEST)
            if role == "echo":
                sock.sendto(message, sender)
            elif (count := sink.take(message)) is not None:
                sock.sendto(count, sender)
    elif scheme == "fifo":
        for path in (target, f"{target}-back"):
            os.mkfifo(path, 0o600)
        print(address, flush=True)
        # Both ways at once, so that neither end is ever seen to close.
        frames = Frames(os.open(target, os.O_RDWR), os.open(f"{target}-back", os.O_RDWR))
        answer(role, frames.recv, frames.send)
    elif scheme == "child":
        frames = Frames(0, 1)
        with contextlib.suppress(EOFError):
            answer(role, frames.recv, frames.send)


def measure(task, address):
    scheme, target = split(address)
    if scheme == "child":
        child = subprocess.Popen(
            [sys.executable, __file__, "server", target, "child:"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        with child:
            return measure_over(Frames(child.stdout.fileno(), child.stdin.fileno()), task)
    if scheme == "fifo":
        reader, writer = os.open(f"{target}-back", os.O_RDWR), os.open(target, os.O_WRONLY)
        try:
            return measure_over(Frames(reader, writer), task)
        finally:
            os.close(reader)
            os.close(writer)
    kind = socket.SOCK_SEQPACKET if scheme == "unix-seqpacket" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET if scheme == "udp" else socket.AF_UNIX, kind) as sock:
        if scheme == "unix-dgram":
            # An empty name makes the system pick one (unix(7), autobind).
            sock.bind("")
        sock.connect(place(target) if scheme == "udp" else target)
        return measure_over(Packets(sock), task)


def measure_over(peer, task):
    def call(message):
        peer.send(message)
        return peer.recv()

    if task.workload == "stream":
        return stream(peer.send, call, task)
    return round_trips(call, task)


run(serve, measure)
