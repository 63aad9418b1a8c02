/** Aside: what waits for its turn, many small copies in one piece of memory. */

import { allocate, copyOf, nothing } from "../bytes.js";

const slabSize = 64 * 1024;

/** Larger copies have memory of their own. */
const largest = 4096;

/** Copies bytes; memory of one's own for each would cost more than what is in it. */
export class Aside {
  #slab: Uint8Array = nothing;
  #at = 0;

  /** A copy. */
  copy(bytes: Uint8Array): Uint8Array {
    const { length } = bytes;
    if (length === 0) return nothing;
    if (length > largest) return copyOf(bytes);
    if (this.#at + length > this.#slab.length) {
      this.#slab = allocate(slabSize);
      this.#at = 0;
    }
    const at = this.#at;
    this.#slab.set(bytes, at);
    this.#at += length;
    return this.#slab.subarray(at, this.#at);
  }
}
