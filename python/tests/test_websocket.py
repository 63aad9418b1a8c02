"""WebSocket: both faces, both protocols, and the library that Python's programs speak it with."""

import asyncio
import os
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import websockets
import websockets.asyncio.client
import websockets.asyncio.server
import websockets.sync.client
import websockets.sync.server

import panpipe
import panpipe.aio

from conftest import Program, plain, to
from raw_websocket import BINARY, CLOSE, PING, PONG, TEXT, RawWebSocket, ask, close, frame, request

Run = Callable[[Coroutine[Any, Any, Any]], Any]

SIZES = [0, 1, 125, 126, 65535, 65536, 300_000, 3 << 20]

SERVICE = """
import asyncio, panpipe
from collections.abc import AsyncIterator
service = panpipe.Service()
news = service.topic("news", retain=True)
news.publish("first")

@service.method
def echo(value): return value
@service.method
async def count(n: int, size: int) -> AsyncIterator[bytes]:
    for number in range(n): yield number.to_bytes(4) + bytes(size)
@service.method
async def total(items: AsyncIterator[bytes]) -> int:
    return sum([len(item) async for item in items])
@service.method
async def back() -> str:
    return await panpipe.current().peer.call("name")
@service.method
async def hang(): await asyncio.sleep(100)

listener = panpipe.listen({address!r})
print(listener.address, flush=True)
service.serve(listener)
"""


@pytest.fixture
def service(program: Callable[[str], Program]) -> Callable[[str], Program]:
    """Starts a service of the panpipe protocol."""
    return lambda address: program(SERVICE.replace("{address!r}", repr(address)))


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A plain socket that listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(30)
        yield listening


def at(listening: socket.socket, options: str = "protocol=plain") -> str:
    return f"ws://127.0.0.1:{listening.getsockname()[1]}?{options}".removesuffix("?")


# Both ends are panpipe's.


def test_plain_messages_keep_their_boundaries(upper: Callable[[str], str], run: Run) -> None:
    address = upper("ws://localhost:0/a%20path?protocol=plain")
    assert "/a%20path?" in address

    async def call() -> None:
        async with panpipe.aio.connect(address) as peer:
            for size in SIZES:
                assert await peer.call(b"x" * size) == b"X" * size
            replies = await asyncio.gather(*(peer.call(f"call {number}") for number in range(1000)))
            assert replies == [f"CALL {number}".encode() for number in range(1000)]

    run(call())
    with panpipe.connect(address) as peer:
        for size in SIZES:
            assert peer.call(b"x" * size) == b"X" * size
        assert peer.remote.transport == "ws"


@pytest.mark.parametrize("address", ["ws://127.0.0.1:0?protocol=plain", "ws://[::1]:0/x?protocol=plain&text=true"])
def test_an_asyncio_server_answers_both_faces(address: str, run: Run) -> None:
    async def handler(message: Any) -> Any:
        await asyncio.sleep(0)
        return message.upper()

    async def serve() -> None:
        is_text = "text" in address
        async with panpipe.aio.serve(address, handler) as server, panpipe.aio.connect(server.address) as peer:
            assert await peer.call("ä") == ("Ä" if is_text else "ä".encode())

            def block() -> Any:
                with panpipe.connect(server.address) as peer:
                    return peer.call("b")

            assert await asyncio.to_thread(block) == ("B" if is_text else b"B")

    run(serve())


def test_a_listener_accepts_what_its_address_means(run: Run) -> None:
    for address, kind in [("ws://localhost:0?protocol=plain", "Connection"), ("ws://localhost:0", "Peer")]:
        with panpipe.listen(address) as listener, ThreadPoolExecutor() as pool:
            connecting = pool.submit(panpipe.connect, listener.address)
            with listener.accept(timeout=30) as accepted, connecting.result(30) as connected:
                assert isinstance(accepted, getattr(panpipe, kind))
                assert isinstance(connected, getattr(panpipe, kind))

        async def accept(address: str, kind: str) -> None:
            async with panpipe.aio.listen(address) as listener:
                connecting = asyncio.ensure_future(_open(listener.address))
                async with await listener.accept() as accepted, await connecting as connected:
                    assert isinstance(accepted, getattr(panpipe.aio, kind))
                    assert isinstance(connected, getattr(panpipe.aio, kind))

        run(accept(address, kind))


