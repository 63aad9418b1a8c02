"""The peer without panpipe, in Python: a server on plain sockets, as anybody writes it."""

import json
import os
import socket
import sys
import threading


def listen(address: str) -> tuple[socket.socket, str]:
    place, _, options = address.partition("?")
    scheme, _, target = place.partition(":")
    if scheme == "unix":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("\0" + target[1:] if target.startswith("@") else target)
    else:
        host, _, port = target.removeprefix("//").rpartition(":")
        listener = socket.create_server((host, int(port)))
        place = f"tcp://{host}:{listener.getsockname()[1]}"
    listener.listen()
    return listener, f"{place}?{options}"


def serve_for_ever(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def answer(connection: socket.socket) -> None:
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data.upper())


listeners = [listen(address) for address in json.loads(sys.stdin.readline())["addresses"]]
for listener, _ in listeners:
    threading.Thread(target=serve_for_ever, args=(listener,), daemon=True).start()
print(json.dumps([{"address": address, "pid": os.getpid()} for _, address in listeners]), flush=True)
sys.stdin.read()
os._exit(0)
