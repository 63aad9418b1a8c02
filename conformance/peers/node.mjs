// The peer of panpipe in Node.

import { PanpipeError, connect, listen, serve } from "panpipe";
import { answerOf, nextLine, readRequest, tell } from "./conversation.mjs";

const upper = (message) =>
  typeof message === "string" ? message.toUpperCase() : message.map((byte) => (byte >= 0x61 && byte <= 0x7a ? byte - 32 : byte));

const roles = {
  async child(address) {
    await (await serve(address, upper)).done;
  },

  async serve({ addresses }) {
    const servers = await Promise.all(addresses.map((address) => serve(address, upper)));
    tell(servers.map(({ address }) => ({ address, pid: process.pid })));
    await nextLine();
    await Promise.all(servers.map((server) => server.close()));
  },

  async call({ texts, jobs }) {
    for (const job of jobs) {
      tell(await run(job, texts).then((answers) => ({ answers }), failureOf));
    }
  },
};

async function opened({ address, listen: listens, connections, steps }) {
  const count = connections || 1;
  const peers = [];
  if (!listens) {
    while (peers.length < count) peers.push(await connect(address));
    return peers;
  }
  const listener = await listen(address);
  if (steps.length > 0) {
    tell([{ address: listener.address, pid: process.pid }]);
    while (peers.length < count) peers.push(await listener.accept());
  }
  await listener.close();
  return peers;
}

async function run(job, texts) {
  let answers = [];
  for (const peer of await opened(job)) {
    const progress = { sent: 0, received: 0 };
    for (const step of job.steps) {
      if (step === "pause") {
        tell({ answers });
        answers = [];
        await nextLine();
        continue;
      }
      const answer = await doStep(peer, step, progress, job, texts);
      answers.push(answer);
      if (answer?.code === "deadline-exceeded") break;
    }
    await peer.close();
  }
  return answers;
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
    if (message === null || !texts[progress.received % step.of].equals(message)) throw new BrokenOff(message);
    progress.received += 1;
  }
  return step.recv;
}

function failureOf(error) {
  if (!(error instanceof PanpipeError)) throw error;
  return { code: error.code, ran: error.ran, text: error.message };
}

const [role, address] = process.argv.slice(2);
await roles[role](address ?? (await readRequest()));
