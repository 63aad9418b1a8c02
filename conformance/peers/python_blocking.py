"""The peer of panpipe in Python, blocking: a thread for each address that it serves."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from conversation import BrokenOff, Progress, Request, answer_of, failure_of, tell, texts_of

import panpipe


def serve(request: Request) -> None:
    listeners = [panpipe.listen(address) for address in request["addresses"]]
    serving = [{"address": listener.address, "pid": os.getpid()} for listener in listeners]
    for listener in listeners:
        threading.Thread(target=panpipe.serve, args=(listener, lambda message: message.upper()), daemon=True).start()
    tell(serving)
    sys.stdin.read()
    os._exit(0)


def child(address: str) -> None:
    panpipe.serve(address, lambda message: message.upper())


def call(request: Request) -> None:
    texts = texts_of(request)
    for job in request["jobs"]:
        try:
            tell({"answers": run(job, texts)})
        except panpipe.Error as error:
            tell(failure_of(error))


def opened(job: Request) -> list[panpipe.Connection]:
    count = job["connections"] or 1
    if not job["listen"]:
        return [panpipe.connect(job["address"]) for _ in range(count)]
    with panpipe.listen(job["address"]) as listener:
        if not job["steps"]:
            return []
        tell([{"address": listener.address, "pid": os.getpid()}])
        return [listener.accept() for _ in range(count)]


def run(job: Request, texts: list[bytes]) -> list[object]:
    answers: list[object] = []
    for peer in opened(job):
        progress = Progress()
        # What could not be written any more, the steps have told.
        with suppress(panpipe.ConnectionLost), peer:
            for step in job["steps"]:
                if step == "pause":
                    tell({"answers": answers})
                    answers = []
                    sys.stdin.readline()
                    continue
                answers.append(answer := do(peer, step, progress, job, texts))
                if isinstance(answer, dict) and answer.get("code") == "deadline-exceeded":
                    break
    return answers


def do(peer: panpipe.Connection, step: object, progress: Progress, job: Request, texts: list[bytes]) -> object:
    try:
        match step:
            case None:
                return answer_of(peer.recv(), job, texts)
            case int():
                return answer_of(peer.call(texts[step]), job, texts)
            case {"calls": count}:
                with ThreadPoolExecutor(count) as pool:
                    return list(pool.map(lambda text: do(peer, text, progress, job, texts), range(count)))
            case _:
                with ThreadPoolExecutor() as pool:
                    sending = pool.submit(send, peer, step, progress, texts)
                    received = receive(peer, step, progress, texts)
                    return {"sent": sending.result(), "received": received}
    except BrokenOff as end:
        return answer_of(end.message, job, texts)
    except panpipe.Error as error:
        return failure_of(error)


def send(peer: panpipe.Connection, step: dict[str, int], progress: Progress, texts: list[bytes]) -> int:
    for count in range(step["send"]):
        text = texts[progress.sent % step["of"]]
        progress.sent += 1
        try:
            peer.send(text, timeout=step["within"] / 1000 or None)
        except panpipe.DeadlineExceeded:
            return count
    return step["send"]


def receive(peer: panpipe.Connection, step: dict[str, int], progress: Progress, texts: list[bytes]) -> int:
    for count in range(step["recv"]):
        try:
            message = peer.recv(timeout=step["within"] / 1000 or None)
        except panpipe.DeadlineExceeded:
            return count
        if message != texts[progress.received % step["of"]]:
            raise BrokenOff(message)
        progress.received += 1
    return step["recv"]


match sys.argv[1:]:
    case ["child", address]:
        child(address)
    case [role]:
        {"serve": serve, "call": call}[role](Request.read())
