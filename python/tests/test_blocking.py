import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import panpipe

from conftest import FRAMINGS, plain


@pytest.mark.parametrize("framing", FRAMINGS)
def test_the_founding_example(place: str, framing: str, upper: Callable[[str], str]) -> None:
    with panpipe.connect(upper(f"{place}?framing={framing}")) as peer:
        assert peer.call("Hello, server!") == b"HELLO, SERVER!"
        peer.send(bytearray(b"again"))
        assert peer.recv() == b"AGAIN"
        assert peer.call(memoryview(b"view")) == b"VIEW"


def test_text_messages_are_strings_both_ways(upper: Callable[[str], str]) -> None:
    with panpipe.connect(upper("unix:@panpipe-test-*?framing=lines&text=true")) as peer:
        assert peer.call("grüße") == "GRÜSSE"


def test_bytes_that_are_not_text_fail_that_message_alone() -> None:
    listener = panpipe.listen("tcp://127.0.0.1:0?framing=lines&text=true")
    sender = plain(listener.address)
    peer = listener.accept()
    assert peer is not None
    sender.sendall(b"\xff\nfine\n")
    with pytest.raises(panpipe.BadPeer):
        peer.recv()
    assert peer.recv() == "fine"
    with pytest.raises(panpipe.Unsupported):
        peer.send(b"\xff")


def test_a_huge_message_does_not_deadlock(upper: Callable[[str], str]) -> None:
    huge = b"x" * 12_000_000
    with panpipe.connect(upper("unix:@panpipe-test-*?framing=length")) as peer:
        assert peer.call(huge) == huge.upper()


def test_recv_answers_none_after_a_clean_close_and_iteration_ends() -> None:
    one, other = panpipe.pair("framing=lines")
    other.send("a")
    other.send("b")
    other.close()
    assert list(one) == [b"a", b"b"]
    assert one.recv() is None


def test_a_close_inside_a_message_is_connection_lost() -> None:
    listener = panpipe.listen("tcp://127.0.0.1:0?framing=length")
    sender = plain(listener.address)
    peer = listener.accept()
    assert peer is not None
    sender.sendall(b"\0\0\0\5hel")
    sender.close()
    with pytest.raises(panpipe.ConnectionLost, match="inside a message"):
        peer.recv()


def test_a_half_closed_client_is_still_answered(upper: Callable[[str], str]) -> None:
    client = plain(upper("tcp://localhost:0?framing=lines"))
    client.sendall(b"one\ntwo\n")
    client.shutdown(1)
    assert client.makefile("rb").read() == b"ONE\nTWO\n"


def test_a_recv_that_gives_up_loses_nothing() -> None:
    one, other = panpipe.pair("framing=lines")
    with pytest.raises(panpipe.DeadlineExceeded):
        one.recv(timeout=0.01)
    other.send("late")
    assert one.recv(timeout=30) == b"late"


def test_a_call_out_of_time_may_have_run_and_its_late_reply_is_dropped() -> None:
    one, other = panpipe.pair("framing=lines")
    with pytest.raises(panpipe.DeadlineExceeded) as raised:
        one.call("first", timeout=0.01)
    assert raised.value.ran == "maybe"
    other.send("FIRST")
    other.send("SECOND")
    assert one.call("second", timeout=30) == b"SECOND"


def test_a_peer_that_goes_fails_the_waiting_call() -> None:
    one, other = panpipe.pair("framing=lines")

    def leave() -> None:
        assert other.recv() == b"anybody?"
        other.close()

    thread = threading.Thread(target=leave)
    thread.start()
    with pytest.raises(panpipe.ConnectionLost) as raised:
        one.call("anybody?")
    thread.join()
    assert raised.value.ran == "maybe"
    with pytest.raises(panpipe.ConnectionLost) as raised:
        one.call("still?")
    assert raised.value.ran == "no"


def test_a_closed_connection_says_so() -> None:
    one, _other = panpipe.pair("framing=length")
    one.close()
    one.close()
    for use in (lambda: one.send("x"), lambda: one.call("x"), one.recv):
        with pytest.raises(panpipe.Closed):
            use()


