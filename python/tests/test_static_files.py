"""Files that a port gives out over HTTP."""

import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import panpipe
import panpipe.aio

from conftest import Program, place_of, plain, to
from raw_websocket import ask


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of files, beside what is not to be given out."""
    site = tmp_path / "site"
    (site / "sub").mkdir(parents=True)
    (site / ".git").mkdir()
    for name, text in {
        "site/index.html": "<h1>Hällo</h1>",
        "site/sub/index.html": "sub",
        "site/app.js": "export {};",
        "site/app.mjs": "export {};",
        "site/style.css": "p {}",
        "site/data.json": "{}",
        "site/picture.svg": "<svg/>",
        "site/notes.txt": "notes",
        "site/unknown.xyz": "?",
        "site/with space.txt": "space",
        "site/.env": "SECRET",
        "site/.git/config": "SECRET",
        "outside.txt": "SECRET",
    }.items():
        (tmp_path / name).write_text(text)
    (site / "module.wasm").write_bytes(b"\0asm")
    (site / "big.bin").write_bytes(bytes(5_000_000))
    (site / "empty.txt").write_bytes(b"")
    (site / "link.txt").symlink_to(tmp_path / "outside.txt")
    (site / "inside.txt").symlink_to("notes.txt")
    (site / "up").symlink_to("..")
    os.mkfifo(site / "fifo")
    return site


@pytest.fixture
def web(site: Path, program: Callable[[str], Program]) -> str:
    """The address of a service that gives out the files."""
    return program(
        f"""
import panpipe
service = panpipe.Service()
service.method(name="upper")(str.upper)
listener = panpipe.listen("tcp://localhost:0?accept=panpipe,ws&static={site}")
print(listener.address, flush=True)
service.serve(listener)
"""
    ).line()


def get(address: str, path: str, method: str = "GET") -> Any:
    """What urllib says of a file."""
    asked = urllib.request.Request(f"http://{place_of(address)}{path}", method=method)
    return urllib.request.urlopen(asked, timeout=30)


def test_files_are_given_out_as_what_they_are(web: str, site: Path) -> None:
    for path, kind in {
        "/": "text/html; charset=utf-8",
        "/index.html": "text/html; charset=utf-8",
        "/sub/": "text/html; charset=utf-8",
        "/app.js": "text/javascript; charset=utf-8",
        "/app.mjs": "text/javascript; charset=utf-8",
        "/style.css": "text/css; charset=utf-8",
        "/data.json": "application/json",
        "/picture.svg": "image/svg+xml",
        "/notes.txt": "text/plain; charset=utf-8",
        "/notes.txt?version=2": "text/plain; charset=utf-8",
        "/with%20space.txt": "text/plain; charset=utf-8",
        "/inside.txt": "text/plain; charset=utf-8",
        "/module.wasm": "application/wasm",
        "/unknown.xyz": "application/octet-stream",
        "/big.bin": "application/octet-stream",
        "/empty.txt": "text/plain; charset=utf-8",
    }.items():
        name = path.split("?")[0].replace("%20", " ")[1:]
        content = (site / (f"{name}index.html" if name.endswith("/") or not name else name)).read_bytes()
        with get(web, path) as answer:
            assert answer.headers["Content-Type"] == kind, path
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cache-Control"] == "no-cache"
            assert answer.headers["Connection"] == "close"
            assert answer.headers["Content-Length"] == str(len(content))
            assert answer.read() == content, path
        with get(web, path, "HEAD") as answer:
            assert answer.headers["Content-Length"] == str(len(content))
            assert answer.read() == b""


@pytest.mark.parametrize(
    "path",
    [
        "/none",
        "/.env",
        "/.git/config",
        "/sub/.hidden",
        "/../outside.txt",
        "/sub/../../outside.txt",
        "/%2e%2e/outside.txt",
        "/..%2foutside.txt",
        "/sub%2findex.html",
        "/link.txt",
        "/up/outside.txt",
        "/fifo",
        "/index.html/",
        "//etc/passwd",
        "/a%00b",
        "/notes.txt%0a",
    ],
)
def test_nothing_else_is_given_out(web: str, path: str) -> None:
    # urllib would tidy the path up.
    sent = f"GET {path} HTTP/1.1\r\nHost: {place_of(web)}\r\n\r\n".encode()
    status, _, body = ask(web, sent)
    assert status in (400, 404)
    assert b"SECRET" not in body


def test_what_else_is_asked_for(web: str) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        sent = f"{method} / HTTP/1.1\r\nHost: {place_of(web)}\r\nContent-Length: 0\r\n\r\n".encode()
        asked = plain(web)
        asked.sendall(sent)
        answer = asked.makefile("rb").read()
        assert b"HTTP/1.1 405 " in answer or b"bad-peer" in answer, answer
    with pytest.raises(urllib.error.HTTPError) as raised:
        get(web, "/none")
    with raised.value as refused:
        assert refused.code == 404
        assert refused.headers["Content-Type"].startswith("text/plain")
    rebound = f"GET / HTTP/1.1\r\nHost: evil.example:{place_of(web).rsplit(':', 1)[1]}\r\n\r\n".encode()
    assert ask(web, rebound)[0] == 403
    # The page's own WebSocket, and one of another path.
    with panpipe.connect(to(web, scheme="ws")) as peer:
        assert peer.call("upper", "x") == "X"
    with pytest.raises(panpipe.NotFound):
        panpipe.connect(to(web, scheme="ws") + "/elsewhere")


def test_a_file_that_nobody_reads_keeps_nobody_waiting(web: str) -> None:
    slow = [plain(web) for _ in range(10)]
    for each in slow:
        each.sendall(f"GET /big.bin HTTP/1.1\r\nHost: {place_of(web)}\r\n\r\n".encode())
    with get(web, "/notes.txt") as answer:
        assert answer.read() == b"notes"
    for each in slow:
        assert each.recv(12) == b"HTTP/1.1 200"


def test_a_folder_that_is_not_there() -> None:
    with pytest.raises(panpipe.NotFound):
        panpipe.listen("ws://localhost:0?static=/no/such/folder")
    with pytest.raises(panpipe.InvalidAddress, match="HTTP"):
        panpipe.listen("tcp://localhost:0?static=/tmp")
