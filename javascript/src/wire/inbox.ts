/** Inbox: bytes that have arrived and are not yet read as messages. */

import { allocate, nothing } from "./bytes.js";
import type { Decoder } from "./framing/framing.js";

/** A message that arrives in pieces is gathered in steps of at least this many bytes: a claimed length alone must cost little. */
const step = 256 * 1024;

/**
 * Gathers chunks and cuts messages out of them, each byte copied at most a constant number of times.
 *
 * A message that lies whole in a chunk is a view of that chunk; chunks must therefore not be written to afterwards.
 */
export class Inbox {
  #bytes: Uint8Array = nothing;
  #start = 0;
  // What lies under #bytes where that is our own memory, with room behind it.
  #store: Uint8Array | null = null;
  // The part of the last chunk that is not yet in #bytes.
  #rest: Uint8Array | null = null;

  constructor(readonly decoder: Decoder) {}

  /** How many bytes wait. */
  get size(): number {
    return this.#bytes.length - this.#start + (this.#rest === null ? 0 : this.#rest.length);
  }

  /** Adds what has arrived. */
  push(chunk: Uint8Array): void {
    if (this.#rest !== null) {
      if (this.#start < this.#bytes.length) this.#absorb(this.#rest.length);
      else this.#show(this.#rest);
    }
    this.#rest = chunk;
    if (this.#start === this.#bytes.length) {
      this.#rest = null;
      this.#show(chunk);
    }
  }

  /** The next whole message, or null; throws the decoder's `Fault`. */
  next(): Uint8Array | null {
    const bytes = this.find();
    return bytes === null ? null : bytes.subarray(this.decoder.from, this.decoder.to);
  }

  /** Takes the next whole message, or answers null: `decoder` says where in these bytes it lies. Throws the decoder's `Fault`. */
  find(): Uint8Array | null {
    const decoder = this.decoder;
    for (;;) {
      const bytes = this.#bytes;
      if (this.#start < bytes.length && decoder.scan(bytes, this.#start)) {
        this.#start = decoder.next;
        return bytes;
      }
      if (this.#rest === null) return null;
      this.#takeRest();
    }
  }

  /** Drops everything. */
  clear(): void {
    this.#show(nothing);
    this.#rest = null;
  }

  /** Joins to the unfinished message what it still needs of the rest. */
  #takeRest(): void {
    const rest = this.#rest!;
    const have = this.#bytes.length - this.#start;
    if (have === 0) {
      this.#rest = null;
      this.#show(rest);
      return;
    }
    const { need } = this.decoder;
    // Only up to the end of this message: the messages behind it stay where they are, uncopied.
    this.#absorb(need > have ? Math.min(need - have, rest.length) : rest.length);
  }

  #absorb(count: number): void {
    const rest = this.#rest!;
    const have = this.#bytes.length - this.#start;
    const total = have + count;
    let store = this.#store;
    let from = this.#start;
    if (store === null || this.#bytes.length + count > store.length) {
      store = allocate(this.#capacity(have, total));
      store.set(this.#bytes.subarray(this.#start));
      from = 0;
    }
    store.set(count === rest.length ? rest : rest.subarray(0, count), from + have);
    this.#store = store;
    this.#bytes = store.subarray(0, from + total);
    this.#start = from;
    this.#rest = count === rest.length ? null : rest.subarray(count);
  }

  #capacity(have: number, total: number): number {
    const { need } = this.decoder;
    const doubled = Math.max(2 * have, total);
    return need > have ? Math.max(total, Math.min(need, Math.max(doubled, step))) : doubled;
  }

  #show(chunk: Uint8Array): void {
    this.#bytes = chunk;
    this.#start = 0;
    this.#store = null;
  }
}
