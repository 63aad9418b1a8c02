// The peer of panpipe in Node.

import { once } from "node:events";

import { PanpipeError, connect, listen, serve } from "panpipe";
import { answerOf, readRequest, tell } from "./conversation.mjs";

const upper = (message) =>
  typeof message === "string" ? message.toUpperCase() : message.map((byte) => (byte >= 0x61 && byte <= 0x7a ? byte - 32 : byte));

const roles = {
  async serve({ addresses }) {
    const servers = await Promise.all(addresses.map((address) => serve(address, upper)));
    tell(servers.map(({ address }) => ({ address, pid: process.pid })));
    await once(process.stdin.resume(), "end");
    await Promise.all(servers.map((server) => server.close()));
  },

  async call({ texts, jobs }) {
    for (const job of jobs) {
      tell(await run(job, texts).then((answers) => ({ answers }), failureOf));
    }
  },
};

async function run(job, texts) {
  if (job.listen) {
    const listener = await listen(job.address);
    await listener.close();
    return [];
  }
  const peer = await connect(job.address);
  const answers = [];
  for (const step of job.steps) {
    const reply = step === null ? peer.recv() : peer.call(texts[step]);
    const answer = await reply.then((message) => answerOf(message, job, texts), failureOf);
    answers.push(answer);
    if (answer?.code === "deadline-exceeded") break;
  }
  await peer.close();
  return answers;
}

function failureOf(error) {
  if (!(error instanceof PanpipeError)) throw error;
  return { code: error.code, ran: error.ran, text: error.message };
}

await roles[process.argv[2]](await readRequest());
