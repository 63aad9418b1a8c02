"""The peer of panpipe in Python, on asyncio."""

import asyncio
import os
import sys
from contextlib import AsyncExitStack

from conversation import Request, answer_of, failure_of, tell

import panpipe


async def upper(message: bytes) -> bytes:
    return message.upper()


async def serve(request: Request) -> None:
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(panpipe.aio.serve(at, upper)) for at in request["addresses"]]
        tell([{"address": server.address, "pid": os.getpid()} for server in servers])
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def call(request: Request) -> None:
    texts = [bytes.fromhex(text) for text in request["texts"]]
    for job in request["jobs"]:
        try:
            tell({"answers": await run(job, texts)})
        except panpipe.Error as error:
            tell(failure_of(error))


async def run(job: Request, texts: list[bytes]) -> list[object]:
    if job["listen"]:
        async with panpipe.aio.listen(job["address"]):
            return []
    answers = []
    async with panpipe.aio.connect(job["address"]) as peer:
        for step in job["steps"]:
            try:
                reply = await (peer.recv() if step is None else peer.call(texts[step]))
                answers.append(answer_of(reply, job, texts))
            except panpipe.Error as error:
                answers.append(failure_of(error))
                if error.code == "deadline-exceeded":
                    break
    return answers


asyncio.run({"serve": serve, "call": call}[sys.argv[1]](Request.read()))
