// Pairs of every kind, and bad days that change nothing.

import assert from "node:assert/strict";
import test from "node:test";

import { connect, pair, serve } from "panpipe";
import { memPair, withChaos } from "../dist/link/mem.js";
import { chance } from "./bytes.mjs";
import { path } from "./place.mjs";

for (const text of ["protocol=plain", "socket?protocol=plain", "pipe?framing=lines", "?framing=nul", "framing=lines", "socket?framing=length&chaos=1"]) {
  test(`pair(${JSON.stringify(text)}) goes both ways`, async () => {
    const [a, b] = pair(text);
    const calling = a.call("there");
    assert.equal(String(await b.recv()), "there");
    await b.send("back");
    assert.equal(String(await calling), "back");
    await a.close();
    assert.equal(await b.recv(), null);
    await b.close();
  });
}

test("of a one-way pair the first end reads and the second writes", async () => {
  const [reader, writer] = pair("one-way?text=true");
  await writer.send("x");
  assert.equal(await reader.recv(), "x");
  await assert.rejects(reader.send("x"), { code: "unsupported", message: /this end only reads/ });
  await assert.rejects(reader.call("x"), { code: "unsupported", message: /this end only reads/ });
  await assert.rejects(writer.recv(), { code: "unsupported", message: /this end only writes/ });
  await assert.rejects(writer.call("x"), { code: "unsupported", message: /this end only writes/ });
  await writer.close();
  assert.equal(await reader.recv(), null);
  await reader.close();
});

test("what is no pair is said with what is", () => {
  assert.throws(() => pair("tube"), { code: "unsupported", message: /"tube"; known: socket, pipe, one-way/ });
  assert.throws(() => pair("pipe?chaos=1"), { code: "unsupported", message: /sockets/ });
  for (const wrong of ["", "cut", ",cut", "+1", "-1", "1,", "1,cut,cut", "18446744073709551616", "x"]) {
    assert.throws(() => pair(`?chaos=${wrong}`), { code: "invalid-address" }, wrong);
  }
  pair("?chaos=18446744073709551615,cut");
});

/** A conversation of messages of mixed sizes; what came of each. */
async function converse(seed, options) {
  const { below } = chance(seed);
  const server = await serve(`mem:${path("m")}?${options}`, (message) => Buffer.from(message).reverse());
  const peer = await connect(server.address);
  const messages = Array.from({ length: 20 }, (_, index) => Buffer.alloc([1, 10, 1000, 70_000][below(4)] + below(5), `${index} `));
  const results = await Promise.allSettled(messages.map((message) => peer.call(message, { timeout: 10_000 })));
  await peer.close();
  await server.close();
  results.forEach(({ value }, index) => value === undefined || assert.ok(value.equals(Buffer.from(messages[index]).reverse()), `seed ${seed}: ${index}`));
  return results.map(({ reason }) => reason?.code);
}

test("200 seeds of chaos change no conversation", async () => {
  const framings = ["lines", "nul", "length", "netstring", "varint", "content-length"];
  for (let seed = 0; seed < 200; seed++) {
    const codes = await converse(seed, `framing=${framings[seed % framings.length]}&chaos=${seed}`);
    assert.ok(codes.every((code) => code === undefined), `seed ${seed}: ${codes}`);
  }
});

test("chaos that cuts ends in replies and connection-lost, never in anything else", async () => {
  let cut = 0;
  for (let seed = 0; seed < 100; seed++) {
    const codes = await converse(seed, `framing=length&chaos=${seed},cut`);
    assert.ok(codes.every((code) => code === undefined || code === "connection-lost"), `seed ${seed}: ${codes}`);
    // After the first that was lost all are.
    assert.ok(codes.slice(codes.indexOf("connection-lost") >>> 0).every((code, _, rest) => code === rest[0]), `seed ${seed}: ${codes}`);
    cut += codes.includes("connection-lost") ? 1 : 0;
  }
  assert.ok(cut > 10 && cut < 100, `${cut}`);
});

/** The sizes in which 100,000 bytes arrive. */
function pieces(seed) {
  return new Promise((resolve) => {
    const [a, b] = memPair("test");
    const sizes = [];
    withChaos(b, { seed: BigInt(seed), cuts: true }, 0).start({
      onData: (chunk) => sizes.push(chunk.length),
      onEnd: () => resolve(sizes),
      onLost: () => resolve(sizes),
    });
    a.start({ onWritten() {}, onLost() {} });
    a.write([Buffer.alloc(100_000)]);
    void a.close(1000);
  });
}

test("the same seed gives the same pieces, and another seed others", async () => {
  assert.deepEqual(await pieces(7), await pieces(7));
  assert.notDeepEqual(await pieces(7), await pieces(8));
  assert.ok((await pieces(7)).length > 1);
});
