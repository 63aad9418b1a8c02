/** Names of methods and topics: 1 to 255 bytes of UTF-8 without control characters. */

import { Fault } from "../error.js";
import { toBytes } from "../bytes.js";
import { readText } from "./text.js";

/** Names that are remembered as bytes; a program that makes up more than this is no reason to grow. */
const mostKept = 1024;

const kept = new Map<string, Uint8Array>();

/** A name as bytes; a `Fault` for what is none. */
export function nameBytes(name: string): Uint8Array {
  const known = kept.get(name);
  if (known !== undefined) return known;
  if (typeof name !== "string") throw new Fault("unsupported", "a name is a string");
  const bytes = toBytes(name);
  if (bytes.length === 0 || bytes.length > 255 || readName(bytes, 0, bytes.length) !== name) {
    throw new Fault("unsupported", `${JSON.stringify(name.slice(0, 64))} is no name: that is 1 to 255 bytes of UTF-8 without control characters`);
  }
  if (kept.size < mostKept) kept.set(name, bytes);
  return bytes;
}

/** The name in `bytes[from..to]`, or null when it is none. */
export function readName(bytes: Uint8Array, from: number, to: number): string | null {
  if (from === to || to - from > 255) return null;
  for (let at = from; at < to; at++) if (bytes[at]! < 0x20 || bytes[at] === 0x7f) return null;
  return readText(bytes, from, to);
}

/** Reads names of which most are like the one before. */
export class NameReader {
  #name: string | null = null;
  #bytes = new Uint8Array(0);

  /** As `readName`. */
  read(bytes: Uint8Array, from: number, to: number): string | null {
    const last = this.#bytes;
    let at = 0;
    if (to - from === last.length) while (at < last.length && bytes[from + at] === last[at]) at++;
    if (at === last.length && at === to - from && at > 0) return this.#name;
    const name = readName(bytes, from, to);
    if (name === null) return null;
    this.#bytes = Uint8Array.prototype.slice.call(bytes, from, to);
    return (this.#name = name);
  }
}
