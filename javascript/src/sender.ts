/** The sending half of a connection: when messages are written, and who waits for room. */

import { atEndOfTurn, isUtf8 } from "#runtime";

import type { Link } from "./link/link.js";
import { Outbox } from "./outbox.js";
import { smallCopy, toBytes } from "./wire/bytes.js";
import { Fault, PanpipeError } from "./wire/error.js";
import { Fifo } from "./wire/fifo.js";
import type { Encoder } from "./wire/framing/framing.js";
import type { Session, Waiter } from "./wire/session.js";

/** Above this many unwritten bytes, calls and sends wait for room. */
const highWater = 1024 * 1024;

/** Messages that may wait for room; more is a program that does not wait for its `send`s, and a peer that does not read. */
const mostUnsent = 64 * 1024;

/** What is queued beyond this is written before the turn ends, so that a long turn holds little. */
const flushAt = 64 * 1024;

/** From this size on a message is sent without copying it, and `send` waits until the system has taken it. */
const byReference = 16 * 1024;

interface Unsent {
  message: Uint8Array;
  waiter: Waiter;
  /** A call gives its waiter to the session once it is sent; a send is settled then. */
  isCall: boolean;
}

/** Writes the messages of one connection. `hold` and `release` keep the process alive while something is unwritten. */
export class Sender {
  readonly #outbox: Outbox;
  readonly #unsent = new Fifo<Unsent>();
  // Those whose message the system still reads, but for who gave up.
  readonly #unwritten = new Fifo<Waiter>();
  #flushScheduled = false;

  constructor(
    readonly link: Link,
    readonly session: Session,
    encoder: Encoder | null,
    max: number,
    readonly hold: () => void,
    readonly release: () => void,
  ) {
    this.#outbox = new Outbox(link, encoder, max);
  }

  /** Whether a message must wait for room. */
  get congested(): boolean {
    return this.#unsent.size > 0 || this.#outbox.queued + this.link.pending > highWater;
  }

  /** Whether a call must wait for room, or where messages may get lost for the call before it. */
  get callMustWait(): boolean {
    return this.congested || this.#callIsAlone;
  }

