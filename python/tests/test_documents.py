"""What the documents say is what there is."""

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
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


@contextlib.contextmanager
def serving(name: str, code: str) -> Iterator[int]:
    """The port of a service of the README, which ends as it is told to."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with start(name, code, port) as service:
        while True:
            assert service.poll() is None
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                pass
        yield port
        service.terminate()
        # It has answered whoever it had to.
        assert service.wait(timeout=30) in (0, -signal.SIGTERM)


@pytest.fixture
def service_port() -> Iterator[int]:
    """The port of the README's service."""
    with serving("service.py", EXAMPLES["service.py"]) as port:
        yield port


def test_the_port_for_all_of_the_readme_takes_all(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("here")
    code = EXAMPLES["everybody.py"].replace("static=page", f"static={tmp_path}")
    command = ROOT / "target" / "release" / "panpipe"
    with serving("everybody.py", code) as port:
        for scheme in ("tcp", "ws"):
            words = [command, "call", f"{scheme}://localhost:{port}", "upper", "Hello, server!"]
            assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "HELLO, SERVER!\n"
        with socket.create_connection(("localhost", port)) as person:
            person.sendall(b"hello\n")
            assert person.recv(100) == b"HELLO\n"
        with urllib.request.urlopen(f"http://localhost:{port}/") as page:
            assert page.read() == b"here"


@pytest.mark.parametrize("name", ["caller.mjs", "caller.py"])
def test_the_callers_of_the_readme_meet_its_service(name: str, service_port: int) -> None:
    with start(name, EXAMPLES[name], service_port) as caller:
        assert caller.communicate(timeout=30)[0] == b"HELLO, SERVER!\n3\n2\n1\n"


def test_the_commands_of_the_readme_reach_its_service(service_port: int) -> None:
    command = ROOT / "target" / "release" / "panpipe"
    block = re.findall(r"```sh\n# The service, from the shell.\n(.*?)```", README, re.DOTALL)[0]
    lines = [shlex.split(line.replace("9999", str(service_port))) for line in block.splitlines()]
    said = [subprocess.run([command, *line[1:]], capture_output=True, text=True, check=True).stdout for line in lines]
    assert said[0] == "HELLO, SERVER!\n"
    assert "upper(text: string)" in said[1]
    assert "countdown" in said[2]


def test_the_parent_of_the_readme_has_its_child(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(EXAMPLES["parent.py"])
    parent = subprocess.run([sys.executable, tmp_path / "parent.py"], capture_output=True, text=True, timeout=30)
    assert (parent.stdout, parent.stderr) == ("HELLO, CHILD!\n", "")


@pytest.mark.parametrize("name", ["client.mjs", "client.py"])
def test_the_readme_and_the_examples_folder_say_the_same(name: str) -> None:
    def statements(code: str) -> list[str]:
        lines = (line for line in code.splitlines() if not re.match(r'#|//|"""', line))
        return [line for line in lines if line]

    assert statements(EXAMPLES[name]) == statements((ROOT / "examples" / "upper" / name).read_text())


def test_the_rust_example_is_the_one_that_is_compiled() -> None:
    blocks = re.findall(r"```rust\n// .*?\n(.*?)```", README, re.DOTALL)
    for code, name in zip(blocks, ["upper_caller", "upper_client"], strict=True):
        example = (ROOT / f"crates/panpipe/examples/{name}.rs").read_text()
        for line in code.splitlines():
            assert f"    {line}\n" in example


def test_the_commands_of_the_readme_work(tmp_path: Path) -> None:
    command = ROOT / "target" / "release" / "panpipe"
    block = re.findall(r"```sh\n# On the command line, with.*?\n(.*?)```", README, re.DOTALL)[0]
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


def test_the_command_of_the_readme_serves_and_calls() -> None:
    command = ROOT / "target" / "release" / "panpipe"
    block = re.findall(r"```sh\n# On the command line, as a service.*?\n(.*?)```", README, re.DOTALL)[0]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    serve, call = (shlex.split(line.replace("9999", port))[1:] for line in block.splitlines())
    with subprocess.Popen([command, *serve], stderr=subprocess.PIPE) as server:
        assert server.stderr is not None
        assert server.stderr.readline().startswith(b"listening on ")
        answer = subprocess.run([command, *call], capture_output=True, text=True, timeout=30)
        assert answer.stdout == "HELLO, SERVER!\n"
        server.terminate()


def test_the_tables_of_the_methods_are_up_to_date() -> None:
    written = subprocess.run([ROOT / "tools" / "methods"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs" / "methods.md").read_text() == written, "run make docs"


def test_a_tool_that_is_too_old_or_missing_is_named_before_anything_is_built(tmp_path: Path) -> None:
    for name, prints in {"node": "v18.20.1", "cargo": "cargo 1.70.0 (ec8a8a0ca 2023-04-25)"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{prints}'\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    check = subprocess.run(["make", "build"], cwd=ROOT, env={"PATH": path}, capture_output=True, text=True)
    assert check.returncode != 0
    assert "panpipe needs node 20.19 or newer (found: 18.20.1)\n  hint: " in check.stderr
    assert "panpipe needs cargo 1.88 or newer (found: 1.70.0)\n  hint: " in check.stderr
    assert "cargo build" not in check.stdout


def test_the_demonstration_says_who_has_its_port() -> None:
    owner = f"process {os.getpid()}: "
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(socket.create_server(("127.0.0.1", 9999)))
        except OSError:
            owner = "process "  # somebody else's, which will do as well
        demo = subprocess.run([sys.executable, ROOT / "demo" / "demo.py"], capture_output=True, text=True)
    assert demo.returncode == 1
    assert demo.stdout == ""
    assert demo.stderr.startswith(f"demo: port 9999 is taken by {owner}")
    assert "\nhint: " in demo.stderr
