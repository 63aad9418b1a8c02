/** Text of values: UTF-8, strictly, by the fastest way that this JavaScript has. */

import type { Writer } from "./writer.js";

/** What a `Buffer` of Node can do beside a `Uint8Array`. */
interface Fast {
  utf8Slice?(from: number, to: number): string;
  utf8Write?(text: string, at: number): number;
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** Below this a loop is faster than a call out of JavaScript. */
const short = 16;

/** The text in `bytes[from..to]`, or null when it is not UTF-8. */
export function readText(bytes: Uint8Array, from: number, to: number): string | null {
  if (to - from < short) {
    let text = "";
    for (let at = from; ; at++) {
      if (at === to) return text;
      const byte = bytes[at]!;
      if (byte > 0x7f) break;
      text += String.fromCharCode(byte);
    }
  }
  const fast = bytes as Fast;
  if (fast.utf8Slice !== undefined) {
    const text = fast.utf8Slice(from, to);
    // This stands for what is not UTF-8 and for itself.
    if (!text.includes("\ufffd")) return text;
  }
  try {
    return decoder.decode(bytes.subarray(from, to));
  } catch {
    return null;
  }
}

/** Writes text in UTF-8, for which there must be three bytes for each of its units; answers how many it took, or -1 when it has a lone surrogate. */
export function writeText(out: Writer, text: string): number {
  const { bytes, at } = out;
  const { length } = text;
  if (length < short) {
    for (let index = 0; ; index++) {
      if (index === length) {
        out.at = at + length;
        return length;
      }
      const unit = text.charCodeAt(index);
      if (unit > 0x7f) break;
      bytes[at + index] = unit;
    }
  }
  const fast = bytes as Fast;
  const size = fast.utf8Write !== undefined ? fast.utf8Write(text, at) : encoder.encodeInto(text, bytes.subarray(at)).written;
  if (size !== length && /\p{Surrogate}/u.test(text)) return -1;
  out.at = at + size;
  return size;
}
