"""The peer of panpipe in Python, blocking: a thread for each address that it serves."""

import os
import sys
import threading

from conversation import Request, answer_of, failure_of, tell

import panpipe


def serve(request: Request) -> None:
    listeners = [panpipe.listen(address) for address in request["addresses"]]
    serving = [{"address": listener.address, "pid": os.getpid()} for listener in listeners]
    for listener in listeners:
        threading.Thread(target=panpipe.serve, args=(listener, lambda message: message.upper()), daemon=True).start()
    tell(serving)
    sys.stdin.read()
    os._exit(0)


def call(request: Request) -> None:
    texts = [bytes.fromhex(text) for text in request["texts"]]
    for job in request["jobs"]:
        try:
            tell({"answers": run(job, texts)})
        except panpipe.Error as error:
            tell(failure_of(error))


def run(job: Request, texts: list[bytes]) -> list[object]:
    if job["listen"]:
        panpipe.listen(job["address"]).close()
        return []
    answers = []
    with panpipe.connect(job["address"]) as peer:
        for step in job["steps"]:
            try:
                answers.append(answer_of(peer.recv() if step is None else peer.call(texts[step]), job, texts))
            except panpipe.Error as error:
                answers.append(failure_of(error))
                if error.code == "deadline-exceeded":
                    break
    return answers


{"serve": serve, "call": call}[sys.argv[1]](Request.read())
