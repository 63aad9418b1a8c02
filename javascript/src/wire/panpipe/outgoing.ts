/** The sending half of a session: windows, the queue of what they hold back, and frames. */

import { Fault } from "../error.js";
import { copyOf, nothing } from "../bytes.js";
import { Fifo } from "../fifo.js";
import { itemCost, type Call } from "./call.js";
import { CALL, ITEM, LAGGED, PING, SEND, headSize, largestBody } from "./frame.js";
import { Aside } from "./aside.js";
import { Outbox } from "./outbox.js";
import { Long, Pieces } from "./pieces.js";
import { Writer } from "./writer.js";

/** Window of the connection, in bytes. */
export const connectionWindow = 1_048_576;

/** What a CALL or SEND costs beside its payload and its name. */
export const messageCost = 64;

/** A payload above this is sent in pieces. */
const cutAbove = 262_144;

/** Messages that may wait for their turn, and bytes of them; more is a program that does not wait for its `send`s. */
const mostQueued = 1_048_576;
const mostQueuedBytes = 64 * 1024 * 1024;

/** From this size on bytes are sent from where they lie. */
export const byReference = 16 * 1024;

/** Most PINGs without a PONG. */
const mostPings = 64;

/** A CALL, a SEND or a PING that waits for its turn. */
interface Queued {
  kind: number;
  flags: number;
  call: Call | null;
  name: Uint8Array;
  payload: Uint8Array;
  /** Of a PING. */
  flush: unknown;
}

/** What the sending half asks of its session. */
export interface Senders {
  /** Whether CALL, SEND and PING may be sent. */
  mayBegin(): boolean;
  /** Whether one more call may be without an answer. */
  hasPlace(call: Call): boolean;
  /** A call was sent. */
  sent(call: Call): void;
  /** An answer was sent. */
  answered(call: Call): void;
}

/** Writes the frames of one session. A message is written between `begin…` and `commit`. */
export class Outgoing {
  readonly outbox: Outbox;
  /** What the other end still takes of CALLs and SENDs. */
  window = connectionWindow;
  /** Largest payload that the other end takes. */
  max = 16 * 1024 * 1024;
  /** PINGs that wait for their PONG, by their ids. */
  readonly pings = new Map<number, unknown>();
  /** The id that was used last. */
  lastId: number;
  readonly pieces: Pieces;
  readonly #queue = new Fifo<Queued>();
  #queuedBytes = 0;
  readonly #scratch = new Writer();
  readonly #aside = new Aside();
  // Frames that must wait for the last piece of a long message.
  readonly #behind = new Outbox(true);
  // What is being written, and where its payload begins behind its start.
  #kind = 0;
  #flags = 0;
  #call: Call | null = null;
  #name: Uint8Array = nothing;
  #direct = false;
  #timeout = 0;
  #payloadAt = 0;

  constructor(
    readonly senders: Senders,
    firstId: number,
    /** Largest packet, where each frame is one; `null` on a byte link. */
    readonly largestPacket: number | null,
    /** Whether there are no pieces, as of datagrams. */
    readonly whole: boolean,
  ) {
    this.lastId = firstId - 2;
    this.outbox = new Outbox(largestPacket !== null);
    const body = Math.min(largestBody, (largestPacket ?? Infinity) - headSize);
    this.pieces = new Pieces(this.outbox, Math.min(cutAbove, body - 8 - 255));
  }

  /** Messages that wait for their turn. */
  get queued(): number {
    return this.#queue.size;
  }

  /** Whether there is no room for more of them. */
  get full(): boolean {
    return this.#queue.size >= mostQueued || this.#queuedBytes > mostQueuedBytes;
  }

