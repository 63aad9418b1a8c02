"""The standard library's ``socket`` and ``struct``, blocking."""

import socket
import struct

from measure import Sink, place, round_trips, run, stream

HEAD = struct.Struct(">I")


def send(sock, message):
    sock.sendall(HEAD.pack(len(message)) + message)


def recv_exact(sock, count):
    data = sock.recv(count)
    if len(data) == count:
        return data
    parts = [data]
    while data and (count := count - len(data)):
        data = sock.recv(count)
        parts.append(data)
    if not data:
        raise EOFError
    return b"".join(parts)


def recv(sock):
    (count,) = HEAD.unpack(recv_exact(sock, HEAD.size))
    return recv_exact(sock, count)


def serve(role, address):
    where = place(address)
    listener = socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET)
    listener.bind(where)
    listener.listen()
    print(f"unix:{where}" if isinstance(where, str) else "tcp://{}:{}".format(*listener.getsockname()), flush=True)
    while True:
        sock, _ = listener.accept()
        without_delay(sock)
        with sock:
            sink = Sink()
            while True:
                try:
                    message = recv(sock)
                except EOFError:
                    break
                if role == "echo":
                    send(sock, message)
                elif (count := sink.take(message)) is not None:
                    send(sock, count)


def measure(task, address):
    where = place(address)
    with socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET) as sock:
        sock.connect(where)
        without_delay(sock)

        def call(message):
            send(sock, message)
            return recv(sock)

        if task.workload == "stream":
            return stream(lambda message: send(sock, message), call, task)
        return round_trips(call, task)


def without_delay(sock):
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


run(serve, measure)
