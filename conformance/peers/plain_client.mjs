// The role of a client of plain messages, in Node and in a page.

import { PanpipeError, connect } from "panpipe";
import { same } from "./same.mjs";
import { answerOf, decoded } from "./texts.mjs";

/** Does jobs, one after another; `tell` tells the suite something, `nextLine` is what it says next, and `accept` answers the connections of a job that listens. */
export async function call({ texts, jobs }, by) {
  const all = decoded(texts);
  for (const job of jobs) await by.tell(await run(job, all, by).then((answers) => ({ answers }), failureOf));
}

async function run(job, texts, { tell, nextLine, accept }) {
  const connections = job.connections || 1;
  const closing = [];
  let answers = [];
  for (const peer of await (job.listen ? accept({ ...job, connections }) : connected(job.address, connections))) {
    const progress = { sent: 0, received: 0 };
    for (const step of job.steps) {
      if (step === "pause") {
        await tell({ answers });
        answers = [];
        await nextLine();
        continue;
      }
      const answer = await doStep(peer, step, progress, job, texts);
      answers.push(answer);
      if (answer?.code === "deadline-exceeded") break;
    }
    closing.push(peer.close());
  }
  await Promise.all(closing);
  return answers;
}

async function connected(address, count) {
  const peers = [];
  while (peers.length < count) peers.push(await connect(address));
  return peers;
}

function doStep(peer, step, progress, job, texts) {
  const settled = (reply) => reply.then((message) => answerOf(message, job, texts), failureOf);
  if (step === null) return settled(peer.recv());
  if (typeof step === "number") return settled(peer.call(texts[step]));
  if (step.calls) return Promise.all(texts.slice(0, step.calls).map((text) => settled(peer.call(text))));
  const directions = [send(peer, step, progress, texts), receive(peer, step, progress, texts)];
  return Promise.all(directions).then(([sent, received]) => ({ sent, received }), (reason) =>
    reason instanceof BrokenOff ? answerOf(reason.message, job, texts) : failureOf(reason),
  );
}

/** A message came in place of the one whose turn it was, or the end. */
class BrokenOff extends Error {
  constructor(message) {
    super();
    this.message = message;
  }
}

const limit = ({ within }) => (within > 0 ? { signal: AbortSignal.timeout(within) } : {});

async function send(peer, step, progress, texts) {
  for (let count = 0; count < step.send; count += 1) {
    const text = texts[progress.sent++ % step.of];
    try {
      await peer.send(text, limit(step));
    } catch (error) {
      if (error.code === "cancelled") return count;
      throw error;
    }
  }
  return step.send;
}

async function receive(peer, step, progress, texts) {
  for (let count = 0; count < step.recv; count += 1) {
    let message;
    try {
      message = await peer.recv(limit(step));
    } catch (error) {
      if (error.code === "cancelled") return count;
      throw error;
    }
    if (message === null || !same(texts[progress.received % step.of], message)) throw new BrokenOff(message);
    progress.received += 1;
  }
  return step.recv;
}

function failureOf(error) {
  if (!(error instanceof PanpipeError)) throw error;
  return { code: error.code, ran: error.ran, text: error.message };
}