  /** Begins a CALL or, without a call, a SEND; answers where its payload goes. */
  beginMessage(call: Call | null, name: Uint8Array, flags: number, now: number): Writer {
    this.#kind = call === null ? SEND : CALL;
    this.#call = call;
    this.#name = name;
    this.#flags = flags;
    this.#direct = this.#queue.size === 0 && this.#maySend(call);
    if (!this.#direct) return this.#beginAside();
    this.#beginHead(call, name, flags, now);
    this.#payloadAt = this.outbox.at - this.outbox.start;
    return this.outbox;
  }

  /** Begins an ITEM, a REPLY or an ERROR; answers where its payload goes. */
  beginOf(call: Call, kind: number, flags: number): Writer {
    this.#kind = kind;
    this.#call = call;
    this.#name = nothing;
    this.#flags = flags;
    this.#direct = call.id !== 0 && !this.#mustWait(call, kind, flags) && !this.pieces.some;
    if (!this.#direct) return this.#beginAside();
    this.outbox.begin(kind, flags, 0, call.id);
    this.#payloadAt = this.outbox.at - this.outbox.start;
    return this.outbox;
  }

  /** Forgets what was begun. */
  abandon(): void {
    if (this.#direct) this.outbox.abandon();
    this.#scratch.at = 0;
  }

  /** Sends what was begun, or lets it wait; `raw` is its payload where nothing was written. From 16 KiB on it is not copied. Answers why it cannot be sent. */
  commit(raw: Uint8Array = nothing): Fault | null {
    const from: Writer = this.#direct ? this.outbox : this.#scratch;
    const size = from.at - from.start - this.#payloadAt + raw.length;
    const most = this.whole ? this.largestPacket! - headSize - this.#name.length - (this.#kind === CALL ? 4 : 0) : this.max;
    if (size > most) {
      this.abandon();
      return new Fault("too-large", `a payload of ${size} bytes, and ${this.whole ? "a datagram" : "the other end"} takes at most ${most}`);
    }
    if (!this.#direct) {
      const { bytes, at } = this.#scratch;
      this.#later(raw.length >= byReference ? raw : this.#aside.copy(raw.length > 0 ? raw : bytes.subarray(0, at)));
      return null;
    }
    if (size > this.pieces.size && !this.whole) {
      const payload = raw.length > 0 ? raw : this.outbox.keep(this.outbox.start + this.#payloadAt);
      this.outbox.abandon();
      this.#sendLong(this.#kind, this.#flags, this.#call, this.#name, payload, this.#timeout);
    } else if (raw.length < byReference) {
      this.outbox.append(raw);
      this.#end(size, nothing);
    } else this.#end(size, raw);
    return null;
  }

  /** Sends a frame that has no payload. */
  control(kind: number, id: number, credit = -1): void {
    const long = this.pieces.some && id !== 0 ? this.pieces.of(id) : undefined;
    const to = long === undefined ? this.outbox : this.#behind;
    to.begin(kind, 0, 0, id);
    if (credit >= 0) {
      to.ensure(4);
      to.view.setUint32(to.at, credit);
      to.at += 4;
    }
    to.end();
    if (long !== undefined) this.#putBehind(long);
  }

  /** Sends a PING when everything before it is sent. */
  flush(flush: unknown): void {
    this.#queue.push({ kind: PING, flags: 0, call: null, name: nothing, payload: nothing, flush });
    this.pump(0);
  }

  /** Sends END behind the items. */
  endItems(call: Call, kind: number): void {
    if (call.id !== 0 && call.out!.waiting.size === 0) this.control(kind, call.id);
    else call.out!.waiting.push({ kind, flags: 0, payload: nothing });
  }

  /** Sends what may be sent by now. */
  pump(now: number): void {
    for (let next = this.#queue.peek(); next !== undefined; next = this.#queue.peek()) {
      const dead = next.call !== null && !next.call.waiting;
      if (!dead && !(next.kind === PING ? this.#mayPing() : this.#maySend(next.call))) return;
      this.#queue.shift();
      this.#queuedBytes -= next.payload.length;
      if (!dead) this.#sendQueued(next, now);
    }
  }

  /** Sends the items of a call that may be sent by now. */
  pumpItems(call: Call): void {
    const stream = call.out;
    if (stream === null) return;
    for (let next = stream.waiting.peek(); next !== undefined; next = stream.waiting.peek()) {
      if (next.kind === ITEM && next.flags !== LAGGED && stream.window <= 0) return;
      stream.waiting.shift();
      if (next.kind === ITEM || next.payload.length > 0 || next.flags !== 0) this.#sendWaiting(call, next.kind, next.flags, next.payload);
      else this.control(next.kind, call.id);
      if (!call.ours && next.kind !== ITEM) this.senders.answered(call);
    }
  }

  /** Gives up everything that waits for its turn; answers the calls and the flushes among it. */
  dropQueued(): { calls: Call[]; flushes: unknown[] } {
    const dropped = this.#queue.removeAll(() => true);
    this.#queuedBytes = 0;
    return {
      calls: dropped.flatMap(({ call }) => (call !== null && call.waiting ? [call] : [])),
      flushes: dropped.flatMap(({ kind, flush }) => (kind === PING ? [flush] : [])),
    };
  }

  #beginAside(): Writer {
    this.#scratch.at = this.#scratch.start = this.#payloadAt = 0;
    return this.#scratch;
  }

  #maySend(call: Call | null): boolean {
    if (this.window <= 0 || !this.senders.mayBegin() || (call !== null && !this.senders.hasPlace(call))) return false;
    return !this.pieces.some || !this.#messageInPieces;
  }

  #mayPing(): boolean {
    return this.pings.size < mostPings && this.senders.mayBegin() && !this.#messageInPieces;
  }

  get #messageInPieces(): boolean {
    return this.pieces.has(CALL) || this.pieces.has(SEND);
  }

  /** An item waits for the window and for those before it; an answer for the items, unless nobody wants them any more. */
  #mustWait({ out, stopping }: Call, kind: number, flags: number): boolean {
    if (out === null) return false;
    return kind === ITEM ? out.waiting.size > 0 || (flags !== LAGGED && out.window <= 0) : out.waiting.size > 0 && !stopping;
  }

  #beginHead(call: Call | null, name: Uint8Array, flags: number, now: number): void {
    const { outbox } = this;
    outbox.begin(call === null ? SEND : CALL, flags, name.length, this.lastId + 2);
    outbox.ensure(4 + name.length);
    if (call !== null) {
      this.#timeout = leftOf(call.deadline, now);
      outbox.view.setUint32(outbox.at, this.#timeout);
      outbox.at += 4;
    }
    outbox.append(name);
  }

  /** What was begun in the outbox is whole. */
  #end(size: number, behind: Uint8Array): void {
    const { outbox } = this;
    const call = this.#call;
    const begins = outbox.total;
    outbox.end(behind);
    this.#account(this.#kind, this.#flags, call, this.#name.length, size, begins);
  }

