/**
 * The session of the panpipe protocol (docs/protocol.md): calls both ways, streams, topics. No I/O and no clock.
 *
 * **The driver's contract.**
 * 1. Set `now` before anything is asked of the session, and give what was read to `receive`, the end of the input to `finish`, a broken link to `lose`.
 * 2. Whatever was done, write what `take` gives until it gives nothing, but no more while much is unwritten; call `recycle` when all is written.
 * 3. A message is written between `begin…`, which answers where its payload goes, and `commit`, with nothing asked of the session between; or `abandon`.
 * 4. Call `expire` when the time of `nextDeadline` has come.
 * 5. Once `over` is set, write what `take` still gives, and close.
 * 6. Tell with `unwritten` how much the link has not written.
 */

import { Fault } from "../error.js";
import { nothing } from "../bytes.js";
import { streamWindow, type Call } from "./call.js";
import { packFailure, type Failure } from "./failure.js";
import { CREDIT, END, ERROR, GOODBYE, ITEM, OPEN, PING, REPLY } from "./frame.js";
import { Incoming } from "./incoming.js";
import { State, type Events, type Sent, type SessionOptions } from "./state.js";
import type { Writer } from "./writer.js";

export type { Events, Sent, SessionOptions } from "./state.js";

/** A HELLO must be whole within so many milliseconds. */
const helloWithin = 5000;

/** After so many milliseconds without a byte there is a PING, and after as many more the connection is lost. */
const silence = 20_000;

/** Who reads nothing for so long while more than so much waits is given up; and above so much no calls are begun. */
const stuckAfter = 10_000;
const stuckAbove = 64 * 1024;
const holdAbove = 8 * 1024 * 1024;

/** One connection's state. */
export class Session {
  /** Packets that were no frames, of datagrams. */
  dropped = 0;
  readonly #state: State;
  readonly #incoming: Incoming;
  #heard = 0;
  #pinged = false;
  #greetBy: number;
  // When whoever reads nothing is given up, and what was unwritten when it last read.
  #stuckAt = Infinity;
  #written = 0;

  /** `now` is the instant at which the connection was made. */
  constructor(options: SessionOptions, events: Events, now: number) {
    this.#state = new State(options, events);
    this.#state.now = this.#heard = now;
    this.#incoming = new Incoming(this.#state);
    this.#greetBy = options.client || options.datagrams ? Infinity : now + helloWithin;
    if (options.client && !options.datagrams) this.#state.hello();
  }

  /** The instant; set before anything else is done. */
  set now(now: number) {
    this.#state.now = now;
  }

  /** Whether the connection is over. */
  get over(): boolean {
    return this.#state.over;
  }

  /** What broke the connection. */
  get failure(): Fault | null {
    return this.#state.failure;
  }

  /** Whether the other end begins no more calls of ours. */
  get draining(): boolean {
    return this.#state.draining;
  }

  /** Whether this end begins no more calls of the other. */
  get leaving(): boolean {
    return this.#state.leaving;
  }

  /** Calls of ours without an answer. */
  get calling(): number {
    return this.#state.ours.size + this.#state.outgoing.queued;
  }

  /** Calls of the other end without an answer. */
  get running(): number {
    return this.#state.theirs.size;
  }

  /** Answers that came too late. */
  get late(): number {
    return this.#state.late;
  }

  /** Whether so many messages wait for the other end that no more are taken. */
  get full(): boolean {
    return this.#state.outgoing.full;
  }

