// Two sessions against each other, by chance: whatever is done in whatever pieces, each call ends once, and nothing is lost.

import assert from "node:assert/strict";
import test from "node:test";

import { Fault } from "../dist/wire/error.js";
import { Call } from "../dist/wire/panpipe/call.js";
import { Deadlines } from "../dist/wire/panpipe/deadlines.js";
import { ARGUMENTS, RAW, STREAM } from "../dist/wire/panpipe/frame.js";
import { nameBytes } from "../dist/wire/panpipe/names.js";
import { Session } from "../dist/wire/panpipe/session.js";
import { chance } from "./bytes.mjs";

const connectionWindow = 1_048_576;
const name = nameBytes("m");
const sizes = [8, 8, 8, 8, 20, 100, 3000, 20_000, 70_000, 262_144, 300_000, 900_000];

/** Eight bytes that say whose and which, and as many more. */
function marked(side, number, size) {
  const bytes = Buffer.alloc(Math.max(size, 8), number & 0xff);
  bytes.writeUInt32BE(side, 0);
  bytes.writeUInt32BE(number, 4);
  return bytes;
}
const mark = (bytes, from) => [bytes.readUInt32BE(from), bytes.readUInt32BE(from + 4)];

class Side {
  made = [];
  running = [];
  sends = [];
  wire = [];
  numbers = { call: 0, send: 0, flush: 0 };
  nextSend = 0;
  flushed = 0;
  over = undefined;

  constructor(number, random, now) {
    this.number = number;
    this.random = random;
    const other = 1 - number;
    this.session = new Session(
      { client: number === 0, max: 16 * 1024 * 1024, calls: 1024, remote: false, largestPacket: null, datagrams: false, left: () => Infinity },
      {
        call: (call, bytes, from, to) => {
          const [side, which] = mark(bytes, from);
          assert.equal(side, other);
          assert.ok(!this.seen.has(which), "a call that runs twice");
          this.seen.add(which);
          assert.ok(Buffer.alloc(to - from - 8, which & 0xff).equals(bytes.subarray(from + 8, to)), "pieces that do not fit together");
          call.which = which;
          call.items = 0;
          call.taken = [];
          call.got = 0;
          this.running.push(call);
        },
        send: (send, bytes, from) => {
          assert.deepEqual(mark(bytes, from), [other, this.nextSend++], "a one-way message out of order");
          this.sends.push(send);
        },
        item: (call, flags, bytes, from, to, cost) => {
          assert.deepEqual(mark(bytes, from), [call.ours ? call.which : other, call.got++], "an item out of order, or of another call");
          call.taken.push(cost);
        },
        end: (call) => (call.ended = true),
        open: () => assert.fail("nobody subscribes"),
        reply: (call, flags, bytes, from) => {
          assert.deepEqual(mark(bytes, from), [number, call.which], "the answer to another call");
          this.settle(call, "reply");
        },
        error: (call, fault, ran, failure) => {
          if (failure !== null) assert.equal(fault.text, `${number} ${call.which}`, "the error of another call");
          this.settle(call, fault.code);
        },
        cancelled: (call) => (call.cancelled = true),
        room: () => {},
        idle: () => {},
        flushed: (flush, fault) => {
          if (fault === null) assert.ok(flush.after <= this.other.nextSend, "a flush before what it waits for");
          this.flushed++;
        },
        draining: () => {},
        ended: (fault) => (this.over = fault),
      },
      now,
    );
  }

  seen = new Set();

  settle(call, how) {
    assert.equal(call.outcome, undefined, "a call that ends twice");
    call.outcome = how;
  }

