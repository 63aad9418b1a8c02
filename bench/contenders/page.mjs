/** What the contenders in a browser share: Chromium, and a page that measures what the lines on stdin ask for. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { chromium } from "playwright-core";

const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

/** Runs the client's role in a page at `url`, where `connect`, a function for the page, makes of an address what calls. */
export async function runPage(url, address, connect) {
  const profile = mkdtempSync(join(tmpdir(), "panpipe-bench-"));
  const context = await chromium.launchPersistentContext(profile, { executablePath: "/usr/bin/chromium", headless: true, args: flags });
  try {
    const page = await context.newPage();
    await page.goto(url);
    for await (const line of createInterface({ input: process.stdin })) {
      const [workload, ...numbers] = line.split(" ");
      const [size, count, warm, measured] = numbers.map(Number);
      const outcome = await page.evaluate(measure, [String(connect), address, { workload, size, count, warm, measured }]);
      console.log(JSON.stringify(outcome));
    }
  } finally {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  }
}

/** In the page: calls per second of `count` async functions, or the median time of calls one after another. */
async function measure([connect, address, { workload, size, count, warm, measured }]) {
  const peer = await new Function(`return ${connect}`)()(address);
  const from = performance.now() + warm;
  const until = from + measured;
  const times = [];
  let operations = 0;
  let counted = 0;
  let begun = 0;
  let ended = 0;
  const caller = async (number) => {
    const sent = new Uint8Array(size).map((_, at) => number + at);
    for (let isFirst = true; ; isFirst = false) {
      const before = performance.now();
      if (before >= until && !isFirst) return;
      const reply = await peer.call(sent);
      const after = performance.now();
      if (reply.length !== size || (isFirst && String(reply) !== String(sent))) throw new Error("a wrong reply");
      operations++;
      if (before < from) continue;
      begun ||= before;
      ended = after;
      counted++;
      times.push(after - before);
    }
  };
  await Promise.all(Array.from({ length: workload === "in-flight" ? count : 1 }, (_, number) => caller(number)));
  await peer.close();
  times.sort((a, b) => a - b);
  return { operations, value: workload === "in-flight" ? (counted * 1e3) / (ended - begun) : times[times.length >> 1] * 1e3 };
}