async def _open(address: str) -> Any:
    return await panpipe.aio.connect(address)


def test_calls_streams_and_topics_on_asyncio(service: Callable[[str], Program], run: Run) -> None:
    address = service("ws://localhost:0/rpc").line()
    own = panpipe.Service()
    own.method(name="name")(lambda: "Ann")

    async def use() -> None:
        async with panpipe.aio.connect(address, service=own) as peer:
            for size in SIZES:
                assert await peer.call("echo", b"x" * size) == b"x" * size
            assert await peer.call("back") == "Ann"
            replies = await asyncio.gather(*(peer.call("echo", number) for number in range(2000)))
            assert replies == list(range(2000))
            numbers = [int.from_bytes(item[:4]) async for item in peer.stream("count", 500, 20_000)]
            assert numbers == list(range(500))

            async def items() -> AsyncIterator[bytes]:
                for _ in range(300):
                    yield bytes(10_000)

            assert await peer.options(input=items()).call("total") == 3_000_000
            assert await anext(await peer.subscribe("news")) == "first"

    run(use())


def test_calls_streams_and_topics_for_threads(service: Callable[[str], Program]) -> None:
    own = panpipe.Service()
    own.method(name="name")(lambda: "Ann")
    with panpipe.connect(service("ws://localhost:0/rpc").line(), service=own) as peer:
        for size in SIZES:
            assert peer.call("echo", b"x" * size) == b"x" * size
        assert peer.call("back") == "Ann"
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda number: peer.call("echo", number), range(500))) == list(range(500))
        numbers = [int.from_bytes(item[:4]) for item in peer.stream("count", 500, 20_000)]
        assert numbers == list(range(500))
        assert peer.options(input=[bytes(10_000)] * 300).call("total") == 3_000_000
        assert next(peer.subscribe("news")) == "first"


@pytest.mark.parametrize("face", ["blocking", "asyncio"])
def test_a_peer_that_was_killed_has_lost_the_connection(service: Callable[[str], Program], run: Run, face: str) -> None:
    server = service("ws://localhost:0")
    address = server.line()
    if face == "blocking":
        with panpipe.connect(address) as peer:
            peer.call("echo", 1)
            threading.Timer(0.1, server.process.kill).start()
            with pytest.raises(panpipe.ConnectionLost) as raised:
                peer.call("hang")
    else:

        async def hang() -> None:
            async with panpipe.aio.connect(address) as peer:
                await peer.call("echo", 1)
                asyncio.get_running_loop().call_later(0.1, server.process.kill)
                await peer.call("hang")

        with pytest.raises(panpipe.ConnectionLost) as raised:
            run(hang())
    assert raised.value.ran == "maybe"


def test_a_peer_connects_again(service: Callable[[str], Program], run: Run) -> None:
    first = service("ws://localhost:0/x")
    address = first.line()

    async def use() -> None:
        async with panpipe.aio.connect(f"{address}?reconnect=true") as peer:
            assert await peer.call("echo", 1) == 1
            first.process.kill()
            first.process.wait()
            calling = asyncio.ensure_future(peer.options(idempotent=True).call("echo", 2))
            assert service(address).line() == address
            assert await calling == 2

    run(use())


