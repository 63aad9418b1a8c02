/** What both halves of a session share: its calls, its limits and how it ends. */

import { Fault, type Ran } from "../error.js";
import { Call } from "./call.js";
import { Deadlines } from "./deadlines.js";
import { packFailure, type Failure } from "./failure.js";
import { CANCEL, CREDIT, ERROR, GOODBYE, HELLO, ITEM, article, magic, version } from "./frame.js";
import { Outgoing, connectionWindow, type Senders } from "./outgoing.js";
import { pack } from "./pack.js";
import { Seen } from "./seen.js";

/** Calls of one end without an answer that any other end takes. */
export const fewestCalls = 1024;

/** Subscriptions in each direction. */
export const mostSubscriptions = 16_384;

/** A one-way message. */
export interface Sent {
  readonly method: string;
  readonly flags: number;
  /** What it costs of the window until its handler has ended. */
  readonly cost: number;
}

/**
 * What a session tells. A payload is `bytes[from..to]`, which may be kept but not changed.
 * Whoever is told may ask the session for anything but to receive.
 */
export interface Events {
  call(call: Call, bytes: Uint8Array, from: number, to: number): void;
  send(send: Sent, bytes: Uint8Array, from: number, to: number): void;
  /** `cost` is to be given back with `taken`. */
  item(call: Call, flags: number, bytes: Uint8Array, from: number, to: number, cost: number): void;
  /** The other end's items are over. */
  end(call: Call): void;
  /** A subscription stands. */
  open(call: Call): void;
  reply(call: Call, flags: number, bytes: Uint8Array, from: number, to: number): void;
  /** A call of ours ended without a reply; `failure` is what the other end said. */
  error(call: Call, fault: Fault, ran: Ran, failure: Failure | null): void;
  /** A handler is to stop. */
  cancelled(call: Call, fault: Fault): void;
  /** There is room for more items of this call. */
  room(call: Call): void;
  flushed(flush: unknown, fault: Fault | null): void;
  /** No call of the other end runs any more. */
  idle(): void;
  /** The other end begins no more calls of ours. */
  draining(): void;
  /** It is over; `fault` is what broke it. */
  ended(fault: Fault | null): void;
}

/** What a session is told of its connection. */
export interface SessionOptions {
  /** Whether this end connected. */
  client: boolean;
  /** Largest payload that this end takes, in bytes. */
  max: number;
  /** Calls of the other end that run at once; at least 1,024. */
  calls: number;
  /** Whether the other end may be on another machine. */
  remote: boolean;
  /** Largest packet, where each frame is one; `null` on a byte link. */
  largestPacket: number | null;
  /** Where packets may come twice, out of order, or not at all. */
  datagrams: boolean;
  /** Of datagrams, where ids begin: the microseconds since 1970. */
  firstId?: number;
  /** Of a client, the secret that it shows; null for none. */
  token?: string | null;
  /** How many of the bytes that were ever taken may have left. */
  left(): number;
}

/** Made by a session. */
export class State implements Senders {
  readonly outgoing: Outgoing;
  readonly deadlines = new Deadlines();
  /** Calls of ours without an answer, those that gave up included. */
  readonly ours = new Map<number, Call>();
  /** Calls of the other end that were not answered. */
  readonly theirs = new Map<number, Call>();
  /** How many of them subscribe. */
  oursSubscribed = 0;
  theirsSubscribed = 0;
  /** Calls that the other end runs at once. */
  theirCalls = fewestCalls;
  /** Whether the other end reads only now and then, so that its silence says nothing. */
  quiet = false;
  /** Whether the HELLO of the other end has come. */
  greeted = false;
  /** Whether the other end has said GOODBYE, and whether we have. */
  draining = false;
  leaving = false;
  /** Whether it is over, and what broke it. */
  over = false;
  failure: Fault | null = null;
  /** Answers that came for calls which had given up. */
  late = 0;
  /** The window of the connection as the other end has it, and what is to be given back. */
  theirWindow = connectionWindow;
  owed = 0;
  /** The instant of the last thing that was done with the session. */
  now = 0;
  #greets: boolean;
  // The last id of the other end, and of datagrams the ones before that are remembered.
  #lastId = 0;
  readonly #seen = new Seen();

  constructor(
    readonly options: SessionOptions,
    readonly events: Events,
  ) {
    this.#greets = options.datagrams;
    const parity = options.client ? 1 : 2;
    const { firstId = 0 } = options;
    this.outgoing = new Outgoing(this, firstId - (firstId % 2) + parity, options.largestPacket, options.datagrams);
    if (options.datagrams) {
      this.greeted = true;
      this.outgoing.window = Infinity;
    }
  }

  mayBegin(): boolean {
    return this.greeted || this.options.client;
  }

  hasPlace(call: Call): boolean {
    return call.subscribes ? this.oursSubscribed < mostSubscriptions : this.ours.size - this.oursSubscribed < this.theirCalls;
  }

  sent(call: Call): void {
    this.ours.set(call.id, call);
    if (call.subscribes) this.oursSubscribed++;
  }

  /** Says hello. */
  hello(): void {
    const { outbox } = this.outgoing;
    this.#greets = true;
    outbox.begin(HELLO, 0, 0, 0);
    outbox.append(magic);
    outbox.append(Uint8Array.of(version));
    const { max, calls, token = null } = this.options;
    pack(outbox, { max, calls, ...(token === null ? {} : { token }) }, "settings");
    outbox.end();
  }