  get #callIsAlone(): boolean {
    return this.session.alone && this.session.callsInFlight > 0;
  }

  /** Whether something is on its way. */
  get busy(): boolean {
    return this.#unsent.size > 0 || this.#outbox.queued > 0 || this.link.pending > 0;
  }

  /** The earliest deadline of those who wait for room. */
  get nextDeadline(): number {
    let earliest = Infinity;
    for (const { waiter } of this.#unsent) earliest = Math.min(earliest, waiter.deadline);
    return earliest;
  }

  /** The message as bytes, or why it cannot be sent. */
  admit(doing: string, message: unknown, signal: AbortSignal | undefined, isCall: boolean): Uint8Array | PanpipeError {
    const { address } = this.session;
    if (typeof message !== "string" && !(message instanceof Uint8Array)) {
      return new PanpipeError("unsupported", doing, { address, text: "a message is a Uint8Array or a string" });
    }
    const { oneWay } = this.link;
    if (oneWay !== undefined && (isCall || oneWay.way === "reads")) return new PanpipeError("unsupported", doing, { address, text: oneWay.why });
    if (signal?.aborted === true) return new PanpipeError("cancelled", doing, { address, text: "the caller gave up" });
    const refusal = this.session.refusal(doing, !isCall);
    if (refusal !== null) return refusal;
    if (this.#unsent.size >= mostUnsent) {
      return new PanpipeError("busy", doing, { address, text: `${mostUnsent} messages wait for the peer to read` });
    }
    if (this.session.textMode && typeof message !== "string" && !isUtf8(message)) {
      return new PanpipeError("unsupported", doing, { address, text: "the message is not UTF-8, and the address says text=true" });
    }
    const bytes = typeof message === "string" ? toBytes(message) : message;
    try {
      this.#outbox.check(bytes);
    } catch (error) {
      if (error instanceof Fault) return error.during(doing, address);
      throw error;
    }
    return bytes;
  }

  /** Lets an admitted message wait for room. */
  queue(message: Uint8Array, waiter: Waiter, isCall: boolean): void {
    // A small message is its caller's again at once, as it is when there is room.
    this.#unsent.push({ message: message.length < byReference ? smallCopy(message) : message, waiter, isCall });
    this.hold();
  }

  /** Sends an admitted request now. */
  call(message: Uint8Array, waiter: Waiter): void {
    // The first call goes out at once; while others are in flight, all of this turn go out together.
    const atOnce = this.session.callsInFlight === 0 && !this.#flushScheduled;
    waiter.begins = this.#outbox.handed + this.#outbox.queued;
    this.session.call(waiter);
    this.#write(message, atOnce);
  }

  /** Sends an admitted message now; whether its memory is the caller's again, of which otherwise `tellWhenWritten` tells. */
  send(message: Uint8Array): boolean {
    const first = !this.#flushScheduled;
    this.#write(message, first);
    // What more this turn sends is written at its end.
    if (first) this.#scheduleFlush();
    if (message.length < byReference) return true;
    this.flush();
    return this.link.copies === true || this.link.pending === 0;
  }

  /** Settles `waiter` when the system has taken all that was sent. */
  tellWhenWritten(waiter: Waiter): void {
    this.#unwritten.push(waiter);
  }

  /** Sends an admitted reply, with all others of this turn. */
  reply(message: Uint8Array): void {
    this.#write(message, false);
  }

  /** Hands everything to the link. */
  flush(): void {
    this.#outbox.flush();
    if (this.link.pending > 0) this.hold();
  }

  /** There may be room, or a call has ended that others waited for. */
  proceed(): void {
    this.#sendUnsent();
  }

  /** The link has written something. */
  wrote(): void {
    this.#sendUnsent();
    if (this.link.pending === 0) this.#settleUnwritten(null);
  }

  /** Nothing more is taken; what was sent is still written. */
  stop(fault: Fault): void {
    this.#rejectUnsent(fault, () => true);
  }

  /** Nothing more is written: either all was, or it never will be because of `fault`. */
  end(fault: Fault | null): void {
    if (fault !== null) this.stop(fault);
    this.#settleUnwritten(fault);
  }

  /** Gives up for one who waits to send, though what is on its way stays so; answers whether there was such a one. */
  abandon(waiter: Waiter, fault: Fault): boolean {
    if (this.#unwritten.remove(waiter)) {
      waiter.settled = true;
      waiter.reject(fault.during(waiter.doing, this.session.address, "maybe"));
      return true;
    }
    return this.#unsent.size > 0 && this.#rejectUnsent(fault, (each) => each === waiter);
  }

  /** Ends whoever waits for room and whose deadline has come. */
  expire(now: number): void {
    const fault = new Fault("deadline-exceeded", "the timeout passed before it could be sent");
    this.#rejectUnsent(fault, (waiter) => waiter.deadline <= now);
  }

  #rejectUnsent(fault: Fault, which: (waiter: Waiter) => boolean): boolean {
    const rejected = this.#unsent.removeAll(({ waiter }) => which(waiter));
    for (const { waiter } of rejected) {
      waiter.settled = true;
      waiter.reject(fault.during(waiter.doing, this.session.address));
    }
    return rejected.length > 0;
  }

  #write(message: Uint8Array, atOnce: boolean): void {
    this.#outbox.push(message);
    if (atOnce || this.#outbox.queued >= flushAt) this.flush();
    else this.#scheduleFlush();
  }

  #scheduleFlush(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    this.hold();
    atEndOfTurn(this.#endTurn);
  }

  readonly #endTurn = (): void => {
    this.#flushScheduled = false;
    this.flush();
    this.release();
  };

  #settleUnwritten(fault: Fault | null): void {
    for (let waiter = this.#unwritten.shift(); waiter !== undefined; waiter = this.#unwritten.shift()) {
      waiter.settled = true;
      if (fault === null) waiter.resolve(null);
      else waiter.reject(fault.during(waiter.doing, this.session.address, "maybe"));
    }
  }

  #sendUnsent(): void {
    while (this.#unsent.size > 0 && this.#outbox.queued + this.link.pending <= highWater) {
      if (this.#unsent.peek()!.isCall && this.#callIsAlone) return;
      const { message, waiter, isCall } = this.#unsent.shift()!;
      const refusal = this.session.refusal(waiter.doing, !isCall);
      if (refusal !== null) {
        waiter.settled = true;
        waiter.reject(refusal);
      } else if (isCall) {
        this.call(message, waiter);
      } else if (this.send(message)) {
        waiter.settled = true;
        waiter.resolve(null);
      } else {
        this.tellWhenWritten(waiter);
      }
    }
  }
}
