// What the peers in Node and the suite say to each other; ../README.md explains it.

import readline from "node:readline";

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** The next line that the suite writes to stdin; undefined at the end, and with it this process may end. */
export async function nextLine() {
  return (await lines.next()).value;
}

/** The request: the first line. */
export async function readRequest() {
  return JSON.parse(await nextLine());
}

export function tell(what) {
  process.stdout.write(`${JSON.stringify(what)}\n`);
}