  /** The window of the connection: what may be sent, what the other end may send, and what is to be given back to it. */
  get windows(): { window: number; theirs: number; owed: number } {
    return { window: this.#state.outgoing.window, theirs: this.#state.theirWindow, owed: this.#state.owed };
  }

  /** Messages that wait for the window or a place. */
  get queued(): number {
    return this.#state.outgoing.queued;
  }

  /** Bytes that `take` would give. */
  get outgoing(): number {
    return this.#state.outgoing.outbox.queued;
  }

  /** Whether pieces of long messages come once the outbox is taken. */
  get inPieces(): boolean {
    return this.#state.outgoing.pieces.some;
  }

  /** Begins a call; answers where its arguments go. */
  beginCall(call: Call, name: Uint8Array): Writer {
    return this.#state.outgoing.beginMessage(call, name, call.flags, this.#state.now);
  }

  /** Begins a one-way message; answers where its arguments go. */
  beginSend(name: Uint8Array, flags: number): Writer {
    return this.#state.outgoing.beginMessage(null, name, flags, this.#state.now);
  }

  /** Begins an item; answers where its value goes. */
  beginItem(call: Call, flags: number): Writer {
    return this.#state.outgoing.beginOf(call, ITEM, flags);
  }

  /** Begins the reply to a call; answers where its value goes. */
  beginReply(call: Call, flags: number): Writer {
    return this.#state.outgoing.beginOf(call, REPLY, flags);
  }

  /** Forgets what was begun. */
  abandon(): void {
    this.#state.outgoing.abandon();
  }

  /** Sends what was begun; `raw` is its payload where nothing was written. Answers why it cannot be sent; then nothing was. */
  commit(raw: Uint8Array = nothing): Fault | null {
    return this.#state.outgoing.commit(raw);
  }

  /** A call that was committed has a deadline from now on. */
  watch(call: Call): void {
    if (call.waiting) this.#state.deadlines.add(call);
  }

  /** Answers a call with an error. */
  fail(call: Call, failure: Failure): void {
    packFailure(this.#state.outgoing.beginOf(call, ERROR, 0), failure);
    const fault = this.#state.outgoing.commit();
    if (fault !== null) this.fail(call, { code: fault.code, message: "" });
  }

  /** Whether an item of this call would be sent at once. */
  hasRoom(call: Call): boolean {
    const { out } = call;
    return out !== null && call.id !== 0 && out.window > 0 && out.waiting.size === 0;
  }

  /** The arguments of a call are over. */
  end(call: Call): void {
    if (call.waiting) this.#state.outgoing.endItems(call, END);
  }

  /** A subscription stands. */
  open(call: Call): void {
    this.#state.outgoing.control(OPEN, call.id);
  }

  /** Gives up for a call of ours. */
  giveUp(call: Call, fault: Fault): void {
    this.#state.giveUp(call, fault);
    this.#state.outgoing.pump(this.#state.now);
  }

  /** An item was taken. */
  taken(call: Call, cost: number): void {
    const stream = call.in;
    if (stream === null || this.#state.over) return;
    stream.owed += cost;
    if (stream.owed * 2 < streamWindow || stream.ended || !call.waiting) return;
    stream.window += stream.owed;
    this.#state.outgoing.control(CREDIT, call.id, stream.owed);
    stream.owed = 0;
  }

  /** The handler of a one-way message has ended. */
  done(send: Sent): void {
    if (!this.#state.over) this.#state.giveBack(send.cost);
  }

  /** Asks to be told once the other end has read everything that was sent. */
  flush(flush: unknown): void {
    this.#state.outgoing.flush(flush);
  }

  /** Begins no more calls of the other end; what runs may finish. */
  goodbye(): void {
    if (this.#state.leaving || this.#state.over) return;
    this.#state.leaving = true;
    this.#state.outgoing.control(GOODBYE, 0);
  }

  /** Tells the other end why it is not talked to, and ends. */
  turnAway(fault: Fault): void {
    this.#state.break(fault, true);
  }

  /** This end closes at once; who waits is told `fault`. */
  close(fault: Fault): void {
    this.#state.end(null, fault);
  }

  /** Takes what was read: bytes or, of a link of packets, one packet. They must not be changed afterwards. */
  receive(chunk: Uint8Array): void {
    const state = this.#state;
    if (state.over) return;
    this.#heard = state.now;
    this.#pinged = false;
    const greeted = state.greeted;
    if (state.options.largestPacket === null) this.#incoming.receive(chunk);
    else if (!this.#incoming.receivePacket(chunk)) this.dropped++;
    if (state.greeted !== greeted) this.#greetBy = Infinity;
  }

  /** The other end has closed. */
  finish(how = "the peer closed"): void {
    const state = this.#state;
    if (this.#incoming.inside) return this.lose(new Fault("connection-lost", `${how} inside a message`));
    state.end(null, new Fault("connection-lost", `${how} before it replied`));
  }

  /** Of datagrams: one did not arrive, and nobody knows which; the calls on their way end. */
  refused(fault: Fault): void {
    for (const call of [...this.#state.ours.values()]) {
      this.#state.forget(call);
      if (this.#state.settle(call)) this.#state.events.error(call, fault, "maybe", null);
    }
  }

  /** The link broke. */
  lose(fault: Fault): void {
    this.#state.end(fault, fault);
  }

  /** What is to be written, in parts that must not be changed until they are written. */
  take(): Uint8Array[] {
    const { outgoing } = this.#state;
    this.#incoming.pongs = 0;
    if (outgoing.outbox.queued === 0 && outgoing.pieces.some) {
      outgoing.pieces.proceed();
      if (outgoing.queued > 0) outgoing.pump(this.#state.now);
    }
    return outgoing.outbox.queued === 0 ? none : outgoing.outbox.take();
  }

  /** All that was taken is written. */
  recycle(): void {
    this.#state.outgoing.outbox.recycle();
  }

  /** So many bytes that were taken are not written. */
  unwritten(pending: number): void {
    const state = this.#state;
    const written = state.outgoing.outbox.total - state.outgoing.outbox.queued - pending;
    const waits = pending + state.outgoing.outbox.queued;
    if (waits <= stuckAbove) this.#stuckAt = Infinity;
    else if (written !== this.#written || this.#stuckAt === Infinity) this.#stuckAt = state.now + stuckAfter;
    this.#written = written;
    const { messages } = this.#incoming;
    if (waits > holdAbove) messages.holds = true;
    else if (messages.holds && !state.over) messages.release();
  }

  /** Whether the other end gives signs of life. */
  get #listens(): boolean {
    return this.#state.options.remote && !this.#state.quiet;
  }

  /** The instant at which `expire` is to be called, or `Infinity`. It may come too early once. */
  get nextDeadline(): number {
    if (this.#state.over) return Infinity;
    const life = this.#listens ? this.#heard + (this.#pinged ? 2 : 1) * silence : Infinity;
    return Math.min(this.#state.deadlines.soonest, life, this.#greetBy, this.#stuckAt);
  }

  /** Ends what has lasted too long. */
  expire(): void {
    const state = this.#state;
    const { now } = state;
    if (state.over) return;
    if (this.#greetBy <= now) return state.break(new Fault("deadline-exceeded", "the client did not say hello in time"));
    if (this.#stuckAt <= now) return this.lose(new Fault("bad-peer", `it has read nothing for ${stuckAfter / 1000} seconds`));
    if (this.#listens && this.#heard + 2 * silence <= now) return this.lose(new Fault("connection-lost", `not a byte came for ${(2 * silence) / 1000} seconds`));
    if (this.#listens && !this.#pinged && this.#heard + silence <= now) {
      this.#pinged = true;
      state.outgoing.control(PING, 0);
    }
    const fault = new Fault("deadline-exceeded", "the timeout passed");
    for (let due = state.deadlines.takeDue(now); due !== null; due = state.deadlines.takeDue(now)) {
      const call = due as Call;
      if (call.ours) state.giveUp(call, fault);
      else state.stop(call, fault);
    }
    state.outgoing.pump(now);
  }
}

const none: Uint8Array[] = [];
