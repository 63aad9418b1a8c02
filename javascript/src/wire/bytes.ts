/** Bytes: where they are allocated, and how text becomes bytes and back, here and in a browser. */

import { Fault } from "./error.js";

/** No bytes. */
export const nothing = new Uint8Array(0);

/** What a `Buffer` of Node gives more than a `Uint8Array`. */
interface Fast {
  allocUnsafeSlow(size: number): Uint8Array;
  from(from: string | Uint8Array): Uint8Array;
}

const fast = (globalThis as { Buffer?: Fast }).Buffer;

/** Fresh bytes of unspecified content. In Node a `Buffer` of its own, because what is handed to the user is a `Buffer`. */
export const allocate: (size: number) => Uint8Array =
  fast === undefined ? (size) => new Uint8Array(size) : (size) => fast.allocUnsafeSlow(size);

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Text as UTF-8. */
export const toBytes: (text: string) => Uint8Array = fast === undefined ? (text) => encoder.encode(text) : (text) => fast.from(text);

/** UTF-8 as text; other bytes are a `bad-peer` fault. */
export function toText(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new Fault("bad-peer", "with text=true a message must be UTF-8, and this one is not");
  }
}

/** A copy; `slice` of a `Buffer` would be a view. */
export function copyOf(bytes: Uint8Array): Uint8Array {
  return Uint8Array.prototype.slice.call(bytes);
}

/** A copy of a few bytes; in Node in memory that many share, which is faster. */
export const smallCopy: (bytes: Uint8Array) => Uint8Array = fast === undefined ? copyOf : (bytes) => fast.from(bytes);