  #account(kind: number, flags: number, call: Call | null, name: number, size: number, begins: number): void {
    if (kind === CALL || kind === SEND) {
      this.lastId += 2;
      this.window -= size + name + messageCost;
      if (call === null) return;
      call.id = this.lastId;
      call.begins = begins;
      this.senders.sent(call);
      if (call.out !== null) this.pumpItems(call);
    } else if (kind !== ITEM) this.senders.answered(call!);
    else if (flags !== LAGGED) call!.out!.window -= size + itemCost;
  }

  #later(payload: Uint8Array): void {
    const call = this.#call;
    const [kind, flags] = [this.#kind, this.#flags];
    if (kind === CALL || kind === SEND) {
      this.#queuedBytes += payload.length;
      this.#queue.push({ kind, flags, call, name: this.#name, payload, flush: null });
    } else if (call!.id === 0 || this.#mustWait(call!, kind, flags)) call!.out!.waiting.push({ kind, flags, payload });
    else {
      this.#sendWaiting(call!, kind, flags, payload);
      if (kind !== ITEM) this.senders.answered(call!);
    }
  }

  #sendQueued({ kind, flags, call, name, payload, flush }: Queued, now: number): void {
    if (kind === PING) {
      this.lastId += 2;
      this.pings.set(this.lastId, flush);
      this.control(PING, this.lastId);
    } else if (payload.length > this.pieces.size) {
      this.#sendLong(kind, flags, call, name, payload, call === null ? 0 : leftOf(call.deadline, now));
    } else {
      const begins = this.outbox.total;
      this.#beginHead(call, name, flags, now);
      this.#append(this.outbox, payload);
      this.#account(kind, flags, call, name.length, payload.length, begins);
    }
  }

  /** Sends an item or an answer that was put aside. */
  #sendWaiting(call: Call, kind: number, flags: number, payload: Uint8Array): void {
    if (kind === ITEM && flags !== LAGGED) call.out!.window -= payload.length + itemCost;
    const long = this.pieces.some ? this.pieces.of(call.id) : undefined;
    if (payload.length > this.pieces.size) {
      this.#addLong(new Long(kind, flags, call.id, front(payload.length, null, nothing), 0, payload), long);
      return;
    }
    const to = long === undefined ? this.outbox : this.#behind;
    to.begin(kind, flags, 0, call.id);
    this.#append(to, payload);
    if (long !== undefined) this.#putBehind(long);
  }

  /** The frame that was written aside follows the long message of its call. */
  #putBehind(long: Long): void {
    long.after.push(...this.#behind.take().map(copyOf));
    this.#behind.recycle();
  }

  #append(to: Outbox, payload: Uint8Array): void {
    if (payload.length >= byReference) return to.end(payload);
    to.append(payload);
    to.end();
  }

  #sendLong(kind: number, flags: number, call: Call | null, name: Uint8Array, payload: Uint8Array, timeout: number): void {
    const begins = this.outbox.total;
    const id = kind === CALL || kind === SEND ? this.lastId + 2 : call!.id;
    const long = new Long(kind, flags, id, front(payload.length, kind === CALL ? timeout : null, name), name.length, payload);
    this.#addLong(long, undefined);
    this.#account(kind, flags, call, name.length, payload.length, begins);
  }

  #addLong(long: Long, behind: Long | undefined): void {
    if (behind === undefined) this.pieces.add(long);
    else behind.after.push(long);
  }
}

/** What is left until the deadline, in milliseconds for the wire: rounded up, but for what the clock's fractions add. */
function leftOf(deadline: number, now: number): number {
  return deadline === Infinity ? 0 : Math.min(Math.max(Math.ceil(deadline - now - 0.001), 1), 2 ** 32 - 1);
}

/** What stands before the payload of a long message. */
function front(total: number, timeout: number | null, name: Uint8Array): Uint8Array {
  const bytes = new Uint8Array((timeout === null ? 4 : 8) + name.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, total);
  if (timeout !== null) view.setUint32(4, timeout);
  bytes.set(name, bytes.length - name.length);
  return bytes;
}

