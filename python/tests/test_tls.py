"""TLS, bare and under WebSocket: who is believed, what breaks, and Python's own ``ssl`` at the other end."""

import asyncio
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import websockets.asyncio.server
import websockets.sync.client

import panpipe
import panpipe.aio

from certificates import Certificates, Pair
from conftest import kept, plain, to

Run = Callable[[Coroutine[Any, Any, Any]], Any]

SIZES = [0, 1, 20_000, 300_000, 3 << 20]

service = panpipe.Service()


@service.method
def echo(value: Any) -> Any:
    return value


def plain_options(scheme: str) -> str:
    """What makes an address of this scheme mean plain messages."""
    return "framing=length" if scheme == "tls" else "protocol=plain"


@pytest.fixture(params=["tls", "wss"])
def scheme(request: pytest.FixtureRequest) -> str:
    return request.param


def test_plain_messages_both_ways(certificates: Certificates, scheme: str, run: Run) -> None:
    options = plain_options(scheme)

    async def use() -> None:
        address = f"{scheme}://localhost:0?{options}&{certificates.server.options}"
        async with panpipe.aio.serve(address, bytes.upper) as server:
            trusting = to(server.address, f"{options}&ca={certificates.ca}")
            async with panpipe.aio.connect(trusting) as peer:
                for size in SIZES:
                    assert await peer.call(b"x" * size) == b"X" * size
                replies = await asyncio.gather(*(peer.call(f"call {number}") for number in range(1000)))
                assert replies == [f"CALL {number}".encode() for number in range(1000)]

            def block() -> None:
                with panpipe.connect(trusting) as peer:
                    for size in SIZES:
                        assert peer.call(b"x" * size) == b"X" * size
                    assert peer.remote.transport == scheme

            await asyncio.to_thread(block)

    run(use())


def test_calls_both_ways(certificates: Certificates, scheme: str, run: Run) -> None:
    async def use() -> None:
        async with service.aserve(f"{scheme}://localhost:0?{certificates.server.options}") as server:
            trusting = to(server.address, f"ca={certificates.ca}")
            async with panpipe.aio.connect(trusting) as peer:
                for size in SIZES:
                    assert await peer.call("echo", b"x" * size) == b"x" * size
                replies = await asyncio.gather(*(peer.call("echo", number) for number in range(2000)))
                assert replies == list(range(2000))

            def block() -> None:
                with panpipe.connect(trusting) as peer, ThreadPoolExecutor(8) as pool:
                    assert list(pool.map(lambda number: peer.call("echo", number), range(300))) == list(range(300))
                    for size in SIZES:
                        assert peer.call("echo", b"x" * size) == b"x" * size

            await asyncio.to_thread(block)

    run(use())


class Server:
    """A server that runs in the background, and its address."""

    def __init__(self, address: str) -> None:
        self._listener = panpipe.listen(address)
        self.address = self._listener.address
        self._serving = threading.Thread(target=self._serve, daemon=True)
        self._serving.start()

    def _serve(self) -> None:
        # One connection after another. Between two of them it finds out by an error that the listener is closed.
        with suppress(panpipe.Closed):
            for connection in self._listener:
                with suppress(panpipe.Error), connection:
                    for message in connection:
                        connection.send(message.upper())

    def close(self) -> None:
        self._listener.close()
        self._serving.join(30)


@pytest.fixture
def start(scheme: str) -> Iterator[Callable[[str], Server]]:
    """Starts a server of plain messages with these options."""
    servers: list[Server] = []

    def start(options: str) -> Server:
        servers.append(Server(f"{scheme}://localhost:0?{plain_options(scheme)}&{options}"))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def call(server: Server, options: str, host: str = "localhost") -> Any:
    """What a client with these options gets."""
    scheme = server.address.split(":")[0]
    address = to(server.address, f"{plain_options(scheme)}&{options}".rstrip("&")).replace("localhost", host)
    with panpipe.connect(address) as peer:
        return peer.call("x")


def test_a_name_or_an_address_of_the_certificate_is_believed(
    start: Callable[[str], Server], certificates: Certificates
) -> None:
    server = start(certificates.server.options)
    for host in ("localhost", "127.0.0.1", "[::1]"):
        assert call(server, f"ca={certificates.ca}", host) == b"X"


@pytest.mark.parametrize(
    ("name", "ca", "says"),
    [
        ("elsewhere", "ca", "elsewhere.example.*localhost"),
        ("expired", "ca", "expired .* ago"),
        ("strange", "ca", "issued by somebody"),
        ("server", "other_ca", "issued by somebody"),
        ("server", None, "issued by somebody"),
    ],
)
def test_whom_nobody_vouches_for_is_not_believed(
    start: Callable[[str], Server], certificates: Certificates, name: str, ca: str | None, says: str
) -> None:
    server = start(getattr(certificates, name).options)
    with pytest.raises(panpipe.Unauthenticated, match=says) as raised:
        call(server, "" if ca is None else f"ca={getattr(certificates, ca)}")
    assert raised.value.ran == "no"
    assert raised.value.code == "unauthenticated"


