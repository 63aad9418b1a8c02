// The truth that the Rust code and this code are both held to.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { PanpipeError, codes, connect, framings, methods } from "panpipe";
import { parse } from "../dist/link/mod.js";
import { Outbox } from "../dist/outbox.js";
import { hex } from "./bytes.mjs";
import { cut, read, resolveFraming } from "./reading.mjs";

const vectors = (name) => JSON.parse(readFileSync(new URL(`../../vectors/${name}.json`, import.meta.url), "utf8"));
const little = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
const framing = vectors("framing");
const address = vectors("address");

const title = (vector) => `${vector.framing} ${(vector.wire ?? vector.message).slice(0, 40)} ${vector.why ?? ""}`;

for (const vector of framing.read_and_write) {
  if (vector.native !== undefined && (vector.native === "little") !== little) continue;
  test(`reads ${title(vector)}`, () => {
    const wire = hex(vector.wire);
    // A message of raw is what one read returned, so there only the whole counts.
    const sizes = vector.framing === "raw" ? [wire.length] : Array.from({ length: wire.length }, (_, index) => index + 1);
    for (const size of sizes) {
      for (const lazy of [false, true]) {
        const result = read(vector.framing, cut(wire, size), { ...vector, lazy });
        assert.deepEqual(result.messages, vector.messages, `chunks of ${size}`);
        assert.equal(result.code, vector.code, `chunks of ${size}`);
        if (vector.eof && vector.code === undefined) assert.ok(result.ended);
      }
    }
  });
  if (vector.writes) {
    test(`writes ${title(vector)}`, () => {
      assert.equal(written(vector.framing, vector.messages.map(hex), vector.max), vector.wire);
    });
  }
}

for (const vector of framing.refused_to_write) {
  test(`refuses to write ${title(vector)}`, () => {
    assert.throws(() => written(vector.framing, [hex(vector.message)], vector.max), { code: vector.code });
  });
}

for (const vector of address.valid) {
  test(`accepts ${vector.address}`, () => {
    const parsed = parse(vector.address);
    const found = {
      address: parsed.text,
      scheme: parsed.scheme,
      target: parsed.target,
      options: parsed.options,
      framing: parsed.framing,
      protocol: parsed.protocol,
      reconnect: parsed.reconnect,
      max: parsed.max,
      timeout_us: Math.round(parsed.timeout * 1000),
      text: parsed.textMode,
    };
    for (const [name, value] of Object.entries(vector)) assert.deepEqual(found[name], value, name);
  });
}

for (const vector of address.invalid) {
  test(`rejects ${JSON.stringify(vector.address)}`, async () => {
    await assert.rejects(
      async () => (vector.when === "connecting" ? connect(vector.address) : parse(vector.address)),
      (error) => {
        assert.ok(error instanceof PanpipeError);
        assert.equal(error.code, vector.code, error.message);
        assert.equal(error.address, vector.address);
        const why = error.message.slice(error.message.indexOf(`: ${error.code}`));
        for (const word of vector.mentions ?? []) assert.ok(why.includes(word), `${error.message} must mention ${word}`);
        return true;
      },
    );
  });
}

test("the codes are those of every language", () => {
  assert.deepEqual(
    codes.map(({ code, exit }) => ({ code, exit })),
    vectors("errors"),
  );
});

test("methods and framings are described in the words of every language", () => {
  const rows = vectors("methods");
  const method = ({ scheme, form, reaches, goodFor, notFor }) => ({ scheme, form, reaches, good_for: goodFor, not_for: notFor });
  assert.deepEqual(methods().map(method), rows.methods);
  const framing = ({ name, wire, goodFor, cannotCarry, keepsBoundaries }) => ({ name, wire, good_for: goodFor, cannot_carry: cannotCarry, keeps_boundaries: keepsBoundaries });
  assert.deepEqual(framings().map(framing), rows.framings);
});

function written(name, messages, max = 16 * 1024 * 1024) {
  const parts = [];
  const link = { pending: 0, write: (given) => parts.push(...given.map((part) => Buffer.from(part))) };
  const outbox = new Outbox(link, resolveFraming(name).encoder, max);
  for (const message of messages) {
    outbox.check(message);
    outbox.push(message);
  }
  outbox.flush();
  return Buffer.concat(parts).toString("hex");
}