def test_a_fork_is_told_when_it_uses_what_is_not_its_own(upper: Callable[[str], str]) -> None:
    with panpipe.connect(upper("ws://localhost:0?protocol=plain")) as peer:
        assert peer.call("before") == b"BEFORE"
        child = os.fork()
        if child == 0:
            try:
                peer.call("child")
            except panpipe.Closed as error:
                peer.close()
                os._exit(0 if "forked" in str(error) else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert peer.call("after") == b"AFTER"


# The other end is PyPI's websockets.


def test_their_blocking_client(upper: Callable[[str], str]) -> None:
    binary, text = upper("ws://localhost:0?protocol=plain"), upper("ws://localhost:0?protocol=plain&text=true")
    with websockets.sync.client.connect(to(binary), max_size=None) as theirs:
        assert "Sec-WebSocket-Extensions" not in theirs.response.headers
        for size in SIZES:
            theirs.send(b"x" * size)
            assert theirs.recv(30) == b"X" * size
        theirs.send("text")
        assert theirs.recv(30) == b"TEXT"
        theirs.send(["frag", "men", "ted"])
        assert theirs.recv(30) == b"FRAGMENTED"
        assert theirs.ping(b"there?").wait(30)
    assert (theirs.close_code, theirs.protocol.close_rcvd_then_sent) == (1000, False)
    with websockets.sync.client.connect(to(text)) as theirs:
        theirs.send("hällo")
        assert theirs.recv(30) == "HÄLLO"
        theirs.send(b"bytes that are text")
        assert theirs.recv(30) == "BYTES THAT ARE TEXT"


def test_their_asyncio_client(upper: Callable[[str], str], run: Run) -> None:
    address = upper("ws://localhost:0/chat?protocol=plain")

    async def use() -> None:
        async with websockets.asyncio.client.connect(to(address)) as theirs:
            for number in range(1000):
                await theirs.send(f"message {number}")
            replies = [await theirs.recv() for _ in range(1000)]
            assert replies == [f"MESSAGE {number}".encode() for number in range(1000)]
            await (await theirs.ping())
        assert theirs.close_code == 1000
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.asyncio.client.connect(to(address).replace("/chat", "/"))
        assert refused.value.response.status_code == 404

    run(use())


def test_their_blocking_server() -> None:
    def echo(theirs: websockets.sync.server.ServerConnection) -> None:
        for message in theirs:
            if message == b"fragments":
                theirs.send([b"in ", b"three ", b"pieces"])
            elif message == b"ping":
                theirs.send(str(theirs.ping().wait(30)))
            elif message == b"leave":
                return
            else:
                theirs.send(message)

    with websockets.sync.server.serve(echo, "127.0.0.1", 0, max_size=None) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        address = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        with panpipe.connect(f"{address}?protocol=plain") as peer:
            for size in SIZES:
                assert peer.call(b"x" * size) == b"x" * size
            assert peer.call("fragments") == b"in three pieces"
            assert peer.call("ping") == b"True"
            peer.send("leave")
            assert peer.recv(timeout=30) is None
        with panpipe.connect(f"{address}?protocol=plain&text=true") as peer:
            assert peer.call("täxt") == "täxt"
        with pytest.raises(panpipe.BadPeer, match="panpipe"):
            panpipe.connect(address)
        server.shutdown()
        serving.join()


def test_their_asyncio_server(run: Run) -> None:
    codes: list[int | None] = []

    async def handle(theirs: websockets.asyncio.server.ServerConnection) -> None:
        with suppress(websockets.ConnectionClosed):
            async for message in theirs:
                match str(message).split():
                    case ["close", code, *reason]:
                        await theirs.close(int(code), " ".join(reason))
                    case ["abort"]:
                        theirs.transport.abort()
                    case _:
                        await theirs.send(message)
        codes.append(theirs.close_code)

    async def use() -> None:
        async with websockets.asyncio.server.serve(handle, "127.0.0.1", 0) as server:
            address = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}?protocol=plain&text=true"
            async with panpipe.aio.connect(address) as peer:
                replies = await asyncio.gather(*(peer.call(f"call {number}") for number in range(1000)))
                assert replies == [f"call {number}" for number in range(1000)]
            while not codes:
                await asyncio.sleep(0)
            assert codes == [1000]
            for clean in (1000, 1001):
                async with panpipe.aio.connect(address) as peer:
                    await peer.send(f"close {clean} bye")
                    assert await peer.recv() is None
            for code, reason in [(1011, "out of order"), (3000, "mine"), (1008, "")]:
                async with panpipe.aio.connect(address) as peer:
                    await peer.send(f"close {code} {reason}")
                    with pytest.raises(panpipe.ConnectionLost, match=f"{code}.*{reason}"):
                        await peer.recv()
            async with panpipe.aio.connect(address) as peer:
                with pytest.raises(panpipe.ConnectionLost) as lost:
                    await peer.call("abort")
                assert lost.value.ran == "maybe"

    run(use())


