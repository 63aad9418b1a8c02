// Scripts as processes of their own, with panpipe at hand.

import { spawn } from "node:child_process";
import { once } from "node:events";

export const panpipe = JSON.stringify(import.meta.resolve("panpipe"));

/** Runs a script with everything imported; `lines` gives what it prints, line by line. */
export function run(script, options = {}) {
  const source = `import { connect, listen, serve, pair, spawn } from ${panpipe}; import fs from "node:fs"; ${script}`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", source], { stdio: ["pipe", "pipe", "pipe"], ...options });
  const out = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"]) child[name]?.on("data", (data) => (out[name] += data));
  const closed = once(child, "close").then(([code, signal]) => ({ code, signal, ...out }));
  return { child, closed, out };
}

/** The same by `require`: loading modules by `import` starts the thread pool, so that its use would not show. */
export function runAlone(script, options = {}, index = new URL("../dist/index.js", import.meta.url).pathname) {
  const source = `const { connect, listen, serve, pair, spawn } = require(${JSON.stringify(index)}); const fs = require("node:fs"); (async () => { ${script} })();`;
  const child = spawn(process.execPath, ["--no-warnings", "-e", source], { stdio: ["pipe", "pipe", "pipe"], ...options });
  const out = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"]) child[name]?.on("data", (data) => (out[name] += data));
  return once(child, "close").then(([code]) => ({ code, ...out }));
}
