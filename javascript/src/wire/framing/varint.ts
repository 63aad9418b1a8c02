/** `varint`: the count as unsigned LEB128, then the message; what protobuf calls delimited. */

import { Fault } from "../error.js";
import type { Decoder, Encoder } from "./framing.js";
import { only, tooLarge } from "./only.js";

const longest = 10;

const encoder: Encoder = {
  overhead: longest,
  check() {},
  head(size, out, at) {
    let rest = size;
    let end = at;
    for (; rest > 127; rest = Math.floor(rest / 128)) out[end++] = (rest % 128) | 128;
    out[end] = rest;
    return end + 1;
  },
  tail: (_out, at) => at,
};

class VarintDecoder implements Decoder {
  from = 0;
  to = 0;
  next = 0;
  need = 0;

  constructor(readonly max: number) {}

  scan(bytes: Uint8Array, start: number): boolean {
    this.need = 0;
    // Above 2^53 the sum is not exact, but still far above any max.
    let size = 0;
    let scale = 1;
    for (let digit = 0; ; digit++) {
      const byte = bytes[start + digit];
      if (byte === undefined) return false;
      if (digit === longest - 1 && byte > 1) throw new Fault("bad-peer", "a count of more than 64 bits");
      size += (byte & 127) * scale;
      scale *= 128;
      if (byte < 128) {
        this.from = start + digit + 1;
        break;
      }
    }
    if (size > this.max) throw tooLarge(this.max, size);
    this.to = this.next = this.from + size;
    this.need = this.to - start;
    return bytes.length >= this.to;
  }
}

/** The framing `varint`. */
export const varint = only(
  {
    name: "varint",
    wire: "a count in 7-bit groups, lowest first (LEB128), then the message",
    keepsBoundaries: true,
    goodFor: "streams of Protocol Buffers messages (`writeDelimitedTo`)",
    cannotCarry: "",
  },
  encoder,
  (max) => new VarintDecoder(max),
);