def test_what_a_server_answers_in_place_of_a_websocket(listening: socket.socket) -> None:
    answers: list[tuple[bytes, type[panpipe.Error], str]] = [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", panpipe.Unauthenticated, "401"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", panpipe.Permission, "403"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", panpipe.NotFound, "404"),
        (b"HTTP/1.1 301 Moved\r\nLocation: /other\r\n\r\n", panpipe.BadPeer, "301"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", panpipe.BadPeer, "200"),
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\n", panpipe.BadPeer, "500"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", panpipe.BadPeer, "HTTP"),
        (b"", panpipe.ConnectionLost, "without an answer"),
        (b"HTTP/1.1 101 Switching Pro", panpipe.ConnectionLost, "inside its answer"),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            panpipe.BadPeer,
            "Accept",
        ),
    ]

    def answer() -> None:
        for bytes_of_answer, _, _ in answers:
            accepted, _ = listening.accept()
            with accepted:
                accepted.recv(1 << 16)
                accepted.sendall(bytes_of_answer)

    answering = threading.Thread(target=answer)
    answering.start()
    for _, kind, named in answers:
        with pytest.raises(kind, match=named) as raised:
            panpipe.connect(at(listening))
        assert raised.value.ran == "no"
    answering.join()


@pytest.mark.parametrize("extra", ["Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Extensions: permessage-deflate"])
def test_what_was_not_asked_for_is_refused(listening: socket.socket, extra: str) -> None:
    with ThreadPoolExecutor() as pool:
        accepting = pool.submit(RawWebSocket.accept, listening, fields=[extra])
        with pytest.raises(panpipe.BadPeer):
            panpipe.connect(at(listening))
        accepting.result()


def test_a_server_that_says_nothing_is_given_up_in_time(listening: socket.socket) -> None:
    with pytest.raises(panpipe.DeadlineExceeded):
        panpipe.connect(at(listening, "timeout=100ms"))


# One end is by hand.


def test_a_subprotocol_says_which_protocol_is_meant(upper: Callable[[str], str], run: Run) -> None:
    plain_only = upper("ws://localhost:0?protocol=plain")
    offered = "Sec-WebSocket-Protocol: chat, panpipe"
    status, fields, body = ask(plain_only, request(plain_only, offered))
    assert (status, fields["Connection"]) == (400, "close")
    assert b"panpipe" in body
    with panpipe.listen("ws://localhost:0") as listener, ThreadPoolExecutor() as pool:
        accepting = pool.submit(listener.accept)
        status, _, _ = ask(listener.address, request(listener.address))
        assert status == 400
        raw = RawWebSocket.to(listener.address, offered)
        raw.socket.sendall(frame(TEXT, b"no frame of panpipe"))
        with accepting.result(30) as accepted, pytest.raises(panpipe.BadPeer):
            accepted.wait(30)
        assert raw.read_close()[0] == 1003


@pytest.mark.parametrize(
    ("sent", "code", "kind"),
    [
        (frame(BINARY, b"not masked", masked=False), 1002, panpipe.BadPeer),
        (b"\xc2\x80\0\0\0\0", 1002, panpipe.BadPeer),
        (frame(3, b"reserved"), 1002, panpipe.BadPeer),
        (frame(0, b"continues nothing"), 1002, panpipe.BadPeer),
        (frame(BINARY, b"a", last=False) + frame(TEXT, b"b"), 1002, panpipe.BadPeer),
        (frame(PING, b"x" * 126), 1002, panpipe.BadPeer),
        (frame(PING, b"x", last=False), 1002, panpipe.BadPeer),
        (b"\x82\xfe\0\x01\0\0\0\0x", 1002, panpipe.BadPeer),
        (b"\x82\xff\x80\0\0\0\0\0\0\0", 1002, panpipe.BadPeer),
        (frame(CLOSE, b"\x03"), 1002, panpipe.BadPeer),
        (close(1005), 1002, panpipe.BadPeer),
        (close(2999), 1002, panpipe.BadPeer),
        (frame(TEXT, b"\xff"), 1007, panpipe.BadPeer),
        (frame(CLOSE, b"\x03\xe8\xff"), 1007, panpipe.BadPeer),
        (b"\x82\xff\0\0\0\0\0\x01\0\0", 1009, panpipe.TooLarge),
        (frame(BINARY, b"x" * 600, last=False) + frame(0, b"x" * 600), 1009, panpipe.TooLarge),
        (frame(BINARY, b"", last=False) + frame(0, b"", last=False) * 4096, 1008, panpipe.TooLarge),
        (close(1011, "sad"), 1011, panpipe.ConnectionLost),
    ],
)
def test_violations_close_with_their_code(sent: bytes, code: int, kind: type[panpipe.Error]) -> None:
    with panpipe.listen("ws://localhost:0?protocol=plain&max=1000") as listener, ThreadPoolExecutor() as pool:
        accepting = pool.submit(listener.accept)
        raw = RawWebSocket.to(listener.address)
        raw.socket.sendall(frame(BINARY, b"before") + sent)
        with accepting.result(30) as accepted:
            assert accepted.recv(timeout=30) == b"before"
            with pytest.raises(kind):
                accepted.recv(timeout=30)
            assert raw.read_close()[0] == code


