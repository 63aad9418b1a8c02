"""One port for peers of panpipe, WebSockets and plain sockets; who gets in, and what files it gives out."""

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import panpipe
import panpipe.aio

from certificates import Certificates
from conftest import Program, plain, to
from raw_websocket import BINARY, RawWebSocket, ask, frame, request

Run = Callable[[Coroutine[Any, Any, Any]], Any]

EVERYBODY = "tcp://localhost:0?accept=panpipe,ws,lines"
PANPIPE = "Sec-WebSocket-Protocol: panpipe"

NET = 10
"""Seconds that a test waits for what must come: only a failure takes so long."""


def make_service() -> panpipe.Service:
    service = panpipe.Service()
    service.method(name="upper")(str.upper)
    service.plain(lambda message: message.upper())
    return service


def line_from(connected: socket.socket, sent: bytes) -> bytes:
    """What a plain socket gets back for a line."""
    connected.sendall(sent)
    with connected.makefile("rb") as file:
        return file.readline()


async def line(connected: socket.socket, sent: bytes) -> bytes:
    return await asyncio.to_thread(line_from, connected, sent)


# Who is who.


def test_a_service_answers_each_in_its_own_way(run: Run) -> None:
    async def serve() -> None:
        async with make_service().aserve(EVERYBODY) as server:
            person = plain(server.address)
            assert await line(person, b"Hello, server!\n") == b"HELLO, SERVER!\n"
            async with panpipe.aio.connect(to(server.address)) as peer:
                assert await peer.call("upper", "tcp") == "TCP"
                assert len(server.peers) == 1
            async with panpipe.aio.connect(to(server.address, scheme="ws")) as peer:
                assert await peer.call("upper", "ws") == "WS"
            async with panpipe.aio.connect(to(server.address, "protocol=plain", scheme="ws")) as page:
                assert await page.call("two\nlines") == b"TWO\nLINES"
            async with panpipe.aio.connect(to(server.address, "framing=lines")) as lines:
                assert await lines.call("lines") == b"LINES"
            assert await line(person, b"again\n") == b"AGAIN\n"

    run(serve())


def test_a_service_serves_them_in_a_thread_of_its_own(program: Callable[[str], Program]) -> None:
    serving = program(
        f"""
import panpipe
service = panpipe.Service()
service.method(name="upper")(str.upper)
@service.plain
async def shout(message): return message.upper()
listener = panpipe.listen({EVERYBODY!r})
print(listener.address, flush=True)
panpipe.serve(listener, service)
"""
    )
    address = serving.line()
    assert line_from(plain(address), b"one\n") == b"ONE\n"
    for options in ({"scheme": "tcp"}, {"scheme": "ws"}):
        with panpipe.connect(to(address, **options)) as peer:
            assert peer.call("upper", "two") == "TWO"
    with panpipe.connect(to(address, "protocol=plain", scheme="ws")) as page:
        assert page.call("three") == b"THREE"
    serving.process.send_signal(signal.SIGTERM)
    assert serving.end() == (0, "", "")


def test_all_of_it_over_tls(certificates: Certificates, run: Run) -> None:
    async def serve() -> None:
        listened = f"tls://localhost:0?accept=panpipe,ws,lines&{certificates.server.options}"
        async with make_service().aserve(listened) as server:
            trust = f"ca={certificates.ca}"
            # The hello and the call come in one piece: nothing follows that would announce them.
            for scheme in ("tls", "wss"):
                async with panpipe.aio.connect(to(server.address, trust, scheme=scheme)) as peer:
                    assert await peer.call("upper", scheme) == scheme.upper()
            async with panpipe.aio.connect(to(server.address, f"framing=lines&{trust}")) as lines:
                assert await lines.call("lines") == b"LINES"
            async with panpipe.aio.connect(to(server.address, f"protocol=plain&{trust}", scheme="wss")) as page:
                assert await page.call("page") == b"PAGE"

    run(serve())