  /** The HELLO of the other end has come. */
  greet(): void {
    this.greeted = true;
    if (!this.#greets) this.hello();
  }

  /** A call of the other end begins. */
  begun(call: Call): void {
    this.theirs.set(call.id, call);
    if (call.subscribes) this.theirsSubscribed++;
    this.deadlines.add(call);
  }

  answered(call: Call): void {
    call.waiting = false;
    this.deadlines.drop(call);
    if (this.theirs.delete(call.id) && call.subscribes) this.theirsSubscribed--;
    if (this.theirs.size === 0) this.events.idle();
  }

  /** A call of ours got its answer, or never will. */
  forget(call: Call): void {
    if (this.ours.delete(call.id) && call.subscribes) this.oursSubscribed--;
  }

  /** Nobody waits for a call of ours any more; answers whether somebody did. */
  settle(call: Call): boolean {
    if (!call.waiting) return false;
    call.waiting = false;
    this.deadlines.drop(call);
    call.out?.waiting.removeAll(() => true);
    return true;
  }

  /** Gives up for a call of ours. */
  giveUp(call: Call, fault: Fault): void {
    if (!this.settle(call)) return;
    if (call.id !== 0) this.outgoing.control(CANCEL, call.id);
    // Its answer may never come.
    if (this.options.datagrams) this.forget(call);
    this.events.error(call, fault, call.id === 0 ? "no" : "maybe", null);
  }

  /** Tells the handler of a call to stop, once; if it has answered behind items that wait, the call ends with `fault`. */
  stop(call: Call, fault: Fault): void {
    if (call.stopping || !call.waiting) return;
    call.stopping = true;
    const dropped = call.out?.waiting.removeAll(() => true) ?? [];
    if (!dropped.some(({ kind }) => kind !== ITEM)) return this.events.cancelled(call, fault);
    if (this.over) return;
    // The items before its answer are not sent any more, and a reply would say that they were.
    packFailure(this.outgoing.beginOf(call, ERROR, 0), { code: fault.code, message: "nobody waits for it any more" });
    this.outgoing.commit();
  }

  /** Answers a call with an error of our own. */
  refuse(id: number, failure: Failure): void {
    const call = new Call(false, "", 0, Infinity);
    call.id = id;
    packFailure(this.outgoing.beginOf(call, ERROR, 0), failure);
    this.outgoing.commit();
  }

  /** Gives back what a CALL or a SEND cost. */
  giveBack(cost: number): void {
    if (this.options.datagrams) return;
    this.owed += cost;
    if (this.owed * 2 < connectionWindow) return;
    for (; this.owed > 0; ) {
      const credit = Math.min(this.owed, 2 ** 31);
      this.owed -= credit;
      this.theirWindow += credit;
      this.outgoing.control(CREDIT, 0, credit);
    }
  }

  /** The other end begins no more calls of ours. */
  drain(): void {
    this.draining = true;
    const why = new Fault("refused", "the other end takes no more calls");
    const { calls, flushes } = this.outgoing.dropQueued();
    for (const call of calls) if (this.settle(call)) this.events.error(call, why, "no", null);
    for (const flush of flushes) this.outgoing.flush(flush);
    this.events.draining();
  }

  /** Whether an id is one of this end. */
  isOurs(id: number): boolean {
    return (id % 2 === 1) === this.options.client;
  }

  /** Takes a new id of the other end; whether it is new, which it must be but for datagrams. */
  takeId(kind: number, id: number): boolean {
    if (this.options.datagrams) return !this.isOurs(id) && this.#seen.add(id);
    if (id === 0 || this.isOurs(id) || id <= this.#lastId) throw new Fault("bad-peer", `${article(kind)} with the id ${id}, after ${this.#lastId}`);
    this.#lastId = id;
    return true;
  }

  /** Breaks the connection unless the other end may have made a call of this id. */
  checkTheirs(id: number, what: string): void {
    if (this.options.datagrams || (id !== 0 && !this.isOurs(id) && id <= this.#lastId)) return;
    throw new Fault("bad-peer", `${what} of the call ${id}, which was never made`);
  }

  /** Breaks the connection unless this end may have made a call of this id. */
  checkOurs(id: number, what: string): void {
    if (this.options.datagrams || id <= this.outgoing.lastId) return;
    throw new Fault("bad-peer", `${what} of the call ${id}, which was never made`);
  }

  /** The other end broke the protocol: it is told, and everything ends; also that nothing that it sent has run, where that is so. */
  break(fault: Fault, nothingRan = false): void {
    if (this.over) return;
    // So that a client can read why.
    if (!this.#greets) this.hello();
    this.outgoing.outbox.begin(GOODBYE, 0, 0, 0);
    packFailure(this.outgoing.outbox, { code: fault.code, message: fault.text, ...(nothingRan ? { ran: "no" } : {}) });
    this.outgoing.outbox.end();
    this.end(fault, fault);
  }

  /** Everything ends; `why` is what calls without an answer are told, and whether nothing that was sent has run. */
  end(failure: Fault | null, why: Fault, nothingRan = false): void {
    if (this.over) return;
    this.over = true;
    this.failure = failure;
    const left = this.options.left();
    const { calls, flushes } = this.outgoing.dropQueued();
    for (const call of this.ours.values()) if (this.settle(call)) this.events.error(call, why, call.begins < left && !nothingRan ? "maybe" : "no", null);
    for (const call of calls) if (this.settle(call)) this.events.error(call, why, "no", null);
    for (const call of this.theirs.values()) this.stop(call, why);
    for (const flush of [...this.outgoing.pings.values(), ...flushes]) this.events.flushed(flush, why);
    this.outgoing.pings.clear();
    this.ours.clear();
    this.events.ended(failure);
  }
}
