/**
 * The session of the plain protocol: which message answers which call. No I/O and no clock.
 *
 * **The driver's contract.**
 * 1. Give what was read to `receive`, the end of the input to `finish`, a broken link to `fail`, one that only reads on to `failOutput`.
 * 2. Before a request is written, ask `refusal`, make its `Waiter` and give it to `call`; messages for `recv` likewise.
 * 3. Read on only while `wantsInput` says so.
 * 4. Call `expire` when the time of `nextDeadline` has come.
 * 5. Once `failure` is set, nothing more is read from the link.
 * 6. On a link whose packets stand alone, send one call at a time, and once `takeStale` answers true see that no late reply reaches `receive`.
 */

import { toText } from "./bytes.js";
import { Fault, PanpipeError, type Code, type Ran } from "./error.js";
import { Fifo } from "./fifo.js";
import type { Inbox } from "./inbox.js";
import type { PacketInbox, Packets } from "./packets.js";

/** While nobody waits for a message, reading stops above this many bytes. */
const inboxLimit = 64 * 1024;

/** Messages that nobody received may not take more than this in front of the replies to calls. */
const unclaimedLimit = 1024 * 1024;

/** What a message costs beside its bytes, so that many empty ones are not free. */
const messageCost = 64;

/** Calls that may wait at once; more is a runaway loop, not a load. */
const mostCalls = 64 * 1024;

/** A message as a user gets it. */
export type Message = Uint8Array | string;

/** Somebody who waits for a message: a call or a `recv`. */
export class Waiter {
  /** A call that gave up keeps its place, so that its late reply is dropped and nobody else's. */
  abandoned = false;
  /** Whether it got its message or its error. */
  settled = false;
  /** Of a call, where its request begins, counted in bytes that were ever sent. */
  begins = 0;

  /** `deadline` is an instant on the driver's clock, or `Infinity`. */
  constructor(
    readonly doing: string,
    readonly resolve: (message: Message | null) => void,
    readonly reject: (error: PanpipeError) => void,
    readonly deadline: number,
  ) {}
}

/** The state of one connection. */
export class Session {
  /** What broke this connection; nothing more is read then. */
  failure: Fault | null = null;
  /** Whether the peer has closed its side between messages and everything was read. */
  ended = false;

  readonly #inbox: Inbox | PacketInbox;
  readonly #calls = new Fifo<Waiter>();
  readonly #receivers = new Fifo<Waiter>();
  // Messages that came while no call waited and that a later call had to step over.
  readonly #unclaimed = new Fifo<Uint8Array | Fault>();
  #unclaimedSize = 0;
  #abandoned = 0;
  #inputEnded = false;
  #how = "";
  // The link broke; what had arrived before is still handed out.
  #lost: Fault | null = null;
  #outputLost: Fault | null = null;
  // What was sent did not arrive, and nobody has been told yet.
  #refused: Fault | null = null;
  #stale = false;
  // Set while a handler waits for its next message.
  #listener: (() => void) | null = null;

  constructor(
    readonly address: string,
    inbox: Inbox | PacketInbox,
    readonly textMode: boolean,
    /** How many of the bytes that were ever sent may have left; asked when calls end without a reply. */
    readonly left: () => number = () => Infinity,
    readonly packets: Packets | null = null,
  ) {
    this.#inbox = inbox;
  }

  /** Whether messages may get lost on the way. */
  get alone(): boolean {
    return this.packets !== null && this.packets.alone;
  }

  /** How many calls and receivers still wait; those that gave up do not count. */
  get waiting(): number {
    return this.#calls.size - this.#abandoned + this.#receivers.size;
  }

  /** How many calls wait for a reply, those that gave up included. */
  get callsInFlight(): number {
    return this.#calls.size;
  }

