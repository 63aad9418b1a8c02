/** First bytes: what tells peers apart that come to one port. Each is judged with the first byte that decides. */

import { HELLO, headSize, largestHello, magic } from "./panpipe/frame.js";

/** Who speaks: a peer of the panpipe protocol, who asks by HTTP, or anybody else. */
export type Speaker = "panpipe" | "http" | "other";

/** What an HTTP request begins with that may be for us. */
const verb = new TextEncoder().encode("GET ");

/** Who has begun with these bytes; null while more could tell. */
export function speakerOf(bytes: Uint8Array): Speaker | null {
  const have = bytes.length;
  if (begins(bytes, verb)) return have < verb.length ? null : "http";
  const whole = headSize + magic.length;
  for (let at = 0; at < Math.min(have, whole); at++) if (!mayBeHello(bytes, at)) return "other";
  return have < whole ? null : "panpipe";
}

function begins(bytes: Uint8Array, what: Uint8Array): boolean {
  return bytes.subarray(0, what.length).every((byte, at) => byte === what[at]);
}

function mayBeHello(bytes: Uint8Array, at: number): boolean {
  const byte = bytes[at]!;
  if (at < 2) return byte === 0;
  if (at === 2) return byte <= largestHello >>> 8;
  if (at === 3) return inLength((bytes[2]! << 8) | byte);
  return at < headSize ? byte === (at === 4 ? HELLO : 0) : byte === magic[at - headSize];
}

function inLength(length: number): boolean {
  return length > magic.length && length <= largestHello;
}
