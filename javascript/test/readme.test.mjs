// The examples of README.md are run.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import test from "node:test";

import { panpipe } from "./running.mjs";

const text = readFileSync(new URL("../README.md", import.meta.url), "utf8");
const prints = ["HELLO, SERVER!\n3\n2\n1\nsunny\n", "HELLO, SERVER!\n", "HELLO, SERVER!\n".repeat(3)];

test("the examples print what they should", () => {
  const examples = [...text.matchAll(/```js\n([^]*?)```/g)].map(([, code]) => code).filter((code) => !code.includes("worker.py"));
  assert.equal(examples.length, prints.length);
  examples.forEach((code, index) => {
    const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", code.replace('"panpipe"', panpipe)], { encoding: "utf8", timeout: 20_000 });
    assert.deepEqual([stdout, stderr], [prints[index], ""]);
  });
});