  act(now) {
    const { session, random } = this;
    const { below, pick } = random;
    session.now = now;
    const commit = (out, bytes) => {
      if (below(2) === 0) return assert.equal(session.commit(bytes), null);
      out.append(bytes);
      assert.equal(session.commit(), null);
    };
    const one = (list) => (list.length === 0 ? undefined : pick(list));
    switch (below(10)) {
      case 0:
      case 1: {
        const flags = pick([0, 0, STREAM, ARGUMENTS, STREAM | ARGUMENTS]) | RAW;
        const call = new Call(true, "m", flags, below(4) === 0 ? now + 1 + below(200) : Infinity);
        Object.assign(call, { which: this.numbers.call++, items: 0, taken: [], got: 0 });
        this.made.push(call);
        commit(session.beginCall(call, name), marked(this.number, call.which, pick(sizes)));
        return session.watch(call);
      }
      case 2:
        return commit(session.beginSend(name, RAW), marked(this.number, this.numbers.send++, pick(sizes)));
      case 3: {
        const call = one(this.running);
        if (call === undefined) return;
        this.running.splice(this.running.indexOf(call), 1);
        if (below(4) === 0) session.fail(call, { code: "remote", message: `${1 - this.number} ${call.which}` });
        else commit(session.beginReply(call, RAW), marked(1 - this.number, call.which, pick(sizes)));
        return;
      }
      case 4: {
        const call = one(this.running.filter(({ out, cancelled }) => out !== null && !cancelled));
        if (call === undefined || !session.hasRoom(call)) return;
        return commit(session.beginItem(call, RAW), marked(call.which, call.items++, pick(sizes)));
      }
      case 5: {
        const call = one(this.made.filter(({ out, waiting, ended }) => out !== null && waiting && !ended));
        if (call === undefined) return;
        if (below(5) === 0) {
          call.ended = true;
          return session.end(call);
        }
        if (session.hasRoom(call)) commit(session.beginItem(call, RAW), marked(this.number, call.items++, pick(sizes)));
        return;
      }
      case 6: {
        const call = one([...this.made, ...this.running].filter(({ taken }) => taken.length > 0));
        return call === undefined ? undefined : session.taken(call, call.taken.shift());
      }
      case 7: {
        const call = below(3) === 0 ? one(this.made.filter(({ waiting }) => waiting)) : undefined;
        return call === undefined ? undefined : session.giveUp(call, new Fault("cancelled", "chance"));
      }
      case 8: {
        const send = this.sends.shift();
        return send === undefined ? undefined : session.done(send);
      }
      default:
        if (below(4) === 0) {
          this.numbers.flush++;
          session.flush({ after: this.numbers.send });
        }
    }
  }

  /** Moves what there is to write onto the wire; with `all`, until there is nothing. */
  write(all) {
    do {
      const parts = this.session.take();
      if (parts.length === 0) return;
      this.wire.push(Buffer.concat(parts));
      this.session.recycle();
    } while (all);
  }

  /** Reads some of what the other has written, cut anywhere. */
  read(all, now) {
    const { wire } = this.other;
    while (wire.length > 0) {
      const chunk = wire.shift();
      const size = all ? chunk.length : 1 + this.random.below(Math.min(chunk.length, this.random.pick([1, 30, 1000, 1_000_000])));
      if (size < chunk.length) wire.unshift(chunk.subarray(size));
      this.session.now = now;
      this.session.receive(chunk.subarray(0, size));
      if (!all) return;
    }
  }

  expire(now) {
    this.session.now = now;
    this.session.expire();
  }
}

function play(seed, steps) {
  const random = chance(seed);
  let now = 1000;
  const sides = [new Side(0, random, now), new Side(1, random, now)];
  [sides[0].other, sides[1].other] = [sides[1], sides[0]];
  for (let step = 0; step < steps; step++) {
    const side = random.pick(sides);
    if (random.below(3) > 0) side.act(now);
    if (random.below(3) === 0) side.write(false);
    if (random.below(2) === 0) side.read(false, now);
    if (random.below(20) === 0) {
      now += random.below(30);
      for (const each of sides) each.expire(now);
    }
  }
  return { sides, now };
}

/** Everything that is still open is finished. */
function finish({ sides, now }) {
  for (let round = 0; ; round++) {
    assert.ok(round < 10_000, "no end");
    for (const side of sides) {
      const { session } = side;
      for (const call of side.running.splice(0)) {
        session.beginReply(call, RAW);
        assert.equal(session.commit(marked(1 - side.number, call.which, 8)), null);
      }
      for (const call of side.made) for (const cost of call.taken.splice(0)) session.taken(call, cost);
      for (const send of side.sends.splice(0)) session.done(send);
      side.write(true);
      side.read(true, now);
    }
    if (sides.every(({ wire, running, sends, session, made }) => wire.length === 0 && running.length === 0 && sends.length === 0 && session.outgoing === 0 && !session.inPieces && made.every(({ outcome }) => outcome !== undefined) && session.queued === 0)) return;
  }
}

