// Whatever a peer sends, the result depends on the bytes alone, and it is a message or a code.

import assert from "node:assert/strict";
import test from "node:test";

import { codes } from "panpipe";
import { chance, toHex } from "./bytes.mjs";
import { Inbox, cut, read, resolveFraming, Session, write } from "./reading.mjs";

const framings = ["lines", "nul", "length", "length:u8", "length:u16le", "length:u64", "length:u64le", "netstring", "varint", "content-length"];
const known = new Set(codes.map((each) => each.code));
const alphabets = { any: null, digits: "0123456789:,\n\r\0", header: "Content-Length: 12\r\n\r\n:x" };

for (const framing of framings) {
  test(`${framing}: arbitrary bytes give the same, however they are cut`, () => {
    const random = chance(1);
    const seen = new Set();
    for (let round = 0; round < 400; round++) {
      const max = random.pick([1, 4, 40, 70_000]);
      const wire = arbitrary(framing, random, max);
      const whole = read(framing, [wire], { max, eof: true });
      assert.ok(whole.code === undefined ? whole.ended : known.has(whole.code), `code ${whole.code}`);
      seen.add(whole.code);
      for (const size of [1, 2, 3, 5, 7, 16, 33]) same(framing, wire, cut(wire, size), { max, eof: true }, whole);
      for (let at = 1; at < Math.min(wire.length, 60); at++) same(framing, wire, [wire.slice(0, at), wire.slice(at)], { max, eof: true }, whole);
    }
    // The test would be empty if nothing went through or nothing was refused.
    assert.ok(seen.has(undefined) && seen.has("connection-lost") && seen.has("too-large"), [...seen].join());
  });

  test(`${framing}: what is written is read`, () => {
    const random = chance(2);
    for (let round = 0; round < 200; round++) {
      const messages = Array.from({ length: random.below(6) }, () => carried(framing, random, random.pick([0, 1, 3, 120, 200])));
      const wire = Buffer.concat(messages.map((message) => write(framing, message)));
      for (const size of [1, 4, 61, wire.length + 1]) {
        for (const lazy of [false, true]) {
          const result = read(framing, cut(wire, size), { eof: true, lazy });
          assert.deepEqual(result, { messages: messages.map(toHex), code: undefined, ended: true });
        }
      }
    }
  });

  test(`${framing}: a message of a megabyte comes in pieces at linear cost`, () => {
    const { decoder } = resolveFraming(framing);
    const size = framing === "length:u8" ? 255 : framing === "length:u16le" ? 65535 : 1 << 20;
    const wire = write(framing, new Uint8Array(size).fill(0x78));
    const inner = decoder(16 << 20);
    let looks = 0;
    let searched = 0;
    const counting = {
      get need() { return inner.need; },
      get from() { return inner.from; },
      get to() { return inner.to; },
      get next() { return inner.next; },
      scan(bytes, start) {
        looks++;
        bytes.indexOf = (byte, from) => {
          const found = Uint8Array.prototype.indexOf.call(bytes, byte, from);
          searched += (found < 0 ? bytes.length : found) - from;
          return found;
        };
        return inner.scan(bytes, start);
      },
    };
    const session = new Session("test:", new Inbox(counting), false);
    const pieces = cut(wire, 64);
    const started = performance.now();
    let found;
    for (const piece of pieces) {
      session.receive(piece);
      found = session.take(() => {}) ?? found;
    }
    assert.equal(found.length, size);
    assert.ok(looks <= 3 * pieces.length + 3, `${looks} looks at ${pieces.length} pieces`);
    assert.ok(searched <= wire.length, `${searched} bytes of ${wire.length} were searched`);
    // Linear is a few milliseconds; copying anew for each piece is a second or more.
    assert.ok(performance.now() - started < 500, "too slow to be linear");
  });
}

for (const [framing, wire] of [["length", "ffffffff"], ["length:u64", "8000000000000000"], ["length:u64le", "0000000000000080"], ["varint", "ffffffff0f"], ["varint", "80808080808080808001"], ["netstring", toHex(Buffer.from("4294967295:"))], ["content-length", toHex(Buffer.from("Content-Length: 9223372036854775808\r\n\r\n"))]]) {
  test(`${framing}: the length ${wire.slice(0, 20)} costs no memory`, () => {
    const before = process.memoryUsage();
    for (let round = 0; round < 1000; round++) assert.equal(read(framing, [Buffer.from(wire, "hex")]).code, "too-large");
    const after = process.memoryUsage();
    assert.ok(after.arrayBuffers - before.arrayBuffers < 8 << 20, "buffers were allocated");
  });
}

test("content-length: the empty line must end within 4,096 bytes", () => {
  const head = (size) => `Content-Length: 1\r\nX: ${"x".repeat(size - 24)}\r\n`;
  for (const size of [1, 100, 5000]) {
    assert.equal(read("content-length", cut(Buffer.from(head(4096)), size)).code, "bad-peer");
    assert.equal(read("content-length", cut(Buffer.from(head(4095)), size)).code, undefined);
    assert.equal(read("content-length", cut(Buffer.from(`${head(4095)}\r\ny`), size)).code, "bad-peer");
    assert.deepEqual(read("content-length", cut(Buffer.from(`${head(4094)}\r\ny`), size)).messages, ["79"]);
  }
});

test("length: an allowed length that is claimed and not sent costs little memory", () => {
  const sessions = [];
  const before = process.memoryUsage().arrayBuffers;
  for (let round = 0; round < 100; round++) {
    const session = new Session("test:", new Inbox(resolveFraming("length").decoder(1 << 30)), false);
    session.recv({ resolve() {}, reject() {}, deadline: Infinity });
    session.receive(Buffer.from([0x3f, 0xff, 0xff, 0xff]));
    session.receive(Buffer.from("x"));
    sessions.push(session);
  }
  assert.ok(process.memoryUsage().arrayBuffers - before <= 100 * 300 * 1024, "what is claimed is allocated");
});

function same(framing, wire, chunks, options, whole) {
  for (const lazy of [false, true]) {
    const result = read(framing, chunks, { ...options, lazy });
    assert.deepEqual(result, whole, `${framing} ${toHex(wire)} in ${chunks.map((chunk) => chunk.length)}`);
  }
}

/** Noise of several kinds, and valid messages with a few bytes changed. */
function arbitrary(framing, random, max) {
  const letters = alphabets[random.pick(Object.keys(alphabets))];
  const noise = random.bytes(random.below(40)).map((byte) => (letters === null ? byte : letters.charCodeAt(byte % letters.length)));
  const size = Math.min(max, 30);
  const messages = Array.from({ length: random.below(4) }, () => write(framing, carried(framing, random, random.below(8) === 0 ? size + 1 : random.below(size + 1))));
  const wire = new Uint8Array(Buffer.concat([...messages, ...(random.below(2) === 0 ? [noise] : [])]));
  for (let change = random.below(3); change > 0 && wire.length > 0; change--) wire[random.below(wire.length)] = random.below(256);
  return random.below(4) === 0 ? wire.slice(0, random.below(wire.length + 1)) : wire;
}

/** A message that this framing carries. */
function carried(framing, random, size) {
  const bytes = random.bytes(size);
  return framing === "lines" || framing === "nul" ? bytes.map((byte) => (byte % 90) + 0x20) : bytes;
}
