// Invariants of the source that no type checks.

import assert from "node:assert/strict";
import fs from "node:fs";
import test from "node:test";

const root = new URL("../src/", import.meta.url);
const files = fs.readdirSync(root, { recursive: true }).filter((name) => name.endsWith(".ts"));
const text = (name) => fs.readFileSync(new URL(name, root), "utf8");
const code = (name) => text(name).replace(/\/\*[^]*?\*\/|\/\/.*/g, "");

test("wire does no I/O and reads no clock", () => {
  const wire = files.filter((name) => name.startsWith("wire/"));
  assert.ok(wire.length > 10);
  for (const name of wire) {
    assert.doesNotMatch(code(name), /from "node:|\bprocess\.|\bperformance\.|\bDate\.now|\bnew Date\(\)|setTimeout|setImmediate|queueMicrotask/, name);
    assert.doesNotMatch(code(name), /from "(\.\.\/)+(link|peer|index)/, name);
  }
});

test("only the registries name transports and framings", () => {
  const named = (pattern) => files.filter((name) => pattern.test(code(name)));
  const transports = named(/from "\.\/(tcp|unix|udp|fifo|spawn|stdio|fd)\.js"/);
  // A queue is called fifo too.
  assert.deepEqual(transports.filter((name) => name.startsWith("link/")), ["link/mod.ts"]);
  assert.deepEqual(named(/from "\.\/(lines|nul|length|netstring|varint|content-length|raw)\.js"/), ["wire/framing/mod.ts"]);
});

test("operating-system errors become codes in one place", () => {
  const naming = files.filter((name) => /ECONNRESET|EMFILE|EPIPE/.test(code(name)));
  assert.deepEqual(naming, ["link/classify.ts"]);
});

test("files are short, and what they export is documented", () => {
  for (const name of files) {
    const lines = text(name).split("\n");
    assert.ok(lines.length < 400, `${name} has ${lines.length} lines`);
    lines.forEach((line, index) => {
      if (!/^export (?!\{|type \{|\*)/.test(line)) return;
      assert.match(lines[index - 1], /\*\/$/, `${name}:${index + 1} has no doc comment`);
    });
    assert.match(text(name), /^\/\*\*/, `${name} does not say what it is`);
  }
});
