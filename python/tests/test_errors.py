import json
from collections.abc import Callable
from pathlib import Path

import pytest

import panpipe
import panpipe.aio
from panpipe import _error

from conftest import plain

VECTORS = Path(__file__).parents[2] / "vectors"


def test_the_codes_are_those_of_the_vectors() -> None:
    codes = [row["code"] for row in json.loads((VECTORS / "errors.json").read_text())]
    assert list(_error._BY_CODE) == codes


def test_methods_and_framings_are_described_in_the_words_of_the_vectors() -> None:
    described = json.loads((VECTORS / "methods.json").read_text())
    assert {"methods": panpipe.methods(), "framings": panpipe.framings()} == described


@pytest.mark.parametrize(
    ("kind", "twin"),
    [
        (panpipe.Refused, ConnectionRefusedError),
        (panpipe.NotFound, FileNotFoundError),
        (panpipe.Permission, PermissionError),
        (panpipe.Unauthenticated, PermissionError),
        (panpipe.DeadlineExceeded, TimeoutError),
        (panpipe.ConnectionLost, ConnectionResetError),
        (panpipe.Closed, ConnectionAbortedError),
        (panpipe.AddressInUse, OSError),
        (panpipe.InvalidAddress, ValueError),
        (panpipe.Unsupported, ValueError),
        (panpipe.TooLarge, ValueError),
        (panpipe.InvalidArguments, TypeError),
        (panpipe.RemoteError, RuntimeError),
    ],
)
def test_an_error_is_also_its_standard_twin(kind: type[Exception], twin: type[Exception]) -> None:
    assert issubclass(kind, twin)
    assert issubclass(kind, panpipe.Error)


def test_what_travels_is_cut_and_what_is_not_understood_is_left_out() -> None:
    error = ValueError("x" * 100_000)
    for _ in range(40):
        cause, error = error, ValueError("outer")
        error.__cause__ = cause
    told = _error.to_map(error, lambda data: True)
    depth, each = 0, told
    while "cause" in each:
        depth, each = depth + 1, each["cause"]
    assert depth == 16
    assert len(_error.to_map(ValueError("x" * 100_000), bool)["message"]) == 16 << 10
    raised = panpipe.NotFound("no such user", data=object())
    assert "data" not in _error.to_map(raised, lambda data: False)

    heard = _error.from_map(
        {"code": "of-tomorrow", "message": 5, "type": "Odd", "via": ["a", 1], "cause": "none", "more": 1},
        "calling x",
        "x",
    )
    assert isinstance(heard, panpipe.RemoteError)
    assert (heard.code, heard.message, heard.type, heard.via, heard.ran) == ("of-tomorrow", "", "Odd", ("a",), "maybe")
    assert isinstance(heard.__cause__, panpipe.BadPeer)
    assert str(heard) == "calling x: of-tomorrow: Odd"
    assert _error.from_map([], "calling x", "x").code == "bad-peer"


@pytest.mark.parametrize(
    "row", json.loads((VECTORS / "address.json").read_text())["invalid"], ids=lambda row: row["address"]
)
def test_a_bad_address(row: dict[str, object]) -> None:
    with pytest.raises(panpipe.Error) as raised:
        panpipe.connect(str(row["address"]))
    assert raised.value.code == row["code"]
    assert raised.value.address == row["address"]
    for mention in row.get("mentions", []):
        assert mention in str(raised.value)


@pytest.mark.parametrize(
    ("use", "address", "code"),
    [
        (panpipe.connect, "tcp://127.0.0.1:1?framing=length", "refused"),
        (panpipe.connect, "tcp://name.invalid:1?insecure=true&framing=length", "not-found"),
        (panpipe.connect, "unix:/nowhere/at/all?framing=length", "not-found"),
        (panpipe.listen, "unix:/nowhere/at/all?framing=length", "not-found"),
        (panpipe.connect, "unix:/tmp/" + "x" * 103 + "?framing=length", "path-too-long"),
        (panpipe.listen, "unix:/tmp/" + "x" * 103 + "?framing=length", "path-too-long"),
        (panpipe.connect, "fd:987?framing=length", "not-found"),
    ],
)
def test_what_cannot_be_opened(use: Callable[[str], object], address: str, code: str) -> None:
    with pytest.raises(panpipe.Error) as raised:
        use(address)
    assert raised.value.code == code
    assert raised.value.ran == "no"
    assert str(raised.value).startswith(f"{raised.value.doing}: {code}: ")
    assert address in raised.value.doing


def test_a_port_in_use() -> None:
    listener = panpipe.listen("tcp://localhost:0?framing=length")
    with pytest.raises(panpipe.AddressInUse):
        panpipe.listen(listener.address)


def test_no_permission(tmp_path: Path, program: Callable[..., object]) -> None:
    path = tmp_path / "a.sock"
    listener = panpipe.listen(f"unix:{path}?framing=length")
    path.chmod(0)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.name.startswith("pytest-"):
            folder.chmod(0o755)
    asking = program(
        f"""
import os, panpipe
if os.getuid() == 0: os.setuid(65534)
try: panpipe.connect("unix:{path}?framing=length")
except panpipe.Permission as error: print(error.code)
"""
    )
    assert asking.line() == "permission"
    listener.close()
    assert not path.exists()


def test_a_message_above_max_is_refused_on_both_sides() -> None:
    one, _other = panpipe.pair("framing=length&max=4")
    with pytest.raises(panpipe.TooLarge):
        one.send("12345")
    listener = panpipe.listen("tcp://127.0.0.1:0?framing=length:u64&max=1GiB")
    for length in (2**32 - 1, 2**63):
        sender = plain(listener.address)
        sender.sendall(length.to_bytes(8, "big"))
        peer = listener.accept()
        assert peer is not None
        with pytest.raises(panpipe.TooLarge):
            peer.recv()


def test_a_broken_length_is_bad_peer() -> None:
    listener = panpipe.listen("tcp://127.0.0.1:0?framing=netstring")
    sender = plain(listener.address)
    sender.sendall(b"x")
    peer = listener.accept()
    assert peer is not None
    with pytest.raises(panpipe.BadPeer):
        peer.recv()


def test_a_function_serves_no_address_that_means_panpipe() -> None:
    with pytest.raises(panpipe.Unsupported, match="as framing=length, or protocol=plain"):
        panpipe.serve("unix:@panpipe-test-*", bytes.upper)
    with pytest.raises(panpipe.Unsupported, match="say protocol=panpipe and no framing"):
        panpipe.serve("unix:@panpipe-test-*?framing=lines", panpipe.Service())
