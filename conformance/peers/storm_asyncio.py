"""A client on asyncio that a signal interrupts ten thousand times a second: ``storm_asyncio.py ADDRESS``."""

import asyncio
import sys
import time

import storm

import panpipe


async def main() -> None:
    async with panpipe.aio.connect(sys.argv[1]) as peer:
        for number in range(storm.CALLS):
            assert await peer.call(b"call %d" % number, timeout=storm.PATIENCE) == b"CALL %d" % number
        for number in range(storm.LARGE_ONES):
            await peer.send(storm.large(number))
            async with asyncio.timeout(storm.PATIENCE):
                assert await peer.recv() == storm.large(number).upper()
        before = time.process_time()
        try:
            async with asyncio.timeout(storm.QUIET):
                await peer.recv()
            raise AssertionError("nothing was to come")
        except TimeoutError:
            storm.report(time.process_time() - before)


storm.begin()
asyncio.run(main())