def test_listeners_accept_each_as_what_it_is(run: Run) -> None:
    def connections(address: str) -> list[Any]:
        ends = [
            panpipe.connect(to(address)),
            panpipe.connect(to(address, "framing=lines")),
            panpipe.connect(to(address, scheme="ws")),
            panpipe.connect(to(address, "protocol=plain", scheme="ws")),
        ]
        ends[1].send("lines")
        ends[3].send("page")
        return ends

    def check(accepted: list[Any], face: Any) -> None:
        plain_ones = [each for each in accepted if isinstance(each, face.Connection)]
        assert len(plain_ones) == 2
        assert all(isinstance(each, face.Peer | face.Connection) for each in accepted)

    with panpipe.listen(EVERYBODY) as listener, ThreadPoolExecutor() as pool:
        connecting = pool.submit(connections, listener.address)
        accepted = [listener.accept(timeout=NET) for _ in range(4)]
        check(accepted, panpipe)
        got = {each.recv(timeout=NET) for each in accepted if isinstance(each, panpipe.Connection)}
        assert got == {b"lines", b"page"}
        for each in [*accepted, *connecting.result()]:
            each.close()

    async def accept() -> None:
        async with panpipe.aio.listen(EVERYBODY) as listener:
            connecting = asyncio.create_task(asyncio.to_thread(connections, listener.address))
            accepted = [await listener.accept() for _ in range(4)]
            check(accepted, panpipe.aio)
            got = {await each.recv() for each in accepted if isinstance(each, panpipe.aio.Connection)}
            assert got == {b"lines", b"page"}
            for each in accepted:
                await each.close()
            for each in await connecting:
                each.close()

    run(accept())


