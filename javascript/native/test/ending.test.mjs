// How processes and workers end while links are open.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import test from "node:test";
import { Worker } from "node:worker_threads";

import { addon, descriptors, run, seqpacket, until } from "./native.mjs";

/** Two ends in one process: `link`, accepted and started, and `ours`, opened and not started. */
const connected = (address) => `
  const started = new Promise((resolve) => {
    globalThis.listener = native.listen("${address}", (link) => {
      link.start(() => globalThis.onPackets?.(), () => {}, () => {});
      globalThis.link = link;
      resolve();
    });
  });
  globalThis.ours = await native.open("${address}", { timeout: 5000 });
  await started;
`;

const ended = ({ status, signal, stderr }) => ({ status, signal, stderr });
const well = { status: 0, signal: null, stderr: "" };

test("a process may exit with open links, and its socket file goes", () => {
  const address = seqpacket();
  const outcome = run(`${connected(address)} ours.start(() => {}, () => {}, () => {}); process.exit(7);`);
  assert.deepEqual(ended(outcome), { ...well, status: 7 });
  assert.equal(existsSync(address.slice("unix-seqpacket:".length)), false);
});

test("an exception that nobody catches ends a process with open links as any other", () => {
  const { status, signal, stderr } = run(`${connected(seqpacket())} throw new Error("of the test");`);
  assert.deepEqual([status, signal], [1, null]);
  assert.match(stderr, /of the test/);
});

test("links and listeners let the process end once they are not to keep it", () => {
  const outcome = run(`${connected(seqpacket())} link.unref(); listener.unref();`);
  assert.deepEqual(ended(outcome), well);
});

test("links that were told so before they started let the process end too", () => {
  const outcome = run(`${connected(seqpacket())} listener.unref(); link.unref(); ours.unref(); ours.start(() => {}, () => {}, () => {});`);
  assert.deepEqual(ended(outcome), well);
});

test("a closed or paused link keeps no process", () => {
  assert.deepEqual(ended(run(`${connected(seqpacket())} link.close(); listener.close();`)), well);
  assert.deepEqual(ended(run(`${connected(seqpacket())} link.pause(); listener.close();`)), well);
});

test("a link that reads, a listener, and a write that waits keep the process", () => {
  for (const rest of ["listener.close()", "link.close()", "link.unref(); listener.unref(); link.ref()"]) {
    assert.equal(run(`${connected(seqpacket())} ${rest};`, { limit: 500 }).signal, "SIGKILL", rest);
  }
  const waits = "link.unref(); link.pause(); listener.unref(); ours.unref(); while (ours.write(Buffer.alloc(1000))); ours.onWritable(() => {});";
  assert.equal(run(`${connected(seqpacket())} ${waits}`, { limit: 500 }).signal, "SIGKILL");
});

test("what a callback throws is an uncaughtException", () => {
  const handled = `process.on("uncaughtException", (error) => console.log(error.message));`;
  const throwing = `
    ${handled} ${connected(seqpacket())}
    let turns = 0;
    globalThis.onPackets = () => {
      if (++turns === 2) process.exit();
      setTimeout(() => ours.write(Buffer.from("b")));
      throw new Error("of the callback");
    };
    ours.write(Buffer.from("a"));
  `;
  const { stdout, status } = run(throwing);
  assert.deepEqual([stdout, status], ["of the callback\n", 0]);
  const unhandled = `${connected(seqpacket())} globalThis.onPackets = () => { throw new Error("of the callback"); }; ours.write(Buffer.from("a"));`;
  const { status: code, signal, stderr } = run(unhandled);
  assert.deepEqual([code, signal], [1, null]);
  assert.match(stderr, /of the callback/);
});

test("a worker may be terminated with open links, in the middle of everything", async () => {
  const busy = `
    const native = require(${JSON.stringify(addon)});
    const { parentPort } = require("node:worker_threads");
    const echo = (link) => link.start((slab, lengths) => link.write(slab.subarray(0, lengths[0])), () => {}, () => {});
    const listener = native.listen("unix-seqpacket:@panpipe-worker-" + process.pid + "-*", echo);
    (async () => {
      for (let count = 0; count < 20; count++) {
        const link = await native.open(listener.address, { timeout: 5000 });
        echo(link);
        link.onWritable(() => link.write(Buffer.from("ping")));
      }
      parentPort.postMessage("busy");
    })();
  `;
  const before = descriptors();
  let after;
  for (let round = 0; round < 10; round++) {
    const worker = new Worker(busy, { eval: true });
    await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
    await worker.terminate();
    after ??= descriptors();
  }
  // The first worker may leave something of Node's own.
  await until(() => descriptors() <= Math.max(before, after), `${descriptors()} descriptors, ${before} before, ${after} after one`);
});

test("a worker may end by itself, or the process under it, and another load the addon after it", () => {
  const worker = `const { Worker } = require("node:worker_threads");
    const start = (code) => new Worker("const native = require(" + JSON.stringify(${JSON.stringify(addon)}) + ");(async () => {" + code + "})()", { eval: true });`;
  const inside = JSON.stringify(`${connected(seqpacket())} link.unref(); listener.unref();`);
  const exit = `const first = start(${inside}); first.on("exit", () => start(${inside}).on("exit", () => console.log("both")));`;
  const { stdout, ...outcome } = run(`${worker} ${exit}`);
  assert.deepEqual([stdout, ended(outcome)], ["both\n", well]);
  const stays = JSON.stringify(`${connected(seqpacket())} require("node:worker_threads").parentPort.postMessage(1);`);
  assert.deepEqual(ended(run(`${worker} start(${stays}).on("message", () => process.exit(3));`)), { ...well, status: 3 });
});

test("the README's example runs, by import", () => {
  const folder = new URL("..", import.meta.url);
  const [, example] = /```js\n([^]*?)```/.exec(readFileSync(new URL("README.md", folder), "utf8"));
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", example], { cwd: folder, encoding: "utf8", timeout: 10_000 });
  assert.equal(stdout, "HELLO, SERVER!\n", stderr);
});

test("a link that reads is kept, and one that nobody kept nor started is closed, when the garbage is collected", () => {
  const address = seqpacket();
  const { stdout, ...outcome } = run(`
    require("node:v8").setFlagsFromString("--expose-gc");
    const gc = require("node:vm").runInNewContext("gc");
    const echo = (link) => link.start((slab) => link.write(slab), () => {}, () => {});
    let drop = false;
    const listener = native.listen("${address}", (link) => drop || echo(link));
    const kept = await native.open("${address}", { timeout: 5000 });
    await new Promise((resolve) => setTimeout(resolve, 20));
    for (let round = 0; round < 3; round++) { gc(); await new Promise(setImmediate); }
    await new Promise((resolve) => { kept.start(resolve, () => {}, () => {}); kept.write(Buffer.from("a")); });
    console.log("kept");
    drop = true;
    const other = await native.open("${address}", { timeout: 5000 });
    let over = false;
    other.start(() => {}, () => (over = true), () => (over = true));
    while (!over) { gc(); await new Promise((resolve) => setTimeout(resolve, 5)); }
    console.log("closed");
    process.exit();
  `);
  assert.deepEqual([stdout, ended(outcome)], ["kept\nclosed\n", well]);
});
