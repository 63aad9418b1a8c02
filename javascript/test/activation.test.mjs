/** Sockets that systemd has opened already, from the real `systemd-socket-activate`. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import { join } from "node:path";
import test from "node:test";

import { connect } from "../dist/index.js";

const index = new URL("../dist/index.js", import.meta.url);
const script = `import { serve } from ${JSON.stringify(String(index))}; await serve(process.argv[1], (message) => String(message).toUpperCase());`;

/** A server that the first who comes to `path` starts. */
async function activate(kind, path, address) {
  const program = [process.execPath, "--input-type=module", "-e", script, address];
  const child = spawn("systemd-socket-activate", [...kind, "-l", path, "--fdname=web", ...program], { stdio: ["ignore", "ignore", "pipe"] });
  child.stderr.setEncoding("utf8");
  const [line] = await once(child.stderr, "data");
  assert.match(line, /Listening on/);
  let stderr = line;
  child.stderr.on("data", (chunk) => (stderr += chunk));
  return { child, stderr: () => stderr };
}

test("a socket of systemd is served by its name and by its number, and left in place", async () => {
  const folder = fs.mkdtempSync(join(os.tmpdir(), "panpipe-activation-"));
  for (const address of ["fd:web?framing=lines", "fd:3?framing=lines"]) {
    const path = join(folder, `${address.slice(3, 4)}.sock`);
    const { child } = await activate([], path, address);
    for (const message of ["Hello, server!", "again"]) {
      const peer = await connect(`unix:${path}?framing=lines`);
      assert.equal(String(await peer.call(message)), message.toUpperCase());
      await peer.close();
    }
    child.kill();
    await once(child, "exit");
    assert.ok(fs.existsSync(path));
  }
  fs.rmSync(folder, { recursive: true });
});

test("a name that nobody gave is not-found, and so is one beside those that were given", async () => {
  await assert.rejects(connect("fd:web"), { code: "not-found", doing: "connecting to fd:web" });
});
