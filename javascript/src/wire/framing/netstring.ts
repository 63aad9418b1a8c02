/** `netstring`: decimal count, `:`, message, `,` (D. J. Bernstein, 1997). */

import { Fault } from "../error.js";
import type { Decoder, Encoder } from "./framing.js";
import { only, tooLarge } from "./only.js";

const zero = 0x30;
const nine = 0x39;
const colon = 0x3a;
const comma = 0x2c;

const encoder: Encoder = {
  overhead: 18,
  check() {},
  head(size, out, at) {
    const digits = String(size);
    for (let digit = 0; digit < digits.length; digit++) out[at + digit] = digits.charCodeAt(digit);
    out[at + digits.length] = colon;
    return at + digits.length + 1;
  },
  tail(out, at) {
    out[at] = comma;
    return at + 1;
  },
};

class NetstringDecoder implements Decoder {
  from = 0;
  to = 0;
  next = 0;
  need = 0;

  constructor(readonly max: number) {}

  // The count is read anew each time: it has fewer digits than max has, plus one.
  scan(bytes: Uint8Array, start: number): boolean {
    this.need = 0;
    let size = 0;
    let at = start;
    for (; ; at++) {
      if (at === bytes.length) return false;
      const byte = bytes[at]!;
      if (byte === colon && at > start) break;
      if (byte < zero || byte > nine) throw new Fault("bad-peer", at === start ? "a netstring that starts with no digit" : "a netstring whose count does not end in a colon");
      if (at > start && bytes[start] === zero) throw new Fault("bad-peer", "a netstring whose count has a leading zero");
      size = size * 10 + byte - zero;
      if (size > this.max) throw tooLarge(this.max);
    }
    this.from = at + 1;
    this.to = this.from + size;
    this.next = this.to + 1;
    this.need = this.next - start;
    if (bytes.length <= this.to) return false;
    if (bytes[this.to] !== comma) throw new Fault("bad-peer", "a netstring that does not end in a comma");
    return true;
  }
}

/** The framing `netstring`. */
export const netstring = only(
  {
    name: "netstring",
    wire: "a decimal count, `:`, the message, `,`",
    keepsBoundaries: true,
    goodFor: "any bytes, and a person can still read the counts",
    cannotCarry: "",
  },
  encoder,
  (max) => new NetstringDecoder(max),
);
