// Places for tests: a directory that goes away, addresses that nobody else has, and small waits for what has no event.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const directory = mkdtempSync(join(tmpdir(), "panpipe-test-"));
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));

let count = 0;
export const path = (name = "s") => join(directory, `${name}${count++}`);

/** Options for plain messages, whatever is said beside. */
const plain = (options) => (/framing=|protocol=/.test(options) ? options : `${options === "" ? "?" : `${options}&`}protocol=plain`);

/** An address to listen on for plain messages, for each transport that has many connections. */
export const places = {
  tcp: (options) => `tcp://localhost:0${plain(options)}`,
  unix: (options) => `unix:${path()}${plain(options)}`,
  abstract: (options) => `unix:@panpipe-test-${process.pid}-*${plain(options)}`,
  mem: (options) => `mem:${path()}${plain(options)}`,
};

export const upper = (message) => Buffer.from(String(message).toUpperCase());

/** Waits for what gives no sign; the limit is a net, not a measure. */
export async function until(condition, what) {
  for (const end = Date.now() + 10_000; Date.now() < end; ) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`in vain: ${what}`);
}
