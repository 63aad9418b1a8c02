// The WebSocket without sockets: frames, requests and responses are those of vectors/websocket.json.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";

import { defaultHosts, hostRules, readAuthority, readOrigin } from "../dist/wire/websocket/authority.js";
import { faultOfClose } from "../dist/wire/websocket/closing.js";
import { applyMask, headSizeOf, writeHead } from "../dist/wire/websocket/frame.js";
import { BadHead } from "../dist/wire/websocket/head.js";
import { judge, readRequest } from "../dist/wire/websocket/policy.js";
import { Receiver } from "../dist/wire/websocket/receiving.js";
import { together } from "../dist/wire/websocket/together.js";
import { readResponse, upgradeRequest, upgradeResponse } from "../dist/wire/websocket/upgrade.js";
import { asSubprotocol, isSecret, isToken } from "../dist/wire/token.js";
import { head, message, sent, text, vectors } from "./websocket-vectors.mjs";

const acceptOf = (key) => createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");

/** Gives bytes to an end in chunks of this size, and answers what came of it. */
function receive(bytes, size, { client, max = 16 * 1024 * 1024, carries = "binary" }) {
  const messages = [];
  const receiver = new Receiver(client, max, carries, (each) => messages.push(Buffer.from(each)));
  let decidedAt = null;
  for (let at = 0; at < bytes.length; at += size) {
    receiver.receive(Buffer.from(bytes.subarray(at, at + size)));
    if (decidedAt === null && receiver.violation !== null) decidedAt = at;
  }
  return { receiver, messages, decidedAt };
}

for (const vector of vectors.frames) {
  for (const end of ["server", "client"]) {
    if (vector.against !== undefined && vector.against !== end) continue;
    test(`a ${end} reads ${vector.name}`, () => {
      const passes = vector.close === 1000 && vector.code === null && !vector.sends.some(({ op }) => op === "close");
      const sends = passes ? [...vector.sends, { op: "close", code: 1000 }] : vector.sends;
      const bytes = sent({ sends }, end === "server");
      // Every size for what is short, and some for what is long.
      const sizes = bytes.length < 300 ? Array.from({ length: bytes.length + 1 }, (_, index) => index + 1) : [1, 2, 3, 7, 4096, bytes.length];
      for (const size of sizes) {
        const { receiver, messages } = receive(bytes, size, { ...vector, client: end === "client" });
        assert.deepEqual(messages, (vector.messages ?? []).map(message), `chunks of ${size}`);
        if (vector.pong !== undefined) assert.deepEqual(Buffer.from(receiver.ping), Buffer.from(text(vector.pong), "hex"));
        if (vector.close === undefined) {
          assert.equal(receiver.closed, null);
          assert.equal(receiver.violation, null);
        } else if (receiver.violation === null) {
          assert.equal(receiver.closed?.code, vector.close, `chunks of ${size}`);
          assert.equal(faultOfClose(receiver.closed.code, receiver.closed.reason)?.code ?? null, vector.code);
        } else {
          assert.equal(receiver.violation.close, vector.close, receiver.violation.fault.text);
          assert.equal(receiver.violation.fault.code, vector.code, `chunks of ${size}`);
        }
      }
    });
  }
}

/** What a listener of this policy says to these bytes, by its status. */
function answer(bytes, { listens = "localhost", port = 9000, tls = false, path = "/", hosts, origins, token, protocols = ["panpipe"], static: files = false } = {}) {
  const policy = {
    path,
    port,
    secure: tls,
    hosts: [...defaultHosts(listens.replace(/^\[|\]$/g, "")), ...hostRules((hosts?.split(",") ?? []).map(readAuthority))],
    origins: (origins?.split(",") ?? []).map(readOrigin),
    token: token ?? null,
    panpipe: protocols.includes("panpipe"),
    plain: protocols.includes("plain"),
    files,
  };
  try {
    const request = readRequest(bytes);
    if (request === null) return null;
    const given = judge(policy, request);
    if (given.do === "upgrade") {
      assert.equal(given.selected, given.panpipe ? "panpipe" : given.selected && "panpipe.plain");
      return { status: 101, panpipe: given.panpipe, ...(given.panpipe || given.selected === null ? {} : { selects: given.selected }) };
    }
    return given.do === "file" ? { status: 200, file: given.path, ...(given.headOnly ? { head_only: true } : {}) } : { status: given.status };
  } catch (error) {
    if (!(error instanceof BadHead)) throw error;
    return { status: error.status };
  }
}

for (const vector of vectors.requests) {
  test(`judges ${vector.name}`, () => {
    const port = vector.policy?.port ?? 9000;
    const bytes = head(vectors.request, vector, (each) => each.replaceAll("{port}", port));
    const expected = Object.fromEntries(Object.entries(vector).filter(([name]) => ["status", "panpipe", "selects", "file", "head_only"].includes(name)));
    // As bytes come: an answer that is there early stays what it is.
    for (const size of bytes.length < 1000 ? [1, 2, 7, bytes.length] : [bytes.length]) {
      let found = null;
      for (let have = Math.min(size, bytes.length); found === null && have <= bytes.length; have = have === bytes.length ? have + 1 : Math.min(have + size, bytes.length)) found = answer(bytes.subarray(0, have), vector.policy);
      assert.deepEqual(found, expected, `chunks of ${size}`);
    }
  });
}

