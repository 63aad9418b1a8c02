/** Bytes: where they are allocated, and how text becomes bytes and back, here and in a browser. */

import { Fault } from "./error.js";

/** No bytes. */
export const nothing = new Uint8Array(0);

/** Fresh bytes of unspecified content. In Node a `Buffer` of its own, because what is handed to the user is a `Buffer`. */
export const allocate: (size: number) => Uint8Array =
  typeof Buffer === "undefined" ? (size) => new Uint8Array(size) : (size) => Buffer.allocUnsafeSlow(size);

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Text as UTF-8. */
export const toBytes: (text: string) => Uint8Array = typeof Buffer === "undefined" ? (text) => encoder.encode(text) : (text) => Buffer.from(text, "utf8");

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