def test_a_fingerprint_is_believed_whatever_the_certificate_says(
    start: Callable[[str], Server], certificates: Certificates
) -> None:
    for pair in (certificates.elsewhere, certificates.expired, certificates.strange):
        server = start(pair.options)
        assert call(server, f"fingerprint={pair.fingerprint}") == b"X"
        # As openssl prints it, beside that of another.
        digits = pair.fingerprint.removeprefix("sha256:").upper()
        printed = ":".join(digits[place : place + 2] for place in range(0, len(digits), 2))
        assert call(server, f"fingerprint={certificates.server.fingerprint},sha256:{printed}") == b"X"
        with pytest.raises(panpipe.Unauthenticated, match="fingerprint"):
            call(server, f"fingerprint={certificates.server.fingerprint}")


def test_clients_show_a_certificate_where_that_is_wanted(
    start: Callable[[str], Server], certificates: Certificates
) -> None:
    client, strange = certificates.client, certificates.strange
    for wanted in (f"client_ca={certificates.ca}", f"fingerprint={client.fingerprint}"):
        server = start(f"{certificates.server.options}&{wanted}")
        assert call(server, f"ca={certificates.ca}&{client.options}") == b"X"
        for shown in ("", f"&{strange.options}"):
            with pytest.raises(panpipe.Unauthenticated, match="certificate"):
                call(server, f"ca={certificates.ca}{shown}")


def test_what_speaks_without_tls_is_told_so(certificates: Certificates, scheme: str, run: Run) -> None:
    async def use() -> None:
        async with service.aserve(f"{scheme}://localhost:0?{certificates.server.options}") as server:
            asking = plain(server.address)

            def ask() -> None:
                asking.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert asking.recv(1000) == b""

            await asyncio.to_thread(ask)
            bare = to(server.address, "timeout=10s", scheme="tcp" if scheme == "tls" else "ws")
            with pytest.raises((panpipe.BadPeer, panpipe.ConnectionLost)):
                async with panpipe.aio.connect(bare) as peer:
                    await peer.call("echo", 1)
            async with panpipe.aio.connect(to(server.address, f"ca={certificates.ca}")) as peer:
                assert await peer.call("echo", 1) == 1

    run(use())


def test_what_speaks_tls_where_there_is_none_is_told_so(certificates: Certificates, scheme: str, run: Run) -> None:
    async def use() -> None:
        async with service.aserve("tcp://localhost:0" if scheme == "tls" else "ws://localhost:0") as server:
            with pytest.raises(panpipe.BadPeer, match="TLS"):
                await panpipe.aio.connect(to(server.address, f"ca={certificates.ca}", scheme=scheme))
            async with panpipe.aio.connect(server.address) as peer:
                assert await peer.call("echo", 1) == 1

    run(use())


def test_a_cut_in_the_handshake_is_a_loss(certificates: Certificates, scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"{scheme}://127.0.0.1:{listening.getsockname()[1]}?ca={certificates.ca}"

        def cut() -> None:
            accepted, _ = listening.accept()
            accepted.recv(100_000)
            accepted.close()

        cutting = threading.Thread(target=cut)
        cutting.start()
        with pytest.raises(panpipe.ConnectionLost, match="handshake") as raised:
            panpipe.connect(address)
        assert raised.value.ran == "no"
        cutting.join()
        with pytest.raises(panpipe.DeadlineExceeded):
            panpipe.connect(f"{address}&timeout=100ms")


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ("timeout=10s", panpipe.InvalidAddress, "cert"),
        ("cert={server.cert}", panpipe.InvalidAddress, "key"),
        ("cert={nowhere}&key={server.key}", panpipe.NotFound, "nowhere"),
        ("cert={server.cert}&key={nowhere}", panpipe.NotFound, "nowhere"),
        ("cert={server.key}&key={server.key}", panpipe.InvalidAddress, "certificate"),
        ("cert={server.cert}&key={client.key}", panpipe.InvalidAddress, "key"),
        ("cert={server.cert}&key={server.key}&fingerprint=sha256:12", panpipe.InvalidAddress, "fingerprint"),
        ("cert={server.cert}&key={server.key}&client_ca={nowhere}", panpipe.NotFound, "nowhere"),
        ("cert={server.cert}&key={server.key}&insecure=true", panpipe.Unsupported, "insecure"),
    ],
)
def test_what_a_listener_needs(
    certificates: Certificates, scheme: str, options: str, kind: type[panpipe.Error], says: str, tmp_path: Path
) -> None:
    written = options.format(server=certificates.server, client=certificates.client, nowhere=tmp_path / "nowhere")
    with pytest.raises(kind, match=says):
        panpipe.listen(f"{scheme}://localhost:0?{written}")


def test_the_command_makes_a_pair_that_is_believed(start: Callable[[str], Server], tmp_path: Path) -> None:
    command = Path(__file__).parents[2] / "target" / "release" / "panpipe"
    made = subprocess.run([command, "cert", "here.example"], cwd=tmp_path, capture_output=True, text=True, check=True)
    pair = Pair(tmp_path / "here.example.crt", tmp_path / "here.example.key")
    assert pair.fingerprint in made.stdout + made.stderr
    server = start(pair.options)
    assert call(server, f"ca={pair.cert}") == b"X"
    assert call(server, f"fingerprint={pair.fingerprint}", "127.0.0.1") == b"X"


