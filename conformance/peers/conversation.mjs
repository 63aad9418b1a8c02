// What the peers in Node and the suite say to each other; ../README.md explains it.

import readline from "node:readline";

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** The next line that the suite writes to stdin; undefined at the end, and with it this process may end. */
export async function nextLine() {
  return (await lines.next()).value;
}

/** The request: the first line. */
export async function readRequest() {
  const request = JSON.parse(await nextLine());
  request.texts = request.texts?.map((text) => {
    const [part, times] = text.split("*");
    const bytes = Buffer.from(part, "hex");
    return Buffer.alloc(bytes.length * Number(times ?? 1), bytes);
  });
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
