"""The service that every peer offers, in Python; ../README.md lists its methods."""

import asyncio
import os
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from typing import Any

import panpipe


class Trouble(panpipe.RemoteError):
    """What the method ``fail`` fails with."""


def make_service(log: dict[str, Any] | None = None) -> panpipe.Service:
    service = panpipe.Service()
    news, flooded = service.topic("news"), service.topic("flood")
    stopped, produced, notes_of = Counter[str](), Counter[str](), defaultdict[str, list[int]](list)
    running = most = 0
    begun = os.open(log["path"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if log else None

    service.plain(bytes.upper)

    @service.method
    def upper(text: str) -> str:
        return text.upper()

    @service.method
    def add(a: int, b: int) -> int:
        return a + b

    @service.method
    def echo(data: bytes) -> bytes:
        return data

    @service.method
    def values(value: Any) -> Any:
        return value

    @service.method
    async def slow(milliseconds: int) -> int:
        await asyncio.sleep(milliseconds / 1000)
        return milliseconds

    @service.method
    def fail(text: str) -> None:
        raise Trouble(text, data=[1, "two"]) from Trouble("deep")

    @service.method
    async def relay(method: str, value: Any) -> Any:
        return await panpipe.current().peer.call(method, value)

    @service.method
    async def hang(name: Any = None) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            await asyncio.Event().wait()
        finally:
            running -= 1
            if isinstance(name, str):
                stopped[name] += 1

    @service.method(name="stopped")
    def stopped_of(name: str) -> int:
        return stopped[name]

    @service.method
    def most_running() -> int:
        return most

    @service.method
    def countdown(number: int) -> Any:
        yield from range(number, 0, -1)

    @service.method
    async def endless(name: Any = None) -> AsyncIterator[bytes]:
        try:
            while True:
                produced[str(name)] += 1
                yield bytes(1000)
        finally:
            stopped[str(name)] += 1

    @service.method(name="produced")
    def produced_of(name: str) -> int:
        return produced[name]

    @service.method
    async def total(numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    @service.method
    async def double(numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        async for number in numbers:
            yield 2 * number

    @service.method
    async def swallow(items: AsyncIterator[Any]) -> None:
        await asyncio.Event().wait()

    @service.method
    def note(name: str, number: int) -> None:
        notes_of[name].append(number)

    @service.method
    def notes(name: str) -> list[int]:
        return notes_of[name]

    @service.method
    def publish(item: Any) -> None:
        news.publish(item)

    @service.method
    def flood(name: str, count: int) -> None:
        for number in range(count):
            flooded.publish([name, number, bytes(4096)])

    @service.method
    async def begin(number: int, milliseconds: int, data: bytes) -> list[Any]:
        if begun is not None:
            os.write(begun, b"%d\n" % number)
        if milliseconds:
            await asyncio.sleep(milliseconds / 1000)
        return [number, data]

    return service


def own_service() -> panpipe.Service:
    """What servers call back."""
    service = panpipe.Service()

    @service.method
    def greet(name: str) -> str:
        return f"Hello, {name}!"

    @service.method
    def left(value: Any) -> int | None:
        remaining = panpipe.current().remaining
        return None if remaining is None else int(remaining * 1000)

    @service.method
    def refuse(text: str) -> None:
        raise Trouble(text)

    return service
