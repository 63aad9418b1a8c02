// What a session does with an end that does not read.

import assert from "node:assert/strict";
import test from "node:test";

import { Session } from "../dist/wire/panpipe/session.js";
import { RAW } from "../dist/wire/panpipe/frame.js";
import { arriving, split } from "./frames.mjs";

const hello = { kind: "HELLO", version: 1, settings: "80" };
const call = (id, flags = []) => ({ kind: "CALL", id, flags, timeout: 0, method: "m" });

function serving() {
  const told = [];
  const begun = [];
  const session = new Session(
    { client: false, max: 16 * 1024 * 1024, calls: 1024, remote: false, largestPacket: null, datagrams: false, left: () => Infinity },
    {
      call: (call) => (begun.push(call), told.push(`call ${call.id}`)),
      send: () => told.push("send"),
      item: (call, flags, bytes, from) => told.push(`item ${call.id} ${bytes[from]}`),
      end: (call) => told.push(`end ${call.id}`),
      open() {},
      reply() {},
      error() {},
      cancelled: (call) => told.push(`cancelled ${call.id}`),
      room() {},
      idle() {},
      flushed() {},
      draining() {},
      ended: (fault) => told.push(`ended ${fault?.code}`),
    },
    0,
  );
  session.now = 0;
  session.receive(arriving([hello]));
  session.take();
  const told_ = () => told.splice(0);
  return { session, begun, told: told_, receive: (...frames) => session.receive(arriving(frames)) };
}

test("while more than 8 MiB wait for the other end no calls are begun, and then those that still want it are", () => {
  const { session, told, receive } = serving();
  receive(call(1));
  assert.deepEqual(told(), ["call 1"]);
  session.unwritten(8 * 1024 * 1024 + 1);
  receive(call(3, ["ARGUMENTS"]), { kind: "ITEM", id: 3, payload: "07" }, { kind: "END", id: 3 }, call(5), { kind: "CANCEL", id: 5 }, { kind: "SEND", id: 7, method: "m" });
  assert.deepEqual(told(), ["send"]);
  const [answer] = split(Buffer.concat(session.take()));
  assert.deepEqual([answer[4], Number(answer.readBigUInt64BE(8))], [5, 5], "the one that was cancelled is answered");
  session.unwritten(0);
  assert.deepEqual(told(), ["call 3", "item 3 7", "end 3"]);
  receive(call(9));
  assert.deepEqual(told(), ["call 9"]);
});

test("who reads nothing for 10 seconds while more than 64 KiB wait is given up", () => {
  const { session, told, begun, receive } = serving();
  receive(call(1), call(3));
  told();
  session.beginReply(begun[0], RAW);
  session.commit(Buffer.alloc(200_000));
  session.take();
  session.unwritten(200_016);
  assert.equal(session.nextDeadline, 10_000);
  session.now = 9_000;
  session.unwritten(150_000);
  session.now = 10_000;
  session.expire();
  assert.ok(!session.over, "something was read");
  session.unwritten(150_000);
  session.now = 19_000;
  session.expire();
  assert.deepEqual(told(), ["cancelled 3", "ended bad-peer"]);
});

test("64 KiB that nobody reads are no reason to give up", () => {
  const { session } = serving();
  session.unwritten(64 * 1024);
  assert.equal(session.nextDeadline, Infinity);
  session.unwritten(64 * 1024 + 1);
  session.unwritten(64 * 1024);
  assert.equal(session.nextDeadline, Infinity);
});