def test_a_connection_belongs_to_its_process_and_to_panpipe(
    upper: Callable[[str], str], certificates: Certificates, scheme: str
) -> None:
    address = upper(f"{scheme}://localhost:0?{plain_options(scheme)}&{certificates.server.options}")
    with panpipe.connect(to(address, f"{plain_options(scheme)}&ca={certificates.ca}")) as peer:
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
        with pytest.raises(panpipe.Unsupported):
            peer.detach()
        assert peer.call("after") == b"AFTER"


def test_off_loopback_needs_no_more(certificates: Certificates, scheme: str) -> None:
    with panpipe.listen(f"{scheme}://0.0.0.0:0?{certificates.server.options}") as listener:
        assert listener.address.startswith(f"{scheme}://0.0.0.0:")


# The other end is Python's ssl.


def their_client(certificates: Certificates, pair: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates.ca))
    if pair is not None:
        context.load_cert_chain(pair.cert, pair.key)
    return context


def their_server(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server.cert, certificates.server.key)
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_their_client(certificates: Certificates, version: ssl.TLSVersion) -> None:
    server = Server(f"tls://localhost:0?framing=lines&{certificates.server.options}&client_ca={certificates.ca}")
    context = their_client(certificates, certificates.client)
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["http/1.1"])
    with context.wrap_socket(plain(server.address), server_hostname="localhost") as theirs:
        assert theirs.selected_alpn_protocol() is None
        for size in (1, 100_000):
            theirs.sendall(b"x" * size + b"\n")
            with theirs.makefile("rb") as file:
                assert file.readline() == b"X" * size + b"\n"
        theirs.unwrap().close()
    context = their_client(certificates)
    context.minimum_version = context.maximum_version = version
    with pytest.raises(ssl.SSLError, match=r"(?i)handshake.failure|certificate.required"):
        use(context, plain(server.address))
    server.close()


def use(context: ssl.SSLContext, connected: socket.socket) -> None:
    """With TLS 1.3 a client learns of what the server thinks of its certificate when it reads."""
    with context.wrap_socket(connected, server_hostname="localhost") as theirs:
        theirs.recv(1)


def test_their_client_of_an_old_version_is_refused(certificates: Certificates) -> None:
    server = Server(f"tls://localhost:0?framing=lines&{certificates.server.options}")
    context = their_client(certificates)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(plain(server.address), server_hostname="localhost")
    server.close()


@pytest.mark.parametrize("end", ["close_notify", "cut"])
def test_their_server(certificates: Certificates, end: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"tls://127.0.0.1:{listening.getsockname()[1]}?framing=lines&ca={certificates.ca}"

        def serve() -> None:
            theirs = their_server(certificates).wrap_socket(kept(listening.accept()[0]), server_side=True)
            assert theirs.recv(100) == b"hello\n"
            theirs.sendall(b"HELLO\n" + b"x" * 100_000 + b"\n")
            if end == "close_notify":
                # It waits for ours.
                theirs.unwrap()
            theirs.close()

        with ThreadPoolExecutor() as pool:
            serving = pool.submit(serve)
            with panpipe.connect(address) as peer:
                assert peer.call("hello") == b"HELLO"
                assert peer.recv(timeout=30) == b"x" * 100_000
                if end == "close_notify":
                    assert peer.recv(timeout=30) is None
                else:
                    with pytest.raises(panpipe.ConnectionLost, match="cut"):
                        peer.recv(timeout=30)
            serving.result(30)


def test_their_websocket_client(certificates: Certificates) -> None:
    server = Server(f"wss://localhost:0/x?protocol=plain&{certificates.server.options}")
    context = their_client(certificates)
    context.set_alpn_protocols(["http/1.1"])
    with websockets.sync.client.connect(to(server.address), ssl=context, max_size=None) as theirs:
        assert theirs.socket.selected_alpn_protocol() == "http/1.1"
        for size in SIZES:
            theirs.send(b"x" * size)
            assert theirs.recv(30) == b"X" * size
    server.close()


def test_their_websocket_server(certificates: Certificates, run: Run) -> None:
    async def echo(theirs: websockets.asyncio.server.ServerConnection) -> None:
        async for message in theirs:
            await theirs.send(message)

    async def use() -> None:
        context = their_server(certificates)
        async with websockets.asyncio.server.serve(echo, "127.0.0.1", 0, ssl=context, max_size=None) as server:
            address = f"wss://localhost:{server.sockets[0].getsockname()[1]}"
            async with panpipe.aio.connect(f"{address}?protocol=plain&ca={certificates.ca}") as peer:
                for size in SIZES:
                    assert await peer.call(b"x" * size) == b"x" * size
                replies = await asyncio.gather(*(peer.call(f"call {number}") for number in range(500)))
                assert replies == [f"call {number}".encode() for number in range(500)]
            with pytest.raises(panpipe.Unauthenticated):
                await panpipe.aio.connect(f"{address}?protocol=plain")

    run(use())
