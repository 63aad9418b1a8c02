/** `content-length`: header lines, an empty line, the message; the base protocol of the Language Server Protocol. */

import { Fault } from "../error.js";
import type { Decoder, Encoder } from "./framing.js";
import { only, tooLarge } from "./only.js";

const longestHead = 4096;
const newline = 0x0a;
const carriageReturn = 0x0d;

const encoder: Encoder = {
  overhead: 36,
  check() {},
  head(size, out, at) {
    const text = `Content-Length: ${size}\r\n\r\n`;
    for (let index = 0; index < text.length; index++) out[at + index] = text.charCodeAt(index);
    return at + text.length;
  },
  tail: (_out, at) => at,
};

class ContentLengthDecoder implements Decoder {
  from = 0;
  to = 0;
  next = 0;
  need = 0;
  // Where the line begins and how far it was looked at, both from the start of the message.
  #line = 0;
  #scanned = 0;
  // What the header said, or -1.
  #size = -1;
  #headEnded = false;

  constructor(readonly max: number) {}

  scan(bytes: Uint8Array, start: number): boolean {
    while (!this.#headEnded) {
      const found = bytes.indexOf(newline, start + this.#scanned);
      const end = found < 0 ? bytes.length : found + 1;
      if (end - start > longestHead || (end - start === longestHead && found < 0)) throw headTooLong();
      this.#scanned = end - start;
      if (found < 0) return false;
      this.#readLine(bytes, start + this.#line, found);
      this.#line = this.#scanned;
    }
    this.from = start + this.#line;
    this.to = this.next = this.from + this.#size;
    this.need = this.to - start;
    if (bytes.length < this.to) return false;
    this.#line = this.#scanned = this.need = 0;
    this.#size = -1;
    this.#headEnded = false;
    return true;
  }

  /** Reads the header line `bytes[from..newline]`. */
  #readLine(bytes: Uint8Array, from: number, end: number): void {
    if (end === from || bytes[end - 1] !== carriageReturn) throw new Fault("bad-peer", "a header line that ends in a bare newline");
    if (end - 1 === from) {
      if (this.#size < 0) throw new Fault("bad-peer", "a header without Content-Length");
      this.#headEnded = true;
      return;
    }
    const line = String.fromCharCode(...bytes.subarray(from, end - 1));
    const colon = line.indexOf(":");
    if (colon < 0) throw new Fault("bad-peer", "a header line without a colon");
    if (line.slice(0, colon).toLowerCase() !== "content-length") return;
    if (this.#size >= 0) throw new Fault("bad-peer", "a second Content-Length");
    const value = line.slice(colon + 1).replace(/^ +| +$/g, "");
    if (!/^[0-9]+$/.test(value)) throw new Fault("bad-peer", "a Content-Length that is not a decimal number");
    this.#size = Number(value);
    if (this.#size > this.max) throw tooLarge(this.max);
  }
}

function headTooLong(): Fault {
  return new Fault("bad-peer", `a header of ${longestHead} bytes that does not end`);
}

/** The framing `content-length`. */
export const contentLength = only(
  {
    name: "content-length",
    wire: "`Content-Length: N\\r\\n\\r\\n`, then the message; other header lines are skipped when reading",
    keepsBoundaries: true,
    goodFor: "language servers and debug adapters (LSP, DAP)",
    cannotCarry: "",
  },
  encoder,
  (max) => new ContentLengthDecoder(max),
);
