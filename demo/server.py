"""The demonstration's server: upper-cases on all the addresses it is given, and prints the real ones."""

import asyncio
import contextlib
import json
import sys

import panpipe.aio


async def main(addresses: list[str]) -> None:
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(panpipe.aio.serve(address, bytes.upper)) for address in addresses]
        print(json.dumps([server.address for server in servers]), flush=True)
        await asyncio.gather(*(server.wait() for server in servers))


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main(sys.argv[1:]))