def test_threads_share_a_connection(upper: Callable[[str], str]) -> None:
    wrong: list[object] = []
    with panpipe.connect(upper("unix:@panpipe-test-*?framing=lines")) as peer:

        def calls(number: int) -> None:
            for round in range(100):
                reply = peer.call(f"thread {number} round {round}")
                if reply != f"THREAD {number} ROUND {round}".encode():
                    wrong.append(reply)

        threads = [threading.Thread(target=calls, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        with pytest.raises(panpipe.DeadlineExceeded):
            peer.recv(timeout=0.1)
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_silent_client_delays_nobody(upper: Callable[[str], str]) -> None:
    address = upper("tcp://localhost:0?framing=lines")
    silent, halfway = plain(address), plain(address)
    halfway.sendall(b"half a li")
    with panpipe.connect(address) as peer:
        assert peer.call("fast", timeout=30) == b"FAST"
    halfway.sendall(b"ne\n")
    assert halfway.recv(100) == b"HALF A LINE\n"
    silent.close()


def test_a_client_that_does_not_read_stops_itself_and_nobody_else(upper: Callable[[str], str]) -> None:
    address = upper("unix:@panpipe-test-*?framing=length&timeout=300ms")
    flooding = panpipe.connect(address)

    def flood() -> None:
        for _ in range(1000):
            flooding.send(b"x" * 1_000_000, timeout=0.3)

    with pytest.raises(panpipe.DeadlineExceeded):
        flood()
    with panpipe.connect(address) as peer:
        assert peer.call("fast", timeout=30) == b"FAST"


def test_a_handler_that_raises_closes_its_connection_and_no_other(program: Callable[..., object]) -> None:
    server = program(
        """
import panpipe
def handle(message):
    if message == b"bad": raise KeyError("no such thing")
    if message == b"worse": return 7
    if message == b"quiet": return None
    return message
listener = panpipe.listen("unix:@panpipe-test-*?framing=lines")
print(listener.address, flush=True)
panpipe.serve(listener, handle)
"""
    )
    address = server.line()
    good = panpipe.connect(address)
    for message in ("bad", "worse"):
        with panpipe.connect(address) as peer:
            assert peer.call("fine") == b"fine"
            with pytest.raises(panpipe.ConnectionLost):
                peer.call(message)
    good.send("quiet")
    assert good.call("still there") == b"still there"
    server.process.kill()
    _, _, err = server.end()
    assert "no such thing" in err
    assert "a message is bytes or a string, not int" in err


def test_a_message_is_bytes_or_a_string() -> None:
    one, _other = panpipe.pair("framing=length")
    with pytest.raises(TypeError, match="not int"):
        one.send(7)
    with pytest.raises(ValueError, match="timeout"):
        one.recv(timeout=-1)


def test_a_socket_file_is_private_and_goes_with_its_listener(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with panpipe.listen(f"unix:{path}?framing=length"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == []


def test_listeners_are_iterated_and_mem_stays_inside() -> None:
    with panpipe.listen("mem:inside?framing=lines") as listener:
        client = panpipe.connect(listener.address)
        for peer in listener:
            peer.send("welcome")
            break
        assert client.recv() == b"welcome"
        with pytest.raises(panpipe.DeadlineExceeded):
            listener.accept(timeout=0.01)
    with pytest.raises(panpipe.Closed):
        listener.accept()


def test_the_system_tells_who_the_peer_is() -> None:
    with panpipe.listen("unix:@panpipe-test-*?framing=length") as listener:
        client = panpipe.connect(listener.address)
        peer = listener.accept()
        assert peer is not None
        for each in (client, peer):
            assert each.remote == panpipe.Remote("unix", None, os.getuid(), os.getgid(), os.getpid())
    with panpipe.listen("tcp://127.0.0.1:0?framing=length") as listener:
        client = panpipe.connect(listener.address)
        peer = listener.accept()
        assert peer is not None
        assert client.remote.address == listener.address.removeprefix("tcp://").partition("?")[0]
        assert peer.remote.address is not None
        assert peer.remote.address.startswith("127.0.0.1:")
        assert peer.remote.uid is None


def test_packets_keep_their_boundaries_without_a_framing(upper: Callable[[str], str]) -> None:
    with panpipe.connect(upper("unix-seqpacket:@panpipe-test-*?protocol=plain")) as peer:
        assert peer.call("Hello, server!") == b"HELLO, SERVER!"
        for message in ("a", "b\n", "c"):
            peer.send(message)
        assert [peer.recv() for _ in range(3)] == [b"A", b"B\n", b"C"]
        with pytest.raises(panpipe.Unsupported):
            peer.send("")
        with pytest.raises(panpipe.TooLarge):
            peer.send(b"x" * 1_000_000)
        large = b"x" * 150_000
        assert peer.call(large) == large.upper()
    with pytest.raises(panpipe.Unsupported):
        panpipe.connect("unix-seqpacket:a?framing=lines")
