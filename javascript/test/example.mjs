/** Programs of `examples/`, as processes whose lines are read and written. */

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

const root = new URL("../../", import.meta.url).pathname;
const running = new Set();

/** The command of a program: in Python, in Node, or of `target/release`. */
function command(program) {
  if (program.endsWith(".py")) return [`${root}.venv/bin/python`, `${root}examples/${program}`];
  if (program.endsWith(".mjs")) return [process.execPath, `${root}examples/${program}`];
  return [`${root}target/release/${program}`];
}

/** Starts a program, which `endAll` ends. */
export function start(program, ...args) {
  const [file, ...before] = command(program);
  const child = spawn(file, [...before, ...args], { stdio: ["pipe", "pipe", "inherit"] });
  running.add(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    child,
    type: (line) => child.stdin.write(`${line}\n`),
    /** Reads its lines up to one that fits, and answers that. */
    async until(pattern) {
      const seen = [];
      for (;;) {
        const { value, done } = await lines.next();
        if (done) throw new Error(`${program} ended before ${pattern}, after ${JSON.stringify(seen)}`);
        if (pattern.test(value)) return value;
        seen.push(value);
      }
    },
  };
}

/** Ends all that was started. */
export async function endAll() {
  for (const child of running) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill("SIGKILL");
    await new Promise((resolve) => child.once("exit", resolve));
  }
  running.clear();
}
