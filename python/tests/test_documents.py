"""What the documents say is what there is."""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
# Each example by the name that its first line gives it.
EXAMPLES = {
    name: code
    for code in re.findall(r"```(?:python|js)\n(.*?)```", README, re.DOTALL)
    for name in re.findall(r"\A(?:#|//) (\S+):", code)
}


@pytest.fixture(
    params=["README", "examples/upper/server.py", "examples/upper/server_plain.py", "examples/upper/server.mjs"]
)
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    """The port of a running server: the README's, or an example's."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = EXAMPLES["server.py"] if request.param == "README" else (ROOT / request.param).read_text()
    with start("server.mjs" if request.param.endswith(".mjs") else "server.py", code, port) as server:
        while True:
            assert server.poll() is None
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                pass
        yield port
        server.kill()


def start(name: str, code: str, port: int) -> "subprocess.Popen[bytes]":
    """Runs an example on a free port, in a folder from which Node finds the package."""
    assert "9999" in code
    folder = ROOT / "target" / "readme"
    folder.mkdir(exist_ok=True)
    path = folder / f"{port}-{name}"
    path.write_text(code.replace("9999", str(port)))
    program = "node" if name.endswith(".mjs") else sys.executable
    return subprocess.Popen([program, path], stdout=subprocess.PIPE)


def clients() -> list[object]:
    plain = (ROOT / "examples" / "upper" / "client_plain.mjs").read_text()
    readme = [pytest.param(name, EXAMPLES[name], id=name) for name in ("client.mjs", "client.py")]
    return [*readme, pytest.param("client_plain.mjs", plain, id="client_plain.mjs")]


@pytest.mark.parametrize(("name", "code"), clients())
def test_the_examples_meet(name: str, code: str, port: int) -> None:
    with start(name, code, port) as client:
        assert client.communicate(timeout=30)[0] == b"HELLO, SERVER!\n"


@pytest.mark.parametrize("name", ["client.mjs", "client.py"])
def test_the_readme_and_the_examples_folder_say_the_same(name: str) -> None:
    def statements(code: str) -> list[str]:
        lines = (line for line in code.splitlines() if not re.match(r'#|//|"""', line))
        return [line for line in lines if line]

    assert statements(EXAMPLES[name]) == statements((ROOT / "examples" / "upper" / name).read_text())


def test_the_rust_example_is_the_one_that_is_compiled() -> None:
    code = re.findall(r"```rust\n// .*?\n(.*?)```", README, re.DOTALL)[0]
    example = (ROOT / "crates/panpipe/examples/upper_client.rs").read_text()
    for line in code.splitlines():
        assert f"    {line}\n" in example


def test_the_commands_of_the_readme_work(tmp_path: Path) -> None:
    command = ROOT / "target" / "release" / "panpipe"
    block = re.findall(r"```sh\n# On the command line.*?\n(.*?)```", README, re.DOTALL)[0]
    _, *serves = re.findall(r"panpipe (\w+) '(.*?)' (.*)", block)
    assert len(serves) == 2
    for verb, address, handler in serves:
        with subprocess.Popen(
            [command, verb, address, *handler.split()], cwd=tmp_path, stderr=subprocess.PIPE
        ) as server:
            assert server.stderr is not None
            assert server.stderr.readline().startswith(b"listening on ")
            call = subprocess.run([command, "call", address, "Hello, server!"], cwd=tmp_path, capture_output=True)
            assert call.stdout == b"HELLO, SERVER!\n"
            server.terminate()
    assert list(tmp_path.iterdir()) == []


def test_the_tables_of_the_methods_are_up_to_date() -> None:
    written = subprocess.run([ROOT / "tools" / "methods"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs" / "methods.md").read_text() == written, "run make docs"
