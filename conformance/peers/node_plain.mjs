// The peer without panpipe, in Node: a client on plain `net`, as anybody writes it.

import net from "node:net";

import { readRequest, tell } from "./conversation.mjs";
import { answerOf, decoded } from "./texts.mjs";

/** Sends `message` and answers what comes back, which upper case makes neither longer nor shorter. */
async function exchange(socket, message) {
  socket.write(message);
  const parts = [];
  let missing = message.length;
  for await (const part of socket.iterator({ destroyOnReturn: false })) {
    parts.push(part);
    missing -= part.length;
    if (missing <= 0) break;
  }
  return Buffer.concat(parts);
}

function place(address) {
  const [, host, port, path] = /^(?:tcp:\/\/(.*):(\d+)|unix:(.*))\?/.exec(address);
  return path === undefined ? { host, port } : { path: path.replace(/^@/, "\0") };
}

const { texts: written, jobs } = await readRequest();
const texts = decoded(written);
for (const job of jobs) {
  const tail = job.address.includes("framing=lines") ? "\n" : "";
  const socket = net.connect(place(job.address));
  const answers = [];
  for (const step of job.steps) {
    const reply = await exchange(socket, Buffer.concat([texts[step], Buffer.from(tail)]));
    answers.push(answerOf(reply.subarray(0, reply.length - tail.length), job, texts));
  }
  socket.destroy();
  tell({ answers });
}
