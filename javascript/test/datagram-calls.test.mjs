// The panpipe protocol on links of packets, and over datagrams.

import assert from "node:assert/strict";
import dgram from "node:dgram";
import { once } from "node:events";
import test from "node:test";

import { Service, connect, serve } from "panpipe";
import { Call } from "../dist/wire/panpipe/call.js";
import { RAW } from "../dist/wire/panpipe/frame.js";
import { nameBytes } from "../dist/wire/panpipe/names.js";
import { Session } from "../dist/wire/panpipe/session.js";
import { arriving } from "./frames.mjs";

const ignore = () => {};
const silent = { call: ignore, send: ignore, item: ignore, end: ignore, open: ignore, reply: ignore, error: ignore, cancelled: ignore, room: ignore, idle: ignore, flushed: ignore, draining: ignore, ended: ignore };
const session = (client, datagrams, largestPacket, events) => new Session({ client, max: 16 * 1024 * 1024, calls: 1024, remote: false, largestPacket, datagrams, left: () => Infinity, firstId: 1000 }, { ...silent, ...events }, 0);
const takeAll = (from) => {
  const packets = [];
  for (let parts = from.take(); parts.length > 0; parts = from.take()) packets.push(...parts.map((part) => Buffer.from(part)));
  return packets;
};

test("on a link of packets each is one frame, and long messages fit into them", () => {
  let reply;
  let payload;
  const client = session(true, false, 2000, { reply: (call, flags, bytes, from, to) => (reply = bytes.subarray(from, to)) });
  const server = session(false, false, 2000, { call: (call, bytes, from, to) => ((payload = Buffer.from(bytes.subarray(from, to))), server.beginReply(call, RAW), server.commit(payload)) });
  const sent = Buffer.alloc(30_000, "abcdef");
  client.beginCall(new Call(true, "m", RAW, Infinity), nameBytes("m"));
  assert.equal(client.commit(sent), null);
  client.beginSend(nameBytes("m"), RAW);
  assert.equal(client.commit(Buffer.alloc(1000)), null);
  for (let round = 0; round < 3; round++) {
    for (const [from, to] of [[client, server], [server, client]]) {
      for (const packet of takeAll(from)) {
        assert.ok(packet.length <= 2000);
        assert.equal(packet.readUInt32BE(0), packet.length - 16);
        to.receive(packet);
      }
    }
  }
  assert.ok(sent.equals(payload) && sent.equals(reply));
  server.receive(Buffer.concat([arriving([{ kind: "PING" }]), Buffer.of(0)]));
  assert.equal(server.failure.code, "bad-peer");
});

test("of datagrams none runs twice, none that is old, and what is no frame is dropped", () => {
  const ran = [];
  const server = session(false, true, 1200, { call: (call, bytes, from) => ran.push(`call ${call.id} ${bytes[from]}`), send: (send, bytes, from) => ran.push(`send ${bytes[from]}`) });
  const receive = (frame) => server.receive(arriving([frame]));
  const call = (id) => ({ kind: "CALL", id, timeout: 0, method: "m", payload: "05" });
  receive(call(9));
  receive(call(9));
  receive(call(5));
  receive({ kind: "SEND", id: 5, method: "m", payload: "06" });
  assert.deepEqual(ran.splice(0), ["call 9 5", "call 5 5"]);
  for (const nonsense of ["", "00", "ffffffff", "00000000020000000000000000000001", "000000017f000000000000000000000100"]) server.receive(Buffer.from(nonsense, "hex"));
  assert.equal(server.dropped, 5);
  for (let id = 11; id < 11 + 2 * 1024; id += 2) receive({ kind: "SEND", id, method: "m", payload: "07" });
  assert.equal(ran.splice(0).length, 1024);
  receive(call(7));
  receive(call(9));
  assert.deepEqual(ran, []);
  assert.ok(!server.over);
  server.take();
  receive({ ...call(9001), flags: ["STREAM"] });
  assert.match(String(Buffer.concat(server.take())), /unsupported/);
});

test("udp: calls, one-way messages and errors; streams and large messages are refused", async () => {
  const notes = [];
  const service = new Service().method("upper", (text) => text.toUpperCase()).method("note", (note) => void notes.push(note)).method("large", () => "x".repeat(2000));
  const server = await serve("udp://127.0.0.1:0?protocol=panpipe", service);
  const peer = await connect(server.address);
  assert.deepEqual(await Promise.all(Array.from({ length: 20 }, (_, n) => peer.call("upper", `a${n}`))), Array.from({ length: 20 }, (_, n) => `A${n}`));
  await peer.send("note", 1);
  await peer.flush();
  assert.deepEqual(notes, [1]);
  assert.equal((await peer.call("upper", "x".repeat(1170))).length, 1170);
  await assert.rejects(peer.call("upper", "x".repeat(1200)), { code: "too-large", ran: "no" });
  await assert.rejects(peer.call("large"), { code: "too-large", ran: "maybe" });
  await assert.rejects(peer.call("nothing"), { code: "not-found" });
  await assert.rejects(peer.stream("upper", "x").next(), { code: "unsupported" });
  await assert.rejects(peer.subscribe("upper"), { code: "unsupported" });
  await peer.close();
  await server.close();
});

test("udp: what gets lost ends at its deadline, and more calls than there are places may get lost", async () => {
  const deaf = dgram.createSocket("udp4").bind(0, "127.0.0.1");
  await new Promise((resolve) => deaf.once("listening", resolve));
  const peer = await connect(`udp://127.0.0.1:${deaf.address().port}?protocol=panpipe&timeout=50ms`);
  const calls = Array.from({ length: 3000 }, () => peer.call("upper", "x").catch(({ code }) => code));
  assert.deepEqual(new Set(await Promise.all(calls)), new Set(["deadline-exceeded"]));
  await assert.rejects(peer.call("upper", "x"), { code: "deadline-exceeded", ran: "maybe" });
  deaf.close();
  await new Promise((resolve) => deaf.once("close", resolve));
  await assert.rejects(peer.call("upper", "x", { timeout: 5000 }), { code: "refused", ran: "maybe" });
  await peer.close();
});

test("udp: ids begin with the time, so that who comes anew is not taken for what has been", async () => {
  const plain = dgram.createSocket("udp4").bind(0, "127.0.0.1");
  await once(plain, "listening");
  let last = 1000 * Date.now();
  for (let round = 0; round < 3; round++) {
    const peer = await connect(`udp://127.0.0.1:${plain.address().port}?protocol=panpipe`);
    await peer.send("note", round);
    const frame = await new Promise((resolve) => plain.on("message", (frame) => frame[4] === 3 && resolve(frame)));
    const id = Number(frame.readBigUInt64BE(8));
    assert.ok(id >= last && id <= 1000 * Date.now() + 1, `${id} after ${last}`);
    last = id;
    await peer.close();
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  plain.close();
});