@pytest.mark.parametrize("size", [1, 1000])
def test_pieces_of_any_size(listening: socket.socket, size: int) -> None:
    pieces = [
        frame(BINARY, b"one", masked=False),
        frame(TEXT, "zwölf".encode()[:3], last=False, masked=False),
        frame(PING, b"between", masked=False),
        frame(0, "zwölf".encode()[3:], masked=False),
        frame(BINARY, b"x" * 200, masked=False),
    ]
    sent = b"".join(pieces)
    with ThreadPoolExecutor() as pool:
        accepting = pool.submit(RawWebSocket.accept, listening)
        with panpipe.connect(at(listening)) as peer:
            raw = accepting.result(30)
            raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for place in range(0, len(sent), size):
                raw.socket.sendall(sent[place : place + size])
            messages = [peer.recv(timeout=30) for _ in range(3)]
            assert messages == [b"one", "zwölf".encode(), b"x" * 200]
            assert raw.read() == (PONG | 0x80, b"between")
            raw.socket.sendall(close(1001, "going", masked=False))
            assert peer.recv(timeout=30) is None
            assert raw.read_close()[0] == 1001


@pytest.mark.parametrize("face", ["blocking", "asyncio"])
def test_what_came_with_the_response_is_there_at_once_and_so_is_the_end(
    listening: socket.socket, run: Run, face: str
) -> None:
    """The socket stays open: nothing else announces what was read with the response."""

    async def receive() -> list[Any]:
        async with panpipe.aio.connect(at(listening)) as peer:
            return [await peer.recv(timeout=30), await peer.recv(timeout=30)]

    behind = frame(BINARY, b"hi", masked=False) + close(1000, masked=False)
    with ThreadPoolExecutor() as pool:
        accepting = pool.submit(RawWebSocket.accept, listening, behind)
        if face == "blocking":
            with panpipe.connect(at(listening)) as peer:
                assert [peer.recv(timeout=30), peer.recv(timeout=30)] == [b"hi", None]
        else:
            assert run(receive()) == [b"hi", None]
        accepting.result()


@pytest.mark.parametrize("face", ["blocking", "asyncio"])
def test_an_end_behind_a_large_message_is_told(listening: socket.socket, run: Run, face: str) -> None:
    """The socket stays open: what was read with the rest of the message says that this is all."""

    async def receive() -> list[Any]:
        async with panpipe.aio.connect(at(listening)) as peer:
            return [await peer.recv(timeout=5), await peer.recv(timeout=5)]

    def send() -> RawWebSocket:
        raw = RawWebSocket.accept(listening)
        raw.socket.sendall(frame(BINARY, b"x" * 65_525, last=False, masked=False) + frame(PING, b"", masked=False))
        # Once its pong is there, what is sent comes in a read of its own.
        raw.read()
        raw.socket.sendall(frame(0, b"y" * 10, masked=False) + close(1000, masked=False))
        return raw

    with ThreadPoolExecutor() as pool:
        sending = pool.submit(send)
        if face == "blocking":
            with panpipe.connect(at(listening)) as peer:
                received = [peer.recv(timeout=5), peer.recv(timeout=5)]
        else:
            received = run(receive())
        assert received == [b"x" * 65_525 + b"y" * 10, None]
        sending.result()


@pytest.mark.parametrize("end", ["cut", "reset"])
def test_an_end_without_a_close_is_a_loss(listening: socket.socket, end: str) -> None:
    with ThreadPoolExecutor() as pool:
        accepting = pool.submit(RawWebSocket.accept, listening, frame(BINARY, b"hi", masked=False))
        with panpipe.connect(at(listening)) as peer:
            raw = accepting.result(30)
            assert peer.recv(timeout=30) == b"hi"
            if end == "reset":
                raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raw.socket.close()
            with pytest.raises(panpipe.ConnectionLost):
                peer.recv(timeout=30)