test("300 random conversations: every call ends once, nothing is crossed, lost or out of order, and the windows fill again", () => {
  const outcomes = new Map();
  for (let seed = 0; seed < 300; seed++) {
    try {
      const played = play(seed, 400);
      finish(played);
      for (const side of played.sides) {
        assert.equal(side.over, undefined, side.over?.text);
        assert.equal(side.flushed, side.numbers.flush);
        assert.equal(side.nextSend, side.other.numbers.send);
        const { window, theirs, owed } = side.session.windows;
        assert.ok(window > connectionWindow / 2 && window <= connectionWindow, `${window} of the window`);
        assert.equal(theirs + owed, connectionWindow);
        assert.equal(side.session.running + side.session.calling, 0);
        for (const call of side.made) outcomes.set(call.outcome, (outcomes.get(call.outcome) ?? 0) + 1);
      }
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`;
      throw error;
    }
  }
  for (const how of ["reply", "remote", "cancelled", "deadline-exceeded"]) assert.ok(outcomes.get(how) > 100, `${how}: ${outcomes.get(how)}`);
});

test("100 connections that break at a random moment end every call once", () => {
  for (let seed = 1000; seed < 1100; seed++) {
    const { sides, now } = play(seed, 200);
    for (const side of sides) {
      side.session.now = now;
      side.session.lose(new Fault("connection-lost", "chance"));
      assert.equal(side.over.code, "connection-lost");
      for (const call of side.made) assert.notEqual(call.outcome, undefined, `seed ${seed}`);
      for (const call of side.running) assert.ok(call.cancelled, `seed ${seed}`);
      assert.equal(side.flushed, side.numbers.flush);
    }
  }
});

test("random bytes behind a hello end in an error, never in anything else", () => {
  const random = chance(7);
  const codes = new Set();
  for (let round = 0; round < 3000; round++) {
    const { sides } = play(round % 50, 20);
    const [side] = sides;
    const frames = Buffer.concat(sides[1].wire);
    const bytes = round % 3 === 0 ? Buffer.from(random.bytes(64)) : Buffer.from(frames);
    for (let change = 0; change < 1 + random.below(3) && bytes.length > 0; change++) bytes[random.below(bytes.length)] = random.below(256);
    try {
      side.session.receive(bytes);
    } catch (error) {
      // What the users of these sessions check of the payloads does not hold for nonsense.
      if (error.code !== "ERR_ASSERTION" && error.code !== "ERR_OUT_OF_RANGE" && error.code !== "ERR_BUFFER_OUT_OF_BOUNDS") throw error;
    }
    if (side.over !== undefined) codes.add(side.over?.code ?? "end");
  }
  assert.ok(codes.has("bad-peer") && codes.has("too-large"), [...codes].join());
});


test("what follows a long message of the same call waits for its last piece", () => {
  const { sides, now } = play(1, 0);
  const [caller, callee] = sides;
  caller.session.now = callee.session.now = now;
  const call = Object.assign(new Call(true, "m", ARGUMENTS | RAW, Infinity), { which: 0, items: 0, taken: [], got: 0 });
  caller.session.beginCall(call, name);
  assert.equal(caller.session.commit(marked(0, 0, 800_000)), null);
  caller.session.beginItem(call, RAW);
  assert.equal(caller.session.commit(marked(0, 0, 700_000)), null);
  caller.session.end(call);
  caller.session.giveUp(call, new Fault("cancelled", "chance"));
  for (let round = 0; round < 4; round++) {
    for (const side of sides) {
      side.write(true);
      side.read(true, now);
    }
  }
  assert.equal(callee.over, undefined, callee.over?.text);
  const [running] = callee.running;
  assert.deepEqual([running.got, running.ended, running.cancelled], [1, true, true]);
});

test("deadlines come in order, however they are added, dropped and come due", () => {
  const { below } = chance(3);
  const deadlines = new Deadlines();
  const waiting = new Set();
  let now = 0;
  for (let step = 0; step < 50_000; step++) {
    const timed = { deadline: now + below(1000), waiting: true };
    deadlines.add(timed);
    waiting.add(timed);
    if (step % 3 !== 0) {
      const [some] = waiting;
      waiting.delete(some);
      some.waiting = false;
      deadlines.drop(some);
    }
    if (step % 1000 !== 999) continue;
    assert.equal(deadlines.next, Math.min(...[...waiting].map(({ deadline }) => deadline)));
    now += 100;
    let last = 0;
    for (let due = deadlines.takeDue(now); due !== null; due = deadlines.takeDue(now)) {
      assert.ok(due.waiting && due.deadline >= last && due.deadline <= now);
      last = due.deadline;
      due.waiting = false;
      waiting.delete(due);
      deadlines.drop(due);
    }
    for (const { deadline } of waiting) assert.ok(deadline > now);
  }
});
