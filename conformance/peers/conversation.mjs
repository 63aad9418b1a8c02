// What the peers in Node and the suite say to each other; ../README.md explains it.

import readline from "node:readline";

/** The request: the one line that the suite writes to stdin. */
export async function readRequest() {
  const lines = readline.createInterface({ input: process.stdin });
  const line = await new Promise((resolve) => lines.once("line", resolve));
  lines.close();
  const request = JSON.parse(line);
  request.texts = request.texts?.map((text) => Buffer.from(text, "hex"));
  return request;
}

export function tell(what) {
  process.stdout.write(`${JSON.stringify(what)}\n`);
}

export function answerOf(message, job, texts) {
  if (message === null) return null;
  const kind = job.address.includes("text=true") ? "string" : "object";
  if (typeof message !== kind) throw new Error(`${message} is no ${kind}`);
  const bytes = Buffer.from(message);
  const place = texts.findIndex((text) => text.equals(bytes));
  return place < 0 ? bytes.toString("hex") : place;
}
