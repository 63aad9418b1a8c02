"""``panpipe stubs``: what it writes is accepted by each language's own checker, and calls."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = ROOT / "target" / "release" / "panpipe"

GARDEN = '''
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import panpipe

@dataclass
class Leaf:
    colour: Literal["green", "red"]
    veins: list["Leaf"] = field(default_factory=list)

@dataclass
class Plant:
    name: str
    height: float
    leaf: Leaf | None = None
    planted: datetime | None = None
    notes: dict[str, int | str] = field(default_factory=dict)

service = panpipe.Service("garden", "1.0")

@service.method
def upper(text: str) -> str:
    """The text in capitals.

    What is "quoted" ends no \\\\ comment */ of any language.
    """
    return text.upper()

@service.method
def grow(plant: Plant, by: float = 1.0, *, watered: bool = True) -> Plant:
    return Plant(plant.name, plant.height + by * watered, plant.leaf, plant.planted, plant.notes)

@service.method(name="garden.data-of")
def data_of(place: tuple[int, str], data: bytes) -> bytes:
    return data * place[0]

@service.method
def count(to: int, class_: int = 1) -> Iterator[int]:
    yield from range(0, to, class_)

@service.method
async def total(numbers: AsyncIterator[int]) -> int:
    return sum([number async for number in numbers])

@service.method(name="return")
def nothing() -> None: ...

with panpipe.listen("unix:@panpipe-test-*") as listener:
    print(listener.address, flush=True)
    service.serve(listener)
'''

PYTHON = """
import asyncio
import sys

import panpipe.aio
from client import Client, Plant


async def main() -> None:
    async with panpipe.aio.connect(sys.argv[1]) as peer:
        assert isinstance(peer, panpipe.aio.Peer)
        client = Client(peer)
        oak: Plant = {"name": "oak", "height": 1.5, "leaf": {"colour": "green"}}
        taller = await client.grow(oak, by=2.0)
        data: bytes = await client.garden_data_of([2, "x"], b"ab")
        print(await client.upper("hello"), taller["height"], data, [n async for n in client.count(6, class_=2)])
        await client.return_()
        print(await client.total([1, 2, 3]))


asyncio.run(main())
"""

TYPESCRIPT = """
import { connect, type Peer } from "panpipe";
import { Client, type Plant } from "./client.js";

const peer = await connect<Peer>(process.argv[2]!);
const client = new Client(peer);
const oak: Plant = { name: "oak", height: 1.5, leaf: { colour: "green" } };
const taller: Plant = await client.grow(oak, { by: 2 });
const data: Uint8Array = await client.gardenDataOf([2, "x"], new Uint8Array([97, 98]));
const counted: number[] = [];
for await (const number of client.count(6, { class_: 2 })) counted.push(number);
console.log(await client.upper("hello"), taller.height, Buffer.from(data).toString(), counted.join());
console.log(await client.total([1, 2, 3]), await client.return());
await peer.close();
"""

RUST = """
mod client;

use client::{Client, Leaf, Plant};

#[tokio::main(flavor = "current_thread")]
async fn main() -> panpipe::Result<()> {
    let address = std::env::args().nth(1).expect("an address");
    let client = Client(panpipe::connect(&address).await?);
    let leaf = Leaf { colour: "green".to_owned(), veins: None };
    let oak = Plant { name: "oak".to_owned(), height: 1.5, leaf: Some(leaf), planted: None, notes: None };
    let taller: Plant = client.grow(oak, Some(2.0), None).await?;
    let data: panpipe::Bytes = client.garden_data_of((2, "x".to_owned()), "ab".into()).await?;
    let mut counted: Vec<i64> = Vec::new();
    let mut numbers = client.count(6, Some(2));
    while let Some(number) = numbers.next().await {
        counted.push(number?);
    }
    println!("{} {} {data:?} {counted:?}", client.upper("hello".to_owned()).await?, taller.height);
    let (mut numbers, total) = client.total();
    for number in [1, 2, 3] {
        numbers.send(&number.into()).await?;
    }
    numbers.finish();
    client.return_().await?;
    println!("{}", total.await?);
    client.0.close().await
}
"""

MANIFEST = """
[package]
name = "stub"
version = "0.0.0"
edition = "2024"

[dependencies]
panpipe = {{ path = "{root}/crates/panpipe" }}
serde = {{ version = "1", default-features = false, features = ["std", "derive"] }}
tokio = {{ version = "1", features = ["macros", "rt"] }}

[workspace]
"""


@pytest.fixture
def garden(program: Callable[[str], object]) -> str:
    """The address of a service."""
    return str(program(GARDEN).line())  # type: ignore[attr-defined]


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder from which Node finds the package."""
    folder = ROOT / "target" / f"stubs-{os.getpid()}-{request.node.name}"
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    shutil.rmtree(folder)


def run(*command: object, cwd: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
    words = [str(word) for word in command]
    ran = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_in_python(garden: str, folder: Path) -> None:
    (folder / "client.py").write_text(run(COMMAND, "stubs", garden, "--lang", "py", cwd=folder))
    (folder / "main.py").write_text(PYTHON)
    run(sys.executable, "-m", "mypy", "--strict", "client.py", "main.py", cwd=folder)
    assert run(sys.executable, "main.py", garden, cwd=folder) == "HELLO 3.5 b'abab' [0, 2, 4]\n6\n"


def test_in_typescript(garden: str, folder: Path) -> None:
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "client.ts").write_text(run(COMMAND, "stubs", garden, "--lang", "ts", cwd=folder))
    (folder / "main.ts").write_text(TYPESCRIPT)
    tsc = [ROOT / "node_modules" / ".bin" / "tsc", "--strict", "--target", "es2022", "--module", "nodenext"]
    run(*tsc, "--types", "node", "main.ts", cwd=folder)
    assert run("node", "main.js", garden, cwd=folder) == "HELLO 3.5 abab 0,2,4\n6 null\n"


def test_in_rust(garden: str, folder: Path) -> None:
    (folder / "src").mkdir()
    (folder / "Cargo.toml").write_text(MANIFEST.format(root=ROOT))
    shutil.copy(ROOT / "Cargo.lock", folder)
    (folder / "src" / "client.rs").write_text(run(COMMAND, "stubs", garden, "--lang", "rust", cwd=folder))
    (folder / "src" / "main.rs").write_text(RUST)
    run("cargo", "build", "--quiet", "--offline", "--target-dir", ROOT / "target" / "stubs", cwd=folder)
    program = ROOT / "target" / "stubs" / "debug" / "stub"
    assert run(program, garden, cwd=folder) == 'HELLO 3.5 b"abab" [0, 2, 4]\n6\n'
