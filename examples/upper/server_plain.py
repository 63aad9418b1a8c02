"""The same server without panpipe."""

import socket

with socket.create_server(("localhost", 9999)) as listener:
    while True:
        client, _ = listener.accept()
        with client:
            while message := client.recv(1024):
                print("received", message, flush=True)
                client.sendall(message.upper())