def test_a_close_writes_what_was_sent_and_says_so(listening: socket.socket) -> None:
    with ThreadPoolExecutor() as pool:
        accepting = pool.submit(RawWebSocket.accept, listening)
        peer = panpipe.connect(at(listening))
        raw = accepting.result(30)
        reading = pool.submit(lambda: [raw.read() for _ in range(21)])
        for _ in range(20):
            peer.send(b"x" * 100_000)
        peer.close()
        *messages, last = reading.result(30)
        assert messages == [(BINARY | 0x80, b"x" * 100_000)] * 20
        assert last == (CLOSE | 0x80, struct.pack(">H", 1000))
        assert raw.socket.recv(1) == b""


def test_a_client_that_pings_all_the_time_and_never_reads_is_not_answered_for_ever(upper: Callable[[str], str]) -> None:
    raw = RawWebSocket.to(upper("ws://localhost:0?protocol=plain"))
    for number in range(20_000):
        raw.socket.sendall(frame(PING, struct.pack(">I", number)))
    raw.socket.sendall(frame(BINARY, b"end"))
    pongs = []
    while (read := raw.read())[0] == PONG | 0x80:
        pongs.append(struct.unpack(">I", read[1])[0])
    assert read == (BINARY | 0x80, b"END")
    assert pongs == sorted(set(pongs))
    assert pongs[-1] == 19_999


def test_a_message_above_the_limit_is_not_sent(upper: Callable[[str], str]) -> None:
    with panpipe.connect(to(upper("ws://localhost:0?protocol=plain&max=1000"), "protocol=plain&max=1000")) as peer:
        with pytest.raises(panpipe.TooLarge) as raised:
            peer.call(b"x" * 1001)
        assert raised.value.ran == "no"
        assert peer.call(b"x" * 1000) == b"X" * 1000


def test_text_that_is_none_is_refused(upper: Callable[[str], str]) -> None:
    raw = RawWebSocket.to(upper("ws://localhost:0?protocol=plain&text=true"))
    raw.socket.sendall(frame(BINARY, b"\xff"))
    assert raw.read_close()[0] == 1007


def test_no_framing_goes_with_a_websocket() -> None:
    with pytest.raises(panpipe.Unsupported, match="boundaries"):
        panpipe.listen("ws://localhost:0?framing=lines")
    with pytest.raises(panpipe.InvalidAddress, match="insecure"):
        panpipe.connect("ws://192.0.2.1")


def test_what_speaks_http_gets_an_answer() -> None:
    with panpipe.listen("ws://localhost:0/chat") as listener, ThreadPoolExecutor() as pool:
        accepting = pool.submit(listener.accept, timeout=30)
        host = listener.address.split("//")[1].split("/")[0]

        def status(line: str, *fields: str) -> int:
            return ask(listener.address, "\r\n".join([line, f"Host: {host}", *fields, "", ""]).encode())[0]

        assert status("GET /chat HTTP/1.1") == 426
        assert status("GET / HTTP/1.1") == 404
        assert status("POST /chat HTTP/1.1", "Content-Length: 0") == 405
        assert status("GET /chat HTTP/1.1", *["X: y"] * 70) == 431
        assert status("GET /chat HTTP/1.1", "X: " + "y" * 9000) == 431
        assert status("GET /chat HTTP/1.1", "X: y", " folded") == 400
        code, fields, _ = ask(
            listener.address, request(listener.address, path="/chat").replace(b"Version: 13", b"Version: 8")
        )
        assert (code, fields["Upgrade"], fields["Sec-WebSocket-Version"]) == (426, "websocket", "13")
        code, _, _ = ask(listener.address, request(listener.address, path="/chat").replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert code == 505
        code, _, _ = ask(listener.address, b"\x16\x03\x01\x02\x00")
        assert code == 400
        silent = plain(listener.address)
        assert silent.recv(100).startswith(b"HTTP/1.1 408 ")
        panpipe.connect(listener.address).close()
        accepting.result(30).close()
