/** `length`: a count of fixed width, then the message. The default: `u32be`, the most common binary framing there is. */

import { Fault } from "../error.js";
import type { Decoder, Encoder, FramingInfo, FramingKind } from "./framing.js";
import { tooLarge } from "./only.js";

const info: FramingInfo = {
  name: "length",
  wire: "a count (u32 big-endian unless said: `length:u16le`, `ne` is native), then the message",
  keepsBoundaries: true,
  goodFor: "any bytes, fast; the usual choice between two programs",
  cannotCarry: "",
};

const native = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
const bits32 = 2 ** 32;

class LengthEncoder implements Encoder {
  readonly overhead: number;
  readonly #largest: number;

  constructor(
    readonly width: number,
    readonly little: boolean,
  ) {
    this.overhead = width;
    this.#largest = width < 8 ? 2 ** (8 * width) - 1 : Number.MAX_SAFE_INTEGER;
  }

  check(message: Uint8Array): void {
    if (message.length > this.#largest) {
      throw new Fault("too-large", `a message of ${message.length} bytes, and a count of ${this.width} bytes cannot say that`);
    }
  }

  head(size: number, out: Uint8Array, at: number): number {
    const width = this.width;
    if (width === 4 && !this.little) {
      out[at] = size >>> 24;
      out[at + 1] = size >>> 16;
      out[at + 2] = size >>> 8;
      out[at + 3] = size;
      return at + 4;
    }
    let rest = size;
    for (let digit = 0; digit < width; digit++) {
      out[this.little ? at + digit : at + width - 1 - digit] = rest % 256;
      rest = Math.floor(rest / 256);
    }
    return at + width;
  }

  tail(_out: Uint8Array, at: number): number {
    return at;
  }
}

class LengthDecoder implements Decoder {
  from = 0;
  to = 0;
  next = 0;
  need = 0;

  constructor(
    readonly width: number,
    readonly little: boolean,
    readonly max: number,
  ) {}

  scan(bytes: Uint8Array, start: number): boolean {
    const have = bytes.length - start;
    if (have < this.width) {
      this.need = 0;
      return false;
    }
    const size = this.#count(bytes, start);
    if (size > this.max) throw tooLarge(this.max, size);
    this.from = start + this.width;
    this.to = this.next = this.from + size;
    this.need = this.width + size;
    return have >= this.need;
  }

  #count(bytes: Uint8Array, at: number): number {
    if (this.width === 1) return bytes[at]!;
    if (this.width === 4 && !this.little) return this.#big(bytes, at, 4);
    if (!this.little) return this.width === 8 ? this.#big(bytes, at, 4) * bits32 + this.#big(bytes, at + 4, 4) : this.#big(bytes, at, this.width);
    // Above 2^53 the sum is not exact, but still far above any max.
    let size = 0;
    for (let digit = this.width - 1; digit >= 0; digit--) size = size * 256 + bytes[at + digit]!;
    return size;
  }

  #big(bytes: Uint8Array, at: number, width: number): number {
    const low = (bytes[at + width - 2]! << 8) | bytes[at + width - 1]!;
    return width === 2 ? low : ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | low) >>> 0;
  }
}

/** The framing `length`. */
export const length: FramingKind = {
  info,
  choose(variant) {
    const parts = /^(u8|u16|u32|u64)?(be|le|ne)?$/.exec(variant ?? "u32");
    if (parts === null || variant === "") {
      throw new Fault("unsupported", `there is no framing length:${variant}; known: one of u8, u16, u32, u64, followed by be, le or ne`);
    }
    const bits = Number((parts[1] ?? "u32").slice(1));
    const order = parts[2] ?? "be";
    const little = order === "le" || (order === "ne" && native);
    const name = bits === 8 ? "length:u8" : `length:u${bits}${little ? "le" : "be"}`;
    return {
      info,
      name,
      encoder: new LengthEncoder(bits / 8, little),
      decoder: (max) => new LengthDecoder(bits / 8, little, max),
    };
  },
};
