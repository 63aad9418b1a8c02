/** What `lines` and `nul` share: a message ends at a byte that it cannot hold. */

import type { Decoder } from "./framing.js";
import { tooLarge } from "./only.js";

const carriageReturn = 0x0d;

/** Finds the end of a message by its last byte. */
export class DelimitedDecoder implements Decoder {
  from = 0;
  to = 0;
  next = 0;
  need = 0;
  // Bytes of this message that hold no end.
  #scanned = 0;

  /** `dropReturn` drops one carriage return before the end, which may be one byte above `max`. */
  constructor(
    readonly max: number,
    readonly end: number,
    readonly dropReturn: boolean,
  ) {}

  scan(bytes: Uint8Array, start: number): boolean {
    const found = bytes.indexOf(this.end, start + this.#scanned);
    if (found < 0) {
      this.#scanned = bytes.length - start;
      if (this.#scanned > this.max + (this.dropReturn ? 1 : 0)) throw tooLarge(this.max);
      return false;
    }
    this.#scanned = 0;
    this.from = start;
    this.to = this.dropReturn && found > start && bytes[found - 1] === carriageReturn ? found - 1 : found;
    this.next = found + 1;
    if (this.to - start > this.max) throw tooLarge(this.max);
    return true;
  }
}