for (const vector of vectors.responses) {
  test(`a client reads ${vector.name}`, () => {
    const key = "AQIDBAUGBwgJCgsMDQ4PEA==";
    const accept = acceptOf(key);
    const words = { "{accept}": accept, "{accept-unpadded}": accept.replace("=", ""), "{accept-lower}": accept.toLowerCase(), "{key}": key };
    const bytes = head(vectors.response, vector, (each) => each.replace(/\{[a-z-]+\}/g, (word) => words[word]));
    let found = null;
    try {
      for (let have = 1; found === null && have <= bytes.length; have = bytes.length < 2000 ? have + 1 : have === bytes.length ? have + 1 : bytes.length) {
        found = readResponse(bytes.subarray(0, have), accept, vector.panpipe ?? true);
      }
    } catch (fault) {
      assert.equal(fault.code, vector.code, fault.text);
      if (vector.says !== undefined) assert.ok(fault.text.includes(vector.says), fault.text);
      return;
    }
    if (vector.cut) assert.equal(found, null);
    else assert.equal(found === null ? "undecided" : null, vector.code);
  });
}

test("what one end writes the other reads, whatever its length", () => {
  for (const length of [0, 1, 125, 126, 127, 65_535, 65_536, 100_000]) {
    for (const mask of [null, Buffer.from([1, 2, 3, 4])]) {
      const message = Buffer.alloc(length, "abcdefg");
      const frame = Buffer.alloc(headSizeOf(length, mask !== null) + length);
      const at = writeHead(frame, 0, 2, length, mask !== null);
      message.copy(frame, at);
      if (mask !== null) mask.copy(frame, at - 4);
      if (mask !== null) applyMask(frame, at, frame.length, mask, 0, 0);
      for (const size of [frame.length, 5000]) {
        const { messages, receiver } = receive(frame, size, { client: mask === null });
        assert.equal(receiver.violation, null);
        assert.deepEqual(messages, [message]);
      }
    }
  }
});

test("a mask is the same however its bytes lie and are cut", () => {
  const mask = Buffer.from([9, 8, 7, 6]);
  for (let offset = 0; offset < 8; offset++) {
    for (const length of [0, 3, 63, 64, 65, 70, 131]) {
      const given = Buffer.alloc(offset + length, 0x55);
      const cut = Math.floor(length / 3);
      const phase = applyMask(given, offset, offset + cut, mask, 0, 0);
      applyMask(given, offset + cut, offset + length, mask, 0, phase);
      for (let at = 0; at < length; at++) assert.equal(given[offset + at], 0x55 ^ mask[at % 4], `${offset} ${length} ${at}`);
    }
  }
});

test("a claimed length costs no memory", () => {
  const { receiver } = receive(Buffer.concat([Buffer.from([0x82, 0x7f, 0, 0, 0, 0, 0x3f, 0xff, 0xff, 0xff]), Buffer.alloc(10)]), 100, { client: true, max: 2 ** 30 });
  assert.equal(receiver.violation, null);
  assert.ok(process.memoryUsage().arrayBuffers < 100 * 1024 * 1024);
});

test("a client's request is answered by our server, and the answer read", () => {
  const key = "dGhlIHNhbXBsZSBub25jZQ==";
  for (const panpipe of [true, false]) {
    const token = "a-token-of-no-use";
    const bytes = Buffer.from(upgradeRequest({ host: "127.0.0.1:9000", path: "/a b?c[]=ä%", key, panpipe, token }));
    assert.match(String(bytes), /^GET \/a%20b\?c%5B%5D=%C3%A4%25 HTTP/);
    assert.deepEqual(answer(bytes, { path: "/a b?c[]=ä%", token, protocols: [panpipe ? "panpipe" : "plain"] }), { status: 101, panpipe });
    const response = Buffer.from(upgradeResponse(acceptOf(key), panpipe ? "panpipe" : null));
    assert.equal(readResponse(response, acceptOf(key), panpipe), response.length);
  }
  assert.equal(acceptOf(key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
});

test("tokens are 16 to 512 visible characters, compared whole", () => {
  assert.ok(isToken("x".repeat(16)) && isToken("~".repeat(512)));
  for (const wrong of ["", "x".repeat(15), "x".repeat(513), "with a space in it", "with a tab\tin it..", "ünïcödé-ünïcödé-"]) assert.ok(!isToken(wrong), wrong);
  assert.equal(asSubprotocol("a-token/of+24.characters"), "panpipe.token.YS10b2tlbi9vZisyNC5jaGFyYWN0ZXJz");
  const secret = "0123456789abcdef";
  assert.ok(isSecret(secret, secret));
  for (const wrong of ["", "0", "0123456789abcdeg", "1123456789abcdef", secret + secret, secret.slice(0, 8)]) assert.ok(!isSecret(secret, wrong), wrong);
});

test("a stream goes in as few messages as may be, and none is larger than that", () => {
  const part = (length, from) => Uint8Array.from({ length }, (_, at) => (from + at) % 256);
  const parts = [part(3, 0), part(0, 3), part(25, 3), part(2, 28), part(10, 30)];
  for (const [most, sizes] of [[40, [40]], [41, [40]], [39, [39, 1]], [10, [10, 10, 10, 10]], [7, [7, 7, 7, 7, 7, 5]]]) {
    const messages = together(parts, most).map((message) => Buffer.concat(message));
    assert.deepEqual(messages.map(({ length }) => length), sizes);
    assert.deepEqual(Buffer.concat(messages), Buffer.concat(parts));
  }
});
