// The plain session, with time as an argument.

import assert from "node:assert/strict";
import test from "node:test";

import { Inbox, Session, Waiter, resolveFraming } from "./reading.mjs";

const text = (value) => (value === null ? null : typeof value === "string" ? value : String(Buffer.from(value)));

function start({ textMode = false, framing = "lines", max = 1000 } = {}) {
  const session = new Session("test:", new Inbox(resolveFraming(framing).decoder(max)), textMode);
  const log = [];
  const wait = (name, deadline = Infinity) =>
    new Waiter(name, (message) => log.push(`${name}=${text(message)}`), (error) => log.push(`${name}!${error.code},${error.ran}`), deadline);
  return {
    session,
    log,
    call: (name, deadline) => {
      const waiter = wait(name, deadline);
      const refusal = session.refusal(name);
      if (refusal === null) session.call(waiter);
      else log.push(`${name}!${refusal.code},${refusal.ran}`);
      return waiter;
    },
    recv: (name, deadline) => {
      const waiter = wait(name, deadline);
      session.recv(waiter);
      return waiter;
    },
    arrives: (data) => session.receive(Buffer.from(data)),
  };
}

test("replies go to calls in order, the rest to recv", () => {
  const { call, recv, arrives, log } = start();
  call("a");
  call("b");
  recv("r");
  arrives("1\n2\n3\n");
  assert.deepEqual(log, ["a=1", "b=2", "r=3"]);
});

test("what arrived while no call waited is not the answer to a later call", () => {
  const { call, recv, arrives, log } = start();
  arrives("greeting\n");
  call("a");
  arrives("reply\n");
  recv("r");
  assert.deepEqual(log, ["a=reply", "r=greeting"]);
});

test("recv gets what arrived before the calls that still wait", () => {
  const { call, recv, arrives, log } = start();
  arrives("early\n");
  call("a");
  recv("r");
  arrives("reply\n");
  assert.deepEqual(log, ["r=early", "a=reply"]);
});

test("a call that timed out keeps its place, and its late reply is dropped", () => {
  const { call, arrives, session, log } = start();
  call("a", 10);
  call("b", 20);
  assert.equal(session.nextDeadline, 10);
  session.expire(9);
  assert.deepEqual(log, []);
  session.expire(10);
  assert.equal(session.nextDeadline, 20);
  assert.equal(session.waiting, 1);
  arrives("1\n2\n");
  assert.deepEqual(log, ["a!deadline-exceeded,maybe", "b=2"]);
  assert.equal(session.waiting, 0);
});

test("a receiver that timed out leaves, and loses nothing", () => {
  const { recv, arrives, session, log } = start();
  recv("r", 5);
  session.expire(5);
  arrives("1\n");
  recv("s");
  assert.deepEqual(log, ["r!deadline-exceeded,no", "s=1"]);
});

test("giving up after the reply changes nothing", () => {
  const { call, arrives, session, log } = start();
  const waiter = call("a");
  arrives("1\n");
  session.abandon(waiter, "cancelled", "");
  call("b");
  arrives("2\n");
  assert.deepEqual(log, ["a=1", "b=2"]);
});

test("the end between messages is a clean close", () => {
  const { recv, arrives, session, log } = start();
  arrives("1\n");
  session.finish();
  recv("r");
  recv("s");
  recv("t");
  assert.deepEqual(log, ["r=1", "s=null", "t=null"]);
});

test("the end inside a message is connection-lost", () => {
  const { recv, arrives, session, log } = start();
  arrives("1\n2");
  recv("r");
  session.finish();
  recv("s");
  assert.deepEqual(log, ["r=1", "s!connection-lost,no"]);
});

test("the end is connection-lost for each call that waits, and a later call is not sent", () => {
  const { call, session, log } = start();
  call("a");
  session.finish();
  call("b");
  assert.deepEqual(log, ["a!connection-lost,maybe", "b!connection-lost,no"]);
});

test("what arrived before the link broke is handed out first", () => {
  const { recv, call, arrives, session, log } = start();
  arrives("1\n2\n");
  session.fail("connection-lost", "reset");
  call("a");
  recv("r");
  recv("s");
  recv("t");
  assert.deepEqual(log, ["a!connection-lost,no", "r=1", "s=2", "t!connection-lost,no"]);
});

test("messages before a broken one are handed out", () => {
  const { call, recv, arrives, log } = start({ framing: "netstring" });
  call("a");
  call("b");
  arrives("1:x,nonsense");
  recv("r");
  assert.deepEqual(log, ["a=x", "b!bad-peer,maybe", "r!bad-peer,no"]);
});

test("text mode: bytes that are not UTF-8 fail that message, and the connection lives on", () => {
  const { call, arrives, log } = start({ textMode: true });
  call("a");
  call("b");
  arrives(Buffer.from("ff0a", "hex"));
  arrives("grüße\n");
  assert.deepEqual(log, ["a!bad-peer,maybe", "b=grüße"]);
});

test("while nobody waits, reading stops above 64 KiB, and goes on when somebody does", () => {
  const { recv, arrives, session } = start({ framing: "length", max: 1 << 20 });
  const message = Buffer.concat([Buffer.from([0, 0, 0x80, 0]), Buffer.alloc(0x8000)]);
  arrives(message);
  assert.ok(session.wantsInput);
  arrives(message);
  arrives(message);
  assert.ok(!session.wantsInput);
  recv("r");
  recv("s");
  assert.ok(session.wantsInput);
});

test("a large message is read on although nothing is whole, once somebody waits for it", () => {
  const { call, arrives, session } = start({ framing: "length", max: 1 << 20 });
  call("a");
  arrives(Buffer.concat([Buffer.from([0, 8, 0, 0]), Buffer.alloc(200_000)]));
  assert.ok(session.wantsInput);
});

test("messages that nobody receives do not pile up behind calls", () => {
  const { call, arrives, session } = start({ framing: "length", max: 1 << 20 });
  const message = Buffer.concat([Buffer.from([0, 0, 0x80, 0]), Buffer.alloc(0x8000)]);
  for (let round = 0; round < 100 && session.failure === null; round++) {
    arrives(message);
    arrives(message);
    call("a");
    arrives(message);
  }
  assert.equal(session.failure?.code, "bad-peer");
});
