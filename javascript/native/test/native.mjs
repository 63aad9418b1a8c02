// What the tests share: the addon, names that nobody else has, processes to talk to, and small waits for what has no event.

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const require = createRequire(import.meta.url);
export const addon = require.resolve("..");
export const native = require("..");

export const directory = mkdtempSync(join(tmpdir(), "panpipe-native-"));
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));

let count = 0;
export const path = () => join(directory, `s${count++}`);
export const seqpacket = () => `unix-seqpacket:${path()}`;
export const descriptors = () => readdirSync("/proc/self/fd").length;

/** Waits for what gives no sign; the limit is a net, not a measure. */
export async function until(condition, what) {
  for (const end = Date.now() + 10_000; Date.now() < end; ) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  throw new Error(`in vain: ${what}`);
}

/** Says whether the loop sleeps when nothing happens: one that spins would take all of these 100 ms. */
export async function calm() {
  const before = process.cpuUsage();
  await new Promise((resolve) => setTimeout(resolve, 100));
  const { user, system } = process.cpuUsage(before);
  return user + system < 30_000;
}

/** What a link brings, to be waited for. */
export class Received {
  packets = [];
  turns = [];
  end = null;
  lost = null;

  constructor(link) {
    link.start(
      (slab, lengths) => {
        this.turns.push({ bytes: slab.length, packets: lengths.length });
        let at = 0;
        for (const length of lengths) this.packets.push(slab.subarray(at, (at += length)));
        this.surplus = slab.length - at;
      },
      () => (this.end = true),
      (code, text) => (this.lost = { code, text }),
    );
  }

  get over() {
    return this.end !== null || this.lost !== null;
  }

  count(many) {
    return until(() => this.packets.length >= many, `${many} packets; there are ${this.packets.length}`);
  }
}

/** Two ends of a link in this process, neither started. */
export async function pair(t, options = "") {
  let accepted;
  const listener = native.listen(`unix-seqpacket:@panpipe-native-${process.pid}-*${options}`, (link) => (accepted = link));
  const ours = await native.open(listener.address, { timeout: 5000 });
  await until(() => accepted, "the link that was opened");
  listener.close();
  t.after(() => {
    ours.close();
    accepted.close();
  });
  return [ours, accepted];
}

/** Writes all packets, waiting for room as often as need be. */
export async function writeAll(link, packets) {
  for (const packet of packets) {
    while (!link.write(packet)) await new Promise((resolve) => link.onWritable(resolve));
  }
}

/** A Python program that ends with this test; its lines are waited for one by one. */
export function python(t, code, ...given) {
  const child = spawn("python3", ["-u", "-c", code, ...given], { stdio: ["pipe", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  let text = "";
  child.stdout.on("data", (data) => (text += data));
  child.line = async () => {
    await until(() => text.includes("\n"), "a line of Python's");
    const [line] = text.split("\n", 1);
    text = text.slice(line.length + 1);
    return line;
  };
  child.ended = new Promise((resolve) => child.on("exit", (code, signal) => resolve(signal ?? code)));
  return child;
}

/** Runs a program of Node's with the addon as `native`; it is killed, which shows in its signal, if it goes on for ever. */
export function run(code, { limit = 10_000, shell = "" } = {}) {
  const prelude = `const native = require(${JSON.stringify(addon)});`;
  const command = [process.execPath, "-e", `${prelude}(async () => {${code}})()`];
  const [program, ...given] = shell === "" ? command : ["sh", "-c", `${shell}; exec "$@"`, "sh", ...command];
  return spawnSync(program, given, { encoding: "utf8", timeout: limit, killSignal: "SIGKILL" });
}
