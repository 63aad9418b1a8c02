/** Pieces: long messages on their way out, so that others get their turn between. */

import type { Outbox } from "./outbox.js";
import { MORE } from "./frame.js";

/** Most messages in pieces at a time. */
export const mostInPieces = 4;

/** A long message. */
export class Long {
  /** Where what was not sent begins. */
  at = 0;
  /** What of the same call comes after it: whole frames, and other long messages. */
  readonly after: (Uint8Array | Long)[] = [];

  constructor(
    readonly kind: number,
    readonly flags: number,
    readonly id: number,
    /** What stands in the body before the payload, the size of the whole included. */
    readonly front: Uint8Array,
    readonly name: number,
    readonly payload: Uint8Array,
  ) {}
}

/** Those that are being sent, and those that wait for that. */
export class Pieces {
  #sending: Long[] = [];
  #waiting: Long[] = [];

  constructor(
    readonly outbox: Outbox,
    /** Most bytes of payload in a frame. */
    readonly size: number,
  ) {}

  /** Whether there are any. */
  get some(): boolean {
    return this.#sending.length > 0;
  }

  /** Whether one of this kind is in pieces. */
  has(kind: number): boolean {
    return this.#sending.some((each) => each.kind === kind) || this.#waiting.some((each) => each.kind === kind);
  }

  /** The long message behind which everything of this call has to wait. */
  of(id: number): Long | undefined {
    return this.#sending.find((each) => each.id === id) ?? this.#waiting.find((each) => each.id === id);
  }

  /** Begins with one, or lets it wait. */
  add(long: Long): void {
    if (this.#sending.length === mostInPieces) {
      this.#waiting.push(long);
      return;
    }
    this.#sending.push(long);
    const { outbox } = this;
    outbox.begin(long.kind, long.flags | MORE, long.name, long.id);
    outbox.append(long.front);
    this.#piece(long);
  }

  /** Sends one more piece of each. */
  proceed(): void {
    for (const long of [...this.#sending]) {
      const last = long.payload.length - long.at <= this.size;
      this.outbox.begin(long.kind, last ? 0 : MORE, 0, long.id);
      this.#piece(long);
      if (last) this.#finish(long);
    }
  }

  #piece(long: Long): void {
    const to = long.at + this.size;
    this.outbox.end(long.payload.subarray(long.at, to));
    long.at = to;
  }

  #finish(long: Long): void {
    this.#sending.splice(this.#sending.indexOf(long), 1);
    const { after } = long;
    for (let next = after.shift(); next !== undefined; next = after.shift()) {
      if (next instanceof Long) {
        next.after.push(...after.splice(0));
        this.add(next);
      } else this.outbox.add(next);
    }
    const waiting = this.#waiting.shift();
    if (waiting !== undefined) this.add(waiting);
  }
}
