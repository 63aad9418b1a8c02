/** Text that arrives in pieces is judged as it comes (RFC 6455, section 8.1; RFC 3629). */

/** Where a text stands. */
export class Utf8 {
  // Bytes that its last character still needs, and what the next of them may be.
  #left = 0;
  #low = 0x80;
  #high = 0xbf;

  /** Looks at the next bytes; whether the text can still be UTF-8. */
  goesOn(bytes: Uint8Array, from: number, to: number): boolean {
    for (let at = from; at < to; at++) {
      const byte = bytes[at]!;
      if (this.#left > 0) {
        if (byte < this.#low || byte > this.#high) return false;
        this.#low = 0x80;
        this.#high = 0xbf;
        this.#left--;
      } else if (byte > 0x7f) {
        if (byte < 0xc2 || byte > 0xf4) return false;
        this.#left = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
        // Neither longer than need be, nor a surrogate, nor beyond U+10FFFF.
        if (byte === 0xe0) this.#low = 0xa0;
        else if (byte === 0xed) this.#high = 0x9f;
        else if (byte === 0xf0) this.#low = 0x90;
        else if (byte === 0xf4) this.#high = 0x8f;
      }
    }
    return true;
  }

  /** Ends the text; whether its last character was whole. */
  ends(): boolean {
    const whole = this.#left === 0;
    this.#left = 0;
    this.#low = 0x80;
    this.#high = 0xbf;
    return whole;
  }
}