def test_the_handlers_of_plain_messages(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    def handle(message: str) -> Any:
        match message.split():
            case ["number"]:
                return 5
            case ["nothing"]:
                return None
            case ["raise"]:
                raise KeyError("no such thing")
            case ["thread"]:
                return str(threading.current_thread() is threading.main_thread())
            case ["who"]:
                peer = panpipe.current().peer
                return f"{type(peer).__name__} {panpipe.current().remaining}"
            case _:
                return message.upper().encode()

    async def handle_async(message: str) -> Any:
        await asyncio.sleep(0)
        return handle(message)

    async def use(register: Callable[[panpipe.Service], object], thread: bool) -> None:
        service = panpipe.Service()
        register(service)
        async with service.aserve("tcp://localhost:0?accept=panpipe,lines&text=true") as server:

            async def say(*lines: str) -> list[str]:
                person = plain(server.address)
                person.sendall("".join(f"{line}\n" for line in lines).encode())
                person.shutdown(socket.SHUT_WR)
                answer = await asyncio.to_thread(lambda: person.makefile("rb").read())
                return answer.decode().splitlines()

            assert await say("one", "nothing", "", "zwö") == ["ONE", "", "ZWÖ"]
            assert await say("who", "thread") == ["Connection None", str(not thread)]
            caplog.clear()
            assert await say("one", "raise", "two") == ["ONE"]
            assert "no such thing" in caplog.text
            assert await say("one", "number", "two") == ["ONE"]
            assert "bytes or a string, not int" in caplog.text

    run(use(lambda service: service.plain(handle), False))
    run(use(lambda service: service.plain(handle_async), False))
    run(use(lambda service: service.plain(thread=True)(handle), True))


def test_a_handler_is_given_once_and_runs_where_it_can() -> None:
    service = panpipe.Service()

    @service.plain
    def first(message: bytes) -> bytes:
        return message

    with pytest.raises(ValueError, match="already"):
        service.plain(first)

    async def coroutine(message: bytes) -> bytes:
        return message

    with pytest.raises(TypeError, match="thread"):
        panpipe.Service().plain(thread=True)(coroutine)


def test_a_service_without_a_handler_is_refused_before_it_listens(tmp_path: Path, run: Run) -> None:
    service = panpipe.Service()
    token = tmp_path / "token"
    for address in (
        "tcp://localhost:0?accept=panpipe,lines",
        "tcp://localhost:0?accept=ws,lines",
        "tcp://localhost:0?framing=lines",
        f"ws://localhost:0?protocol=plain&token=new:{token}",
    ):

        async def serve(address: str) -> None:
            await asyncio.wait_for(service.aserve(address), NET)

        with pytest.raises(panpipe.Unsupported, match="plain") as raised:
            run(serve(address))
        assert raised.value.ran == "no"
        with pytest.raises(panpipe.Unsupported, match="plain"):
            panpipe.serve(address, service)
    assert not token.exists()
    with panpipe.listen(EVERYBODY) as listener, pytest.raises(panpipe.Unsupported):
        panpipe.serve(listener, service)
    with pytest.raises(panpipe.Unsupported):
        make_service().serve("tcp://localhost:0?framing=lines")


def test_a_handler_alone_does_not_answer_peers_of_panpipe(run: Run) -> None:
    with pytest.raises(panpipe.Unsupported, match="leave panpipe out of accept"):
        panpipe.serve(EVERYBODY, bytes.upper)

    async def serve() -> None:
        await panpipe.aio.serve(EVERYBODY, bytes.upper)

    with pytest.raises(panpipe.Unsupported, match="leave panpipe out of accept"):
        run(serve())


@pytest.mark.parametrize("face", ["blocking", "asyncio"])
def test_a_handler_alone_answers_people_and_pages(upper: Callable[[str], str], run: Run, face: str) -> None:
    def use(address: str) -> None:
        silent = plain(address)
        assert line_from(plain(address), b"GEORGE\n") == b"GEORGE\n"
        assert line_from(plain(address), b"x\n") == b"X\n"
        with panpipe.connect(to(address, "protocol=plain", scheme="ws")) as page:
            assert page.call("two\nlines") == b"TWO\nLINES"
        # It has been taken for a person by then, or will be.
        assert line_from(silent, b"late\n") == b"LATE\n"

    async def serve() -> None:
        async with panpipe.aio.serve("tcp://localhost:0?accept=ws,lines", bytes.upper) as server:
            await asyncio.to_thread(use, server.address)

    if face == "asyncio":
        run(serve())
    else:
        use(upper("tcp://localhost:0?accept=ws,lines"))


def test_a_service_with_a_handler_may_have_plain_peers_alone(run: Run) -> None:
    async def serve() -> None:
        async with make_service().aserve("tcp://localhost:0?accept=ws,lines") as server:
            assert await line(plain(server.address), b"x\n") == b"X\n"
            async with panpipe.aio.connect(to(server.address)) as peer:
                with pytest.raises(panpipe.Unsupported) as raised:
                    await peer.call("upper", "x")
                assert raised.value.ran == "no"

    run(serve())


def test_accept_is_for_listening(run: Run) -> None:
    with pytest.raises(panpipe.InvalidAddress, match="accept is for listening"):
        panpipe.connect("tcp://localhost:9?accept=panpipe,lines")

    async def connect() -> None:
        await panpipe.aio.connect("tcp://localhost:9?accept=panpipe,lines")

    with pytest.raises(panpipe.InvalidAddress, match="accept is for listening"):
        run(connect())


# How long, how many.


def test_who_types_slowly_is_a_person(run: Run) -> None:
    async def serve() -> None:
        async with make_service().aserve(EVERYBODY) as server:
            slow, slower = plain(server.address), plain(server.address)
            slower.sendall(b"GE")
            await asyncio.sleep(1.5)
            assert await line(slow, b"hello\n") == b"HELLO\n"
            assert await line(slower, b"ORGE\n") == b"GEORGE\n"

    run(serve())


def test_a_connection_with_much_to_handle_leaves_others_their_turn(run: Run) -> None:
    handled: list[bytes] = []
    service = panpipe.Service()
    service.plain(lambda message: handled.append(message))

    async def serve() -> None:
        async with (
            service.aserve("tcp://localhost:0?accept=panpipe,lines") as server,
            panpipe.aio.connect(to(server.address, "framing=lines")) as peer,
        ):
            for _ in range(20_000):
                await peer.send("x")
            turns = 0
            while len(handled) < 20_000:
                turns += 1
                await asyncio.sleep(0)
            assert turns >= 20_000 / 64

    run(serve())


def test_who_does_not_read_its_replies_gets_no_more_handled(run: Run) -> None:
    handled = 0
    service = panpipe.Service()

    @service.plain
    def answer(message: bytes) -> bytes:
        nonlocal handled
        handled += 1
        return b"x" * (1 << 20)

    async def serve() -> None:
        nonlocal handled
        async with service.aserve("tcp://localhost:0?accept=panpipe,lines&timeout=100ms") as server:
            greedy = plain(server.address)
            greedy.sendall(b"more\n" * 100)
            before = -1
            while handled > before:
                before = handled
                await asyncio.sleep(0.2)
            assert 0 < handled < 30
            begun = time.monotonic()
            await server.close(grace=0.2)
            assert time.monotonic() - begun < 3

    run(serve())


def test_so_many_connections_of_both_kinds_and_no_more(run: Run) -> None:
    async def serve() -> None:
        async with make_service().aserve(f"{EVERYBODY}&connections=2") as server:
            person = plain(server.address)
            assert await line(person, b"x\n") == b"X\n"
            peer = await panpipe.aio.connect(to(server.address))
            assert await peer.call("upper", "x") == "X"
            waiting = plain(server.address)
            waiting.sendall(b"waits\n")
            waiting.setblocking(False)
            loop = asyncio.get_running_loop()
            answering = asyncio.ensure_future(loop.sock_recv(waiting, 100))
            await asyncio.wait([answering], timeout=0.1)
            assert not answering.done()
            person.close()
            assert await asyncio.wait_for(answering, NET) == b"WAITS\n"
            await peer.close()

    run(serve())


def test_draining_lets_the_message_that_is_handled_be_answered(run: Run) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    service = panpipe.Service()

    @service.method
    async def slow() -> str:
        await go_on.wait()
        return "answered"

    @service.plain
    async def answer(message: bytes) -> bytes:
        begun.set()
        await go_on.wait()
        return message.upper()

    async def serve() -> None:
        server = await service.aserve(EVERYBODY).open()
        idle, person = plain(server.address), plain(server.address)
        page = await asyncio.to_thread(RawWebSocket.to, server.address)
        person.sendall(b"first\nsecond\n")
        await begun.wait()
        async with panpipe.aio.connect(to(server.address)) as peer:
            calling = asyncio.ensure_future(peer.call("slow"))
            await asyncio.sleep(0.05)
            closing = asyncio.ensure_future(server.close())
            # Who has nothing on its way is let go at once.
            assert await asyncio.to_thread(idle.recv, 1) == b""
            assert (await asyncio.to_thread(page.read_close))[0] == 1000
            assert not closing.done()
            go_on.set()
            assert await calling == "answered"
            answered = await asyncio.to_thread(lambda: person.makefile("rb").read())
            assert answered == b"FIRST\n"
            await closing
        await server.wait()
        with pytest.raises(ConnectionRefusedError):
            plain(server.address)

    run(serve())


def test_what_does_not_end_in_time_is_cancelled(run: Run) -> None:
    ended: list[str] = []
    begun = asyncio.Event()
    service = panpipe.Service()

    @service.plain
    async def hang(message: bytes) -> None:
        begun.set()
        try:
            await asyncio.sleep(100)
        finally:
            ended.append("hang")

    async def serve() -> None:
        server = await service.aserve(EVERYBODY).open()
        person = plain(server.address)
        person.sendall(b"x\n")
        await begun.wait()
        await server.close(grace=0.05)
        assert ended == ["hang"]
        assert await asyncio.to_thread(person.recv, 1) == b""

    run(serve())


def test_a_plain_handler_can_close_its_own_server(run: Run) -> None:
    service = panpipe.Service()

    async def serve() -> None:
        @service.plain
        async def stop(message: bytes) -> bytes:
            await server.close()
            return b"closed"

        server = await service.aserve(EVERYBODY).open()
        other, person = plain(server.address), plain(server.address)
        assert await line(person, b"stop\n") == b"closed\n"
        await asyncio.wait_for(server.wait(), NET)
        for each in (other, person):
            assert await asyncio.to_thread(each.recv, 1) == b""

    run(serve())


def test_a_peer_that_leaves_or_breaks_a_rule_takes_nobody_with_it(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def serve() -> None:
        async with make_service().aserve(f"{EVERYBODY}&max=1000") as server:
            gone, loud = plain(server.address), plain(server.address)
            page = await asyncio.to_thread(RawWebSocket.to, server.address)
            gone.sendall(b"no end of a line")
            gone.close()
            loud.sendall(b"x" * 2000)
            assert await asyncio.to_thread(loud.recv, 1) == b""
            page.socket.sendall(frame(BINARY, b"x" * 2000))
            assert (await asyncio.to_thread(page.read_close))[0] == 1009
            assert await line(plain(server.address), b"x\n") == b"X\n"
            async with asyncio.timeout(NET):
                while caplog.text.count("connection closed") < 3:
                    await asyncio.sleep(0)
        assert caplog.text.count("too-large") == 2
        assert caplog.text.count("connection-lost") == 1

    run(serve())


def test_those_who_say_nothing_keep_nobody_out_for_long(run: Run) -> None:
    async def serve() -> None:
        async with make_service().aserve("tcp://localhost:0?accept=panpipe,ws") as server:
            silent = [plain(server.address) for _ in range(64)]
            begun = time.monotonic()
            async with panpipe.aio.connect(to(server.address, "timeout=20s")) as peer:
                assert await peer.call("upper", "x") == "X"
            # The first of them gives way after a second; the others have their five.
            assert 0.9 < time.monotonic() - begun < 3
            for each in silent[:3]:
                answer = await asyncio.to_thread(lambda each=each: each.recv(1000))
                assert b"deadline-exceeded" in answer

    run(serve())


def test_those_who_were_refused_keep_nobody_out(run: Run) -> None:
    async def serve() -> None:
        async with make_service().aserve(EVERYBODY) as server:
            refused = [plain(server.address) for _ in range(64)]
            for each in refused:
                each.sendall(request(server.address, host="evil.example"))
            for each in refused:
                assert (await asyncio.to_thread(each.recv, 12)) == b"HTTP/1.1 403"
            begun = time.monotonic()
            async with panpipe.aio.connect(to(server.address)) as peer:
                assert await peer.call("upper", "x") == "X"
            assert time.monotonic() - begun < 1.5

    run(serve())


def test_threads_accept_and_use_them_at_once() -> None:
    with panpipe.listen(EVERYBODY) as listener, ThreadPoolExecutor(16) as pool:

        def serve_ten() -> None:
            for _ in range(10):
                with listener.accept(timeout=NET) as connection:
                    connection.send(connection.recv(timeout=NET).upper())

        serving = [pool.submit(serve_ten) for _ in range(4)]
        calls = [pool.submit(line_from, plain(listener.address), b"x\n") for _ in range(20)]

        def call_page() -> Any:
            with panpipe.connect(to(listener.address, "protocol=plain", scheme="ws")) as page:
                return page.call("x")

        pages = [pool.submit(call_page) for _ in range(20)]
        assert [each.result(NET) for each in calls] == [b"X\n"] * 20
        assert [each.result(NET) for each in pages] == [b"X"] * 20
        for each in serving:
            each.result(NET)


def test_a_fork_takes_nothing_that_is_its_parents() -> None:
    with panpipe.listen(EVERYBODY) as listener:
        silent = plain(listener.address)
        child = os.fork()
        if child == 0:
            try:
                listener.accept(timeout=NET)
            except panpipe.Closed as error:
                listener.close()
                os._exit(0 if "forked" in str(error) else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        silent.sendall(b"hello\n")
        with listener.accept(timeout=NET) as accepted:
            assert accepted.recv(timeout=NET) == b"hello"


def test_no_thread_but_the_main_one(program: Callable[[str], Program]) -> None:
    counting = program(
        f"""
import asyncio, os, panpipe, panpipe.aio
service = panpipe.Service()
service.plain(lambda message: message.upper())
async def main():
    async with service.aserve({EVERYBODY!r}) as server:
        place = server.address.split("?")[0].replace("tcp", "ws")
        async with panpipe.aio.connect(place + "?protocol=plain") as peer:
            assert await peer.call("x") == b"X"
            print(len(os.listdir("/proc/self/task")), flush=True)
asyncio.run(main())
"""
    )
    assert counting.line() == "1"


# What was not listed.


def test_what_was_not_listed_is_refused(run: Run) -> None:
    async def serve() -> None:
        async with make_service().aserve("tcp://localhost:0?accept=panpipe,ws") as server:
            typed = plain(server.address)
            typed.sendall(b"hello\n")
            assert b"bad-peer" in await asyncio.to_thread(lambda: typed.makefile("rb").read())
            # A WebSocket of plain messages.
            assert (await asyncio.to_thread(ask, server.address, request(server.address)))[0] == 400
        async with make_service().aserve("tcp://localhost:0?accept=panpipe,lines") as server:
            asked = plain(server.address)
            asked.sendall(request(server.address))
            said = await asyncio.to_thread(lambda: asked.makefile("rb").read())
            assert b"HTTP/1.1 101" not in said
        async with make_service().aserve("tcp://localhost:0?accept=ws,lines") as server:
            assert (await asyncio.to_thread(ask, server.address, request(server.address, PANPIPE)))[0] == 400
            with pytest.raises(panpipe.BadPeer, match="400"):
                await panpipe.aio.connect(to(server.address, scheme="ws"))

    run(serve())
