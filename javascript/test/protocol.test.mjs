// The panpipe protocol, by the vectors that every language is held to.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { Misfit } from "../dist/wire/panpipe/misfit.js";
import { pack } from "../dist/wire/panpipe/pack.js";
import { unpackValue } from "../dist/wire/panpipe/unpack.js";
import { Writer } from "../dist/wire/panpipe/writer.js";
import { FrameDecoder, readHead } from "../dist/wire/panpipe/frame.js";
import { hex, toHex } from "./bytes.mjs";
import { Driven } from "./driving.mjs";
import { encode, flagsOf } from "./frames.mjs";

const vectors = (name) => JSON.parse(readFileSync(new URL(`../../vectors/protocol/${name}.json`, import.meta.url), "utf8"));
const hello = { kind: "HELLO", version: 1, settings: "80" };

const written = (value) => {
  const out = new Writer();
  pack(out, value, "value");
  return toHex(out.takeCopy());
};

/** A value as data, as this language has it. */
function valueOf(data) {
  const [[kind, is]] = Object.entries(data);
  switch (kind) {
    case "nil":
      return null;
    case "bool":
    case "text":
      return is;
    case "int":
      return Number.isSafeInteger(Number(is)) ? Number(is) : BigInt(is);
    case "float":
      return { nan: NaN, inf: Infinity, "-inf": -Infinity }[is] ?? Number(is);
    case "bytes":
      return Buffer.from(hex(is));
    case "array":
      return is.map(valueOf);
    case "time":
      return new Date(Number(is[0]) * 1000 + Math.floor(is[1] / 1e6));
    case "map": {
      const entries = is.map(([key, value]) => [valueOf(key), valueOf(value)]);
      if (entries.some(([key]) => typeof key !== "string")) return new Map(entries);
      return Object.fromEntries(entries);
    }
    default:
      throw new Error(`no kind of value: ${kind}`);
  }
}

/** Whether JavaScript writes what it reads here in the same bytes. */
function keeps(data) {
  const [[kind, is]] = Object.entries(data);
  if (kind === "float") return !Number.isSafeInteger(Number(is)) || is === "-0";
  if (kind === "time") return is[1] % 1e6 === 0;
  return true;
}

for (const vector of vectors("values")) {
  test(`value: ${vector.name}`, () => {
    // Node's memory and that of a browser, which has no Buffer.
    for (const bytes of [Buffer.from(hex(vector.hex)), hex(vector.hex)]) {
      if (vector.error !== undefined) {
        assert.throws(() => unpackValue(bytes, "value"), (error) => error instanceof Misfit && error.path === vector.path);
        continue;
      }
      const value = valueOf(vector.value);
      const found = unpackValue(bytes, "value");
      if (value instanceof Uint8Array) assert.equal(toHex(found), toHex(value));
      else if (!(bytes instanceof Buffer) && vector.hex.includes("c4")) continue;
      else assert.deepStrictEqual(found, value);
      if (vector.reads === true) continue;
      if (keeps(vector.value)) assert.equal(written(value), vector.hex);
    }
  });
}

for (const vector of vectors("frames")) {
  test(`frame: ${vector.name}`, () => {
    assert.equal(toHex(encode(vector.frame)), vector.hex);
    const bytes = hex(vector.hex);
    const head = {};
    readHead(bytes, 0, head);
    assert.deepEqual([head.flags, head.id], [flagsOf(vector.frame.flags), vector.frame.id ?? 0]);
    const decoder = new FrameDecoder();
    const greeting = encode(hello);
    assert.ok(decoder.scan(greeting, 0));
    assert.ok(decoder.scan(bytes, 0));
    assert.equal(decoder.next, bytes.length);
    assert.ok(!decoder.scan(bytes.subarray(0, -1), 0));
  });
}

for (const vector of vectors("sessions")) {
  test(`session: ${vector.name}`, () => {
    for (const chunk of [Infinity, 1, 1500]) {
      if (chunk === 1 && JSON.stringify(vector).includes('"repeat"')) continue;
      const driven = new Driven(vector, chunk);
      vector.steps.forEach((step, index) => {
        try {
          driven.step(step);
        } catch (error) {
          error.message = `step ${index}, ${JSON.stringify(step).slice(0, 300)}, in chunks of ${chunk}: ${error.message}`;
          throw error;
        }
      });
    }
  });
}

for (const vector of vectors("bad")) {
  test(`bad: ${vector.name}`, () => {
    const driven = new Driven(vector);
    if (vector.hello !== false) {
      driven.reads([hello]);
      driven.taken();
    }
    for (const step of vector.before ?? []) driven.step(step);
    driven.told.length = 0;
    driven.reads(vector.reads);
    const { failure } = driven.session;
    assert.notEqual(failure, null, "nothing broke");
    assert.equal(failure.code, vector.code, failure.text);
    assert.ok(failure.text.includes(vector.says), `${failure.text} must say ${vector.says}`);
    assert.deepEqual(driven.told.at(-1), { ended: vector.code });
  });
}
