"""The peer of panpipe in Python, on asyncio."""

import asyncio
import os
import sys
from contextlib import AsyncExitStack, suppress

from conversation import BrokenOff, Progress, Request, answer_of, failure_of, tell, texts_of

import panpipe


async def upper(message: bytes) -> bytes:
    return message.upper()


async def serve(request: Request) -> None:
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(panpipe.aio.serve(at, upper)) for at in request["addresses"]]
        tell([{"address": server.address, "pid": os.getpid()} for server in servers])
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def child(address: str) -> None:
    await panpipe.aio.serve(address, upper)


async def call(request: Request) -> None:
    texts = texts_of(request)
    for job in request["jobs"]:
        try:
            tell({"answers": await run(job, texts)})
        except panpipe.Error as error:
            tell(failure_of(error))


async def opened(job: Request) -> list[panpipe.aio.Connection]:
    count = job["connections"] or 1
    if not job["listen"]:
        return [await panpipe.aio.connect(job["address"]) for _ in range(count)]
    async with panpipe.aio.listen(job["address"]) as listener:
        if not job["steps"]:
            return []
        tell([{"address": listener.address, "pid": os.getpid()}])
        return [await listener.accept() for _ in range(count)]


async def run(job: Request, texts: list[bytes]) -> list[object]:
    answers: list[object] = []
    for peer in await opened(job):
        progress = Progress()
        # What could not be written any more, the steps have told.
        with suppress(panpipe.ConnectionLost):
            async with peer:
                for step in job["steps"]:
                    if step == "pause":
                        tell({"answers": answers})
                        answers = []
                        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
                        continue
                    answers.append(answer := await do(peer, step, progress, job, texts))
                    if isinstance(answer, dict) and answer.get("code") == "deadline-exceeded":
                        break
    return answers


async def do(
    peer: panpipe.aio.Connection, step: object, progress: Progress, job: Request, texts: list[bytes]
) -> object:
    try:
        match step:
            case None:
                return answer_of(await peer.recv(), job, texts)
            case int():
                return answer_of(await peer.call(texts[step]), job, texts)
            case {"calls": count}:
                return await asyncio.gather(*(do(peer, text, progress, job, texts) for text in range(count)))
            case _:
                directions = send(peer, step, progress, texts), receive(peer, step, progress, texts)
                sent, received = await asyncio.gather(*directions)
                return {"sent": sent, "received": received}
    except BrokenOff as end:
        return answer_of(end.message, job, texts)
    except panpipe.Error as error:
        return failure_of(error)


async def send(peer: panpipe.aio.Connection, step: dict[str, int], progress: Progress, texts: list[bytes]) -> int:
    for count in range(step["send"]):
        text = texts[progress.sent % step["of"]]
        progress.sent += 1
        try:
            # Out of time, it is cancelled as a task is.
            await asyncio.wait_for(peer.send(text), step["within"] / 1000 or None)
        except panpipe.Error:
            raise
        except TimeoutError:
            return count
    return step["send"]


async def receive(peer: panpipe.aio.Connection, step: dict[str, int], progress: Progress, texts: list[bytes]) -> int:
    for count in range(step["recv"]):
        try:
            message = await asyncio.wait_for(peer.recv(), step["within"] / 1000 or None)
        except panpipe.Error:
            raise
        except TimeoutError:
            return count
        if message != texts[progress.received % step["of"]]:
            raise BrokenOff(message)
        progress.received += 1
    return step["recv"]


match sys.argv[1:]:
    case ["child", address]:
        asyncio.run(child(address))
    case [role]:
        asyncio.run({"serve": serve, "call": call}[role](Request.read()))
