"""Who gets in at a port: tokens, and what a browser says of hosts and origins."""

import asyncio
import base64
import os
import re
import stat
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import panpipe
import panpipe.aio

from conftest import place_of, plain, to
from raw_websocket import RawWebSocket, ask, request

Run = Callable[[Coroutine[Any, Any, Any]], Any]

PANPIPE = "Sec-WebSocket-Protocol: panpipe"


def make_service() -> panpipe.Service:
    service = panpipe.Service()
    service.method(name="upper")(str.upper)
    return service


# Tokens.


@pytest.fixture
def token(tmp_path: Path) -> str:
    """The options of who knows the token."""
    (tmp_path / "token").write_text("the-right-token-of-these-tests\n")
    return f"token=file:{tmp_path}/token"


@pytest.mark.parametrize("scheme", ["tcp", "ws"])
def test_only_who_knows_the_token_gets_in(
    token: str, tmp_path: Path, run: Run, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("a-wrong-token-of-these-tests")
    monkeypatch.setenv("PANPIPE_TEST_TOKEN", "the-right-token-of-these-tests")

    async def serve() -> None:
        async with make_service().aserve(f"tcp://localhost:0?accept=panpipe,ws&{token}") as server:
            for known in (token, "token=env:PANPIPE_TEST_TOKEN"):
                address = to(server.address, known, scheme=scheme)
                async with panpipe.aio.connect(address) as peer:
                    assert await peer.call("upper", "x") == "X"

                def block(address: str = address) -> Any:
                    with panpipe.connect(address) as peer:
                        return peer.call("upper", "y")

                assert await asyncio.to_thread(block) == "Y"
            for unknown in ("", f"token=file:{wrong}"):
                address = to(server.address, unknown, scheme=scheme)
                with pytest.raises(panpipe.Unauthenticated) as raised:
                    async with panpipe.aio.connect(address) as peer:
                        await peer.call("upper", "x")
                assert raised.value.ran == "no"
                assert "of-these-tests" not in str(raised.value)

                def block_wrongly(address: str = address) -> Any:
                    with panpipe.connect(address) as peer:
                        peer.call("upper", "x")

                with pytest.raises(panpipe.Unauthenticated):
                    await asyncio.to_thread(block_wrongly)

    run(serve())


def test_a_browser_shows_the_token_as_a_subprotocol(token: str, run: Run) -> None:
    def in_subprotocol(shown: str) -> str:
        return "panpipe.token." + base64.urlsafe_b64encode(shown.encode()).decode().rstrip("=")

    right, wrong = "the-right-token-of-these-tests", "a-wrong-token-of-these-tests"

    async def serve() -> None:
        async with make_service().aserve(f"ws://localhost:0?{token}") as server:

            async def status(*fields: str) -> int:
                return (await asyncio.to_thread(ask, server.address, request(server.address, *fields)))[0]

            for fields in (
                [f"{PANPIPE}, {in_subprotocol(right)}"],
                [PANPIPE, f"Authorization: Bearer {right}"],
                [PANPIPE, f"authorization: bearer {right}"],
            ):
                raw = await asyncio.to_thread(RawWebSocket.to, server.address, *fields)
                raw.socket.close()
            for fields in (
                [PANPIPE],
                [f"{PANPIPE}, {in_subprotocol(wrong)}"],
                [PANPIPE, f"Authorization: Bearer {wrong}"],
                [PANPIPE, f"Authorization: Basic {right}"],
            ):
                assert await status(*fields) == 401
            in_query = request(server.address, PANPIPE, path=f"/?token={right}")
            assert (await asyncio.to_thread(ask, server.address, in_query))[0] in (401, 404)

    run(serve())


def test_plain_messages_over_a_websocket_may_need_a_token(token: str, run: Run) -> None:
    async def serve() -> None:
        async with panpipe.aio.serve(f"ws://localhost:0?protocol=plain&{token}", bytes.upper) as server:
            async with panpipe.aio.connect(server.address) as peer:
                assert await peer.call("x") == b"X"
            with pytest.raises(panpipe.Unauthenticated, match="401"):
                await panpipe.aio.connect(to(server.address, "protocol=plain"))

    run(serve())


def test_a_fresh_token_is_written_for_its_owner_alone(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "token"
    path.write_text("an old one")
    path.chmod(0o644)

    async def serve() -> str:
        async with make_service().aserve(f"tcp://localhost:0?token=new:{path}") as server:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            async with panpipe.aio.connect(to(server.address, f"token=file:{path}")) as peer:
                assert await peer.call("upper", "x") == "X"
            return path.read_text()

    first, second = run(serve()), run(serve())
    assert first != second
    assert re.fullmatch(r"[!-~]{32,512}\n", first)
    assert os.listdir(tmp_path) == ["token"]


@pytest.mark.parametrize(
    ("option", "kind"),
    [
        ("token=env:PANPIPE_NO_SUCH_VARIABLE", panpipe.NotFound),
        ("token=file:{tmp}/none", panpipe.NotFound),
        ("token=new:{tmp}/none/token", panpipe.NotFound),
        ("token=file:{tmp}/short", panpipe.InvalidAddress),
        ("token=file:{tmp}/spaces", panpipe.InvalidAddress),
        ("token=the-secret-itself-in-the-address", panpipe.InvalidAddress),
        ("framing=lines&token=file:{tmp}/good", panpipe.InvalidAddress),
        ("accept=panpipe,lines&token=file:{tmp}/good", panpipe.InvalidAddress),
    ],
)
def test_tokens_that_are_none(tmp_path: Path, option: str, kind: type[panpipe.Error]) -> None:
    (tmp_path / "short").write_text("fifteen-letters")
    (tmp_path / "spaces").write_text("a secret of several words")
    (tmp_path / "good").write_text("a-secret-that-is-long-enough")
    address = f"tcp://localhost:0?{option.format(tmp=tmp_path)}"
    with pytest.raises(kind) as raised:
        panpipe.listen(address)
    assert "several words" not in str(raised.value)
    if "accept" not in option:
        with pytest.raises(panpipe.Error):
            panpipe.connect(address.replace(":0", ":9"))


# Host and Origin.


def test_which_host_may_be_asked_for(run: Run) -> None:
    async def serve() -> None:
        options = "host=app.example,other.example:8443"
        async with make_service().aserve(f"tcp://localhost:0?accept=panpipe,ws&{options}") as server:
            port = place_of(server.address).rsplit(":", 1)[1]

            async def status(host: str, *fields: str) -> int:
                sent = request(server.address, *fields, host=host)
                return (await asyncio.to_thread(ask, server.address, sent))[0]

            # 400 says that it was let through, and offered no subprotocol.
            for allowed in ("localhost", "127.0.0.1", "[::1]", "LOCALHOST", "app.example"):
                assert await status(f"{allowed}:{port}") == 400, allowed
            for allowed in ("app.example", "app.example:1", "other.example:8443"):
                assert await status(allowed) == 400, allowed
            for refused in ("localhost:1", "localhost", "evil.example", f"evil.example:{port}", "other.example:1"):
                assert await status(refused) == 403, refused
            assert await status(f"localhost:{port}", "Host: localhost") == 400
            nothing = request(server.address).replace(f"Host: localhost:{port}\r\n".encode(), b"")
            assert (await asyncio.to_thread(ask, server.address, nothing))[0] == 400

    run(serve())


def test_whose_pages_may_connect(run: Run, tmp_path: Path) -> None:
    def status(address: str, origin: str) -> int:
        with plain(address) as asking:
            asking.sendall(request(address, PANPIPE, f"Origin: {origin}"))
            return int(asking.recv(12)[9:])

    async def serve() -> None:
        listed = "origin=https://app.example,http://other.example:81"
        async with make_service().aserve(f"ws://localhost:0?{listed}") as server:
            own = f"http://{place_of(server.address)}"
            for origin, expected in {
                "https://app.example": 101,
                "https://app.example:443": 101,
                "HTTPS://APP.example": 101,
                "http://other.example:81": 101,
                "http://other.example": 403,
                "http://app.example": 403,
                "https://app.example:444": 403,
                "https://app.example.evil": 403,
                "null": 403,
                "file://": 403,
                "": 403,
                own: 403,
            }.items():
                assert await asyncio.to_thread(status, server.address, origin) == expected, origin
        async with make_service().aserve(f"ws://localhost:0?static={tmp_path}") as server:
            own = f"http://{place_of(server.address)}"
            for origin, expected in {own: 101, "http://localhost:1": 403, "null": 403}.items():
                assert await asyncio.to_thread(status, server.address, origin) == expected, origin

    run(serve())
