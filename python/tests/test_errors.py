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
        (panpipe.DeadlineExceeded, TimeoutError),
        (panpipe.ConnectionLost, ConnectionResetError),
        (panpipe.Closed, ConnectionAbortedError),
        (panpipe.AddressInUse, OSError),
        (panpipe.InvalidAddress, ValueError),
        (panpipe.Unsupported, ValueError),
        (panpipe.TooLarge, ValueError),
    ],
)
def test_an_error_is_also_its_standard_twin(kind: type[Exception], twin: type[Exception]) -> None:
    assert issubclass(kind, twin)
    assert issubclass(kind, panpipe.Error)


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


def test_plain_faces_take_no_address_that_means_panpipe() -> None:
    hint = "as framing=length, or protocol=plain"
    address = "unix:@panpipe-test-*"
    with pytest.raises(panpipe.Unsupported, match=hint):
        panpipe.connect(address)
    with pytest.raises(panpipe.Unsupported, match=hint):
        panpipe.pair()
    with pytest.raises(panpipe.Unsupported, match=hint):
        panpipe.spawn(["cat"])
    with pytest.raises(panpipe.Unsupported, match=hint), panpipe.listen(address) as listener:
        listener.accept()
    with pytest.raises(panpipe.Unsupported):
        panpipe.serve(address, bytes.upper)
