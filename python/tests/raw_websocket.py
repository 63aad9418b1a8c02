"""WebSocket by hand (RFC 6455): frames that need not be right, in pieces that need not be whole."""

import base64
import hashlib
import socket
import struct
from collections.abc import Iterable
from typing import Self

from conftest import kept, place_of, plain

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MASK = b"\x01\x02\x03\x04"


def request(address: str, *fields: str, path: str = "/", host: str | None = None) -> bytes:
    """What asks a listener for a WebSocket, with more fields."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {place_of(address) if host is None else host}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {_KEY}",
        *fields,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def ask(address: str, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Sends a request: the status of the answer, its fields and its body, which end with the connection."""
    asking = plain(address)
    asking.sendall(request)
    answer = b""
    while piece := asking.recv(1 << 16):
        answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    version, code, *_ = status.split(" ")
    assert version == "HTTP/1.1"
    return int(code), dict(line.split(": ", 1) for line in lines), body


def frame(opcode: int, payload: bytes = b"", *, last: bool = True, masked: bool = True) -> bytes:
    """A frame, as a client sends it or, not masked, a server."""
    size = len(payload)
    first, mask = opcode | 0x80 * last, 0x80 * masked
    if size < 126:
        head = struct.pack(">BB", first, mask | size)
    elif size < 1 << 16:
        head = struct.pack(">BBH", first, mask | 126, size)
    else:
        head = struct.pack(">BBQ", first, mask | 127, size)
    if not masked:
        return head + payload
    return head + _MASK + bytes(byte ^ _MASK[place % 4] for place, byte in enumerate(payload))


def close(code: int, reason: str = "", *, masked: bool = True) -> bytes:
    """A Close with a code."""
    return frame(CLOSE, struct.pack(">H", code) + reason.encode(), masked=masked)


class RawWebSocket:
    """One end of a WebSocket after the upgrade."""

    def __init__(self, connected: socket.socket, begun: bytes = b"") -> None:
        self.socket = connected
        self._begun = begun

    @classmethod
    def to(cls, address: str, *fields: str, path: str = "/") -> Self:
        """The end that connects to a listener of ours."""
        opened = plain(address)
        opened.sendall(request(address, *fields, path=path))
        head, begun = _head_of(opened)
        assert head.startswith("HTTP/1.1 101 "), head
        return cls(opened, begun)

    @classmethod
    def accept(cls, listening: socket.socket, behind: bytes = b"", fields: Iterable[str] = ()) -> Self:
        """The end that a client of ours connects to; ``behind`` goes out in one write with the response."""
        accepted = kept(listening.accept()[0])
        head, begun = _head_of(accepted)
        key = next(line.split(": ")[1] for line in head.split("\r\n") if line.startswith("Sec-WebSocket-Key: "))
        proof = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Accept: {proof}", *fields, "", ""]
        accepted.sendall("\r\n".join(lines).encode() + behind)
        return cls(accepted, begun)

    def read(self) -> tuple[int, bytes]:
        """The next frame: its first byte and its payload, not masked any more."""
        first, second = self._take(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack(">H", self._take(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", self._take(8))
        mask = self._take(4) if second & 0x80 else bytes(4)
        return first, bytes(byte ^ mask[place % 4] for place, byte in enumerate(self._take(size)))

    def read_close(self) -> tuple[int, str]:
        """The code and reason of the Close that comes next."""
        first, payload = self.read()
        assert first == CLOSE | 0x80, (first, payload)
        return struct.unpack(">H", payload[:2])[0], payload[2:].decode()

    def _take(self, count: int) -> bytes:
        while len(self._begun) < count:
            piece = self.socket.recv(1 << 16)
            assert piece, f"it ended after {self._begun!r}"
            self._begun += piece
        taken, self._begun = self._begun[:count], self._begun[count:]
        return taken


def _head_of(connected: socket.socket) -> tuple[str, bytes]:
    """The head of a request or response, and what came behind it."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connected.recv(1 << 16)
        assert piece, f"it ended after {head!r}"
        head += piece
    head, _, behind = head.partition(b"\r\n\r\n")
    return head.decode(), behind