  /** Whether the driver should read on: somebody waits, or there is room for what nobody waits for. */
  get wantsInput(): boolean {
    if (this.failure !== null || this.#inputEnded || this.#lost !== null) return false;
    return this.#someoneWaits || this.#inbox.size + this.#unclaimedSize <= inboxLimit;
  }

  /** The earliest instant at which somebody who waits gives up, or `Infinity`. */
  get nextDeadline(): number {
    let earliest = Infinity;
    for (const waiter of this.#calls) if (!waiter.abandoned && waiter.deadline < earliest) earliest = waiter.deadline;
    for (const waiter of this.#receivers) if (waiter.deadline < earliest) earliest = waiter.deadline;
    return earliest;
  }

  /** Why a call or, with `send`, a one-way message cannot be sent now; asked before each is sent. */
  refusal(doing: string, send = false): PanpipeError | null {
    if (!send && this.#calls.size >= mostCalls) return this.#error("busy", `${mostCalls} calls wait for their replies`, doing, "no");
    // What arrived while no call waited is not the answer to the call that comes now.
    if (!send && this.#calls.size === 0 && this.#inbox.size > 0) this.#claimForReceivers();
    if (this.failure !== null) return this.failure.during(doing, this.address);
    const lost = this.#lost ?? this.#outputLost;
    if (lost !== null) return lost.during(doing, this.address);
    return this.ended && !send ? this.#error("connection-lost", "the peer has closed its side and cannot reply", doing, "no") : null;
  }

  /** A request goes out now, and the next message that is nobody else's is its reply. */
  call(waiter: Waiter): void {
    this.#calls.push(waiter);
  }

  /** Asks for the next message that answers no call; `null` once the peer closed between messages. */
  recv(waiter: Waiter): void {
    const message = this.#unclaimedShift() ?? this.#takeRefused();
    if (message !== undefined) return this.#settle(waiter, message);
    this.#receivers.push(waiter);
    this.#pump();
  }

  /**
   * The next message that answers no call: `undefined` while there is none, `null` after a clean end, a `Fault` for one that cannot be had; throws what broke the connection.
   * After `undefined`, `listener` is called once when it is worth asking again.
   */
  take(listener: () => void): Uint8Array | Fault | null | undefined {
    const message = this.#unclaimedShift() ?? (this.#calls.size > 0 ? undefined : this.#decode());
    if (message !== undefined) return message;
    if (this.failure !== null) throw this.failure.during(`receiving from ${this.address}`, this.address);
    if (this.ended) return null;
    this.#listener = listener;
    return undefined;
  }

  /** A message as the user gets it; with text mode a `Fault` for what is not UTF-8. */
  present(message: Uint8Array): Message {
    return this.textMode ? toText(message) : message;
  }

  /** Takes what was read. The chunk must not be written to afterwards. */
  receive(chunk: Uint8Array): void {
    this.add(chunk);
    this.proceed();
  }

  /** Takes one of several packets that were read; `proceed` must follow the last. */
  add(packet: Uint8Array): void {
    if (this.failure !== null || this.#lost !== null) return;
    this.#refused = null;
    this.#inbox.push(packet);
  }

  /** Hands out what was taken. */
  proceed(): void {
    if (this.failure === null && this.#lost === null) this.#pump();
  }

  /** The input has ended; `how` says why, for whoever waits in vain. */
  finish(how = "the peer closed"): void {
    this.#inputEnded = true;
    this.#how = how;
    this.#pump();
  }

  /** The link broke, or was found to be no peer of ours; what arrived whole before that is still handed out. */
  fail(code: Code, text: string): void {
    if (this.failure !== null || this.#lost !== null) return;
    this.#lost = new Fault(code, text);
    this.#pump();
  }

  /** Nothing more can be sent: calls of which nothing left end, and the others still get their replies. */
  failOutput(fault: Fault): void {
    this.#outputLost ??= fault;
    const left = this.left();
    for (const call of this.#calls.removeAll((each) => each.begins >= left)) {
      if (call.abandoned) this.#abandoned--;
      else call.reject(fault.during(call.doing, this.address));
      call.settled = true;
    }
    this.#pump();
  }

  /** A datagram did not arrive, and the link lives on: the call on its way is told, else whoever waits for a message or is the next to. */
  refuse(fault: Fault): void {
    const call = this.#calls.shift();
    const waiter = call ?? this.#receivers.shift();
    this.#stale ||= call !== undefined;
    if (waiter === undefined) this.#refused = fault;
    else this.#settle(waiter, fault);
  }

  /** Whether a reply may still come to a call that is forgotten, asked once for each such time; what has arrived is dropped then. */
  takeStale(): boolean {
    const stale = this.#stale;
    this.#stale = false;
    if (stale) this.#inbox.clear();
    return stale;
  }

  /** This side closes: everybody who waits is told, and what was not read is dropped. */
  close(): void {
    if (this.failure !== null) return;
    this.#break(new Fault("closed", "this side closed the connection"));
  }

  /** Gives up for one who waits: a call keeps its place, a receiver leaves, and nothing that arrived is lost. */
  abandon(waiter: Waiter, code: Code, text: string): void {
    if (waiter.settled) return;
    waiter.settled = true;
    if (this.#receivers.remove(waiter)) {
      waiter.reject(this.#error(code, text, waiter.doing, "no"));
    } else if (this.alone && this.#calls.remove(waiter)) {
      this.#stale = true;
      waiter.reject(this.#error(code, text, waiter.doing, "maybe"));
    } else {
      waiter.abandoned = true;
      this.#abandoned++;
      waiter.reject(this.#error(code, text, waiter.doing, "maybe"));
    }
  }

  /** Ends whoever's deadline has come by `now`. */
  expire(now: number): void {
    const late = [...this.#calls, ...this.#receivers].filter((waiter) => !waiter.abandoned && waiter.deadline <= now);
    for (const waiter of late) this.abandon(waiter, "deadline-exceeded", "the timeout passed");
  }

  get #someoneWaits(): boolean {
    return this.#calls.size > 0 || this.#receivers.size > 0 || this.#listener !== null;
  }

  /** Hands out whatever somebody waits for. */
  #pump(): void {
    while (this.#calls.size > 0 || this.#receivers.size > 0) {
      const message = this.#decode();
      if (message === undefined) break;
      const call = this.#calls.shift();
      // Others may answer too, and not the next call.
      if (call !== undefined && this.packets?.many) this.#stale = true;
      this.#settle((call ?? this.#receivers.shift())!, message);
    }
    // With nobody waiting an end still has to be noticed, so that a call fails before it is sent.
    if (this.#inbox.size === 0) this.#decode();
    if (this.failure !== null || this.ended) this.#endWaiters();
    this.#tellListener();
  }

  #tellListener(): void {
    const listener = this.#listener;
    this.#listener = null;
    listener?.();
  }

  /** The next message of the inbox; finds out on the way whether the connection is broken or at its end. */
  #decode(): Uint8Array | Fault | undefined {
    if (this.failure !== null) return undefined;
    try {
      const message = this.#inbox.next();
      if (message !== null) return message;
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      this.#break(error);
      return undefined;
    }
    if (this.#lost !== null) this.#break(this.#lost);
    else if (this.#inputEnded && this.#inbox.size > 0) this.#break(new Fault("connection-lost", `${this.#how} inside a message`));
    else if (this.#inputEnded) this.ended = true;
    return undefined;
  }

  #settle(waiter: Waiter, message: Uint8Array | Fault): void {
    if (waiter.abandoned) {
      this.#abandoned--;
      return;
    }
    waiter.settled = true;
    if (message instanceof Fault) {
      waiter.reject(message.during(waiter.doing, this.address, "maybe"));
      return;
    }
    if (!this.textMode) {
      waiter.resolve(message);
      return;
    }
    try {
      waiter.resolve(toText(message));
    } catch (error) {
      waiter.reject((error as Fault).during(waiter.doing, this.address, "maybe"));
    }
  }

  #claimForReceivers(): void {
    for (let message = this.#decode(); message !== undefined; message = this.#decode()) {
      // Where messages get lost anyway, one more is no reason to end the connection.
      if (this.packets?.lossy === true && this.#unclaimedSize + costOf(message) > unclaimedLimit) continue;
      this.#unclaimed.push(message);
      this.#unclaimedSize += costOf(message);
    }
    if (this.#unclaimedSize > unclaimedLimit) {
      this.#break(new Fault("bad-peer", `the peer sent more than ${unclaimedLimit} bytes that nobody received`));
    }
  }

  #unclaimedShift(): Uint8Array | Fault | undefined {
    const message = this.#unclaimed.shift();
    if (message !== undefined) this.#unclaimedSize -= costOf(message);
    return message;
  }

  #takeRefused(): Fault | undefined {
    const refused = this.#refused ?? undefined;
    this.#refused = null;
    return refused;
  }

  #break(fault: Fault): void {
    this.failure = fault;
    this.#inbox.clear();
    this.#endWaiters();
    this.#tellListener();
  }

  /** Everybody who waits learns that nothing more will come. */
  #endWaiters(): void {
    const fault = this.failure ?? new Fault("connection-lost", `${this.#how} before it replied`);
    const left = this.left();
    for (let call = this.#calls.shift(); call !== undefined; call = this.#calls.shift()) {
      if (!call.settled) call.reject(fault.during(call.doing, this.address, call.begins < left ? "maybe" : "no"));
      call.settled = true;
    }
    this.#abandoned = 0;
    for (let waiter = this.#receivers.shift(); waiter !== undefined; waiter = this.#receivers.shift()) {
      waiter.settled = true;
      if (this.failure === null) waiter.resolve(null);
      else waiter.reject(fault.during(waiter.doing, this.address));
    }
  }

  #error(code: Code, text: string, doing: string, ran: Ran): PanpipeError {
    return new PanpipeError(code, doing, { address: this.address, ran, text });
  }
}

function costOf(message: Uint8Array | Fault): number {
  return messageCost + (message instanceof Fault ? 0 : message.length);
}
