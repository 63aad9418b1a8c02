// A session of the panpipe protocol without a link, driven by the steps of vectors/protocol/sessions.json.

import assert from "node:assert/strict";

import { Fault } from "../dist/wire/error.js";
import { Call } from "../dist/wire/panpipe/call.js";
import { unpackFailure } from "../dist/wire/panpipe/failure.js";
import { nameBytes } from "../dist/wire/panpipe/names.js";
import { Session } from "../dist/wire/panpipe/session.js";
import { toHex } from "./bytes.mjs";
import { arriving, bytesOf, each, encode, flagsOf, namesOf, show, split } from "./frames.mjs";

export class Driven {
  now = 1000;
  told = [];
  #named = new Map();
  #names = new Map();
  #costs = new Map();

  constructor({ side, remote = false, max = 16 * 1024 * 1024 }, chunk = Infinity) {
    this.chunk = chunk;
    const payload = (flags, bytes, from, to) => ({
      ...(to > from ? { payload: toHex(bytes.subarray(from, to)) } : {}),
      ...((flags & ~1) === 0 ? {} : { flags: namesOf(flags & ~1) }),
    });
    const tell = (event) => this.told.push(event);
    const nameOf = (call) => this.#names.get(call);
    const gave = (call, cost) => this.#costs.set(call, [...(this.#costs.get(call) ?? []), cost]);
    this.session = new Session(
      { client: side === "client", max, calls: 1024, remote, largestPacket: null, datagrams: false, left: () => Infinity },
      {
        call: (call, bytes, from, to) => tell({ call: { it: call, method: call.method, timeout: call.deadline === Infinity ? 0 : call.deadline - this.now, ...payload(call.flags, bytes, from, to) } }),
        send: (send, bytes, from, to) => tell({ send: { it: send, method: send.method, ...payload(send.flags, bytes, from, to) } }),
        item: (call, flags, bytes, from, to, cost) => (gave(call, cost), tell({ item: { call: call, ...payload(flags, bytes, from, to) } })),
        end: (call) => tell({ end: { call } }),
        open: (call) => tell({ open: { call } }),
        reply: (call, flags, bytes, from, to) => tell({ reply: { call, ...payload(flags, bytes, from, to) } }),
        error: (call, fault, ran) => tell({ error: { call, code: fault.code, ran } }),
        cancelled: (call) => tell({ cancelled: { call } }),
        room: () => {},
        idle: () => {},
        flushed: (flush) => tell({ flushed: { flush } }),
        draining: () => tell({ draining: true }),
        ended: (fault) => tell({ ended: fault?.code ?? null }),
      },
      this.now,
    );
    this.nameOf = nameOf;
  }

  step(step) {
    if (step.do !== undefined) {
      const [[what, how]] = Object.entries(step.do);
      for (let count = 0; count < (step.times ?? 1); count++) this.#do(what, step.times === undefined ? how : { ...how, as: `${how.as}${count}` });
    } else if (step.reads !== undefined) this.reads(step.reads);
    else if (step.writes !== undefined) this.#writes(step.writes);
    else if (step.events !== undefined) this.#events(step.events);
    else if (step.link === "ends") this.session.finish();
    else throw new Error(`no step: ${JSON.stringify(step)}`);
  }

  reads(frames) {
    const bytes = arriving(frames);
    for (let at = 0; at < bytes.length; at += this.chunk) {
      this.session.now = this.now;
      this.session.receive(bytes.subarray(at, at + this.chunk));
    }
  }

  taken() {
    const parts = [];
    for (let more = this.session.take(); more.length > 0; more = this.session.take()) parts.push(...more.map((part) => Buffer.from(part)));
    this.session.recycle();
    return Buffer.concat(parts);
  }

  #do(what, how) {
    const { session } = this;
    session.now = this.now;
    const call = this.#named.get(how.call);
    const flags = flagsOf(how.flags);
    const payload = bytesOf(how.payload);
    const commit = (writer) => {
      // Both ways to give a payload.
      if (payload.length % 2 === 0) return session.commit(payload);
      writer.append(payload);
      return session.commit();
    };
    switch (what) {
      case "call": {
        const made = new Call(true, how.method, flags, how.timeout === 0 ? Infinity : this.now + how.timeout);
        this.#name(how.as, made);
        if (session.draining) return void this.told.push({ error: { call: made, code: "refused", ran: "no" } });
        const fault = commit(session.beginCall(made, nameBytes(how.method)));
        if (fault !== null) this.told.push({ error: { call: made, code: fault.code, ran: "no" } });
        return session.watch(made);
      }
      case "send":
        return void assert.equal(commit(session.beginSend(nameBytes(how.method), flags)), null);
      case "reply": {
        const fault = commit(session.beginReply(call, flags));
        if (fault !== null) session.fail(call, { code: fault.code, message: fault.text });
        return;
      }
      case "fail":
        return session.fail(call, unpackFailure(payload));
      case "item":
        return void assert.equal(commit(session.beginItem(call, flags)), null);
      case "end":
        return session.end(call);
      case "open":
        return session.open(call);
      case "cancel":
        return session.giveUp(call, new Fault("cancelled", "the caller gave up"));
      case "taken":
        return session.taken(call, this.#costs.get(call).shift());
      case "done":
        return session.done(this.#named.get(how.send));
      case "flush":
        return session.flush(how.as);
      case "goodbye":
        return session.goodbye();
      case "wait":
        this.now += how.ms;
        session.now = this.now;
        return session.expire();
      default:
        throw new Error(`nothing to do: ${what}`);
    }
  }

  #name(as, it) {
    this.#named.set(as, it);
    this.#names.set(it, as);
  }

  #writes(frames) {
    const wanted = [...each(frames)];
    const written = split(this.taken());
    const told = `wrote ${written.map(show).join("; ")}`;
    assert.equal(written.length, wanted.length, told);
    wanted.forEach((frame, index) => {
      if (frame.kind === "HELLO" && frame.version === undefined) return assert.equal(written[index][4], 1, told);
      if (frame.error === undefined) return assert.ok(written[index].equals(encode(frame)), `${JSON.stringify(frame).slice(0, 200)}: ${told.slice(0, 2000)}`);
      const { code, ran } = unpackFailure(written[index].subarray(16));
      assert.deepEqual([written[index][4], Number(written[index].readBigUInt64BE(8)), { code, ran }], [5, frame.id, { ran: undefined, ...frame.error }], told);
    });
  }

  #events(wanted) {
    const told = this.told.splice(0);
    told.forEach((event, index) => {
      const [[what, how]] = Object.entries(event);
      const as = wanted[index]?.[what]?.as;
      if (how?.it !== undefined && as !== undefined) {
        this.#name(as, how.it);
        delete how.it;
        how.as = as;
      } else if (how?.call !== undefined) how.call = this.#names.get(how.call);
    });
    const spelt = wanted.map((event) => {
      const [[what, how]] = Object.entries(event);
      return { [what]: typeof how !== "object" || how === null ? how : { ...how, ...(how.flags === undefined ? {} : { flags: namesOf(flagsOf(how.flags)) }), ...(how.payload === undefined ? {} : { payload: toHex(bytesOf(how.payload)) }) } };
    });
    assert.deepEqual(told, spelt);
  }
}
