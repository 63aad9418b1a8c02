/** Frames of the panpipe protocol: their numbers, and how they are found on a byte link. Held by `vectors/protocol/frames.json`. */

import { Fault } from "../error.js";
import type { Decoder } from "../framing/framing.js";

/** Bytes before the body of a frame. */
export const headSize = 16;

/** Largest body of a frame, in bytes. */
export const largestBody = 1_048_576;

/** Largest body of a HELLO, in bytes. */
export const largestHello = 4096;

/** From 2^53 on a number has no neighbours in JavaScript. */
export const idLimit = 2 ** 53;

/** The kinds of frames. */
export const HELLO = 1,
  CALL = 2,
  SEND = 3,
  REPLY = 4,
  ERROR = 5,
  ITEM = 6,
  END = 7,
  CREDIT = 8,
  CANCEL = 9,
  PING = 10,
  PONG = 11,
  GOODBYE = 12,
  OPEN = 13;

/** The flags of frames. */
export const MORE = 1,
  RAW = 2,
  NAMED = 4,
  STREAM = 8,
  ARGUMENTS = 16,
  TOPIC = 32,
  LAGGED = 64;

/** Kinds from here on are ignored by who does not know them. */
export const ignoredFrom = 128;

/** The names of the kinds, by their numbers. */
export const kindNames = ["", "HELLO", "CALL", "SEND", "REPLY", "ERROR", "ITEM", "END", "CREDIT", "CANCEL", "PING", "PONG", "GOODBYE", "OPEN"] as const;

/** The flags that a frame of each kind may have. */
const allowed = [0, 0, MORE | RAW | NAMED | STREAM | ARGUMENTS | TOPIC, MORE | RAW | NAMED | TOPIC, MORE | RAW, MORE, MORE | RAW | LAGGED, 0, 0, 0, 0, 0, 0, 0];

/** What a HELLO begins with. */
export const magic = new TextEncoder().encode("panpipe");

/** Version of the protocol. */
export const version = 1;

/** The head of a frame, read. */
export interface Head {
  kind: number;
  flags: number;
  /** Size of the name in the body. */
  name: number;
  id: number;
}

/** Reads the head at `bytes[at]`; a `Fault` where it breaks a rule of its own. */
export function readHead(bytes: Uint8Array, at: number, head: Head): void {
  const kind = (head.kind = bytes[at + 4]!);
  const flags = (head.flags = bytes[at + 5]!);
  const name = (head.name = (bytes[at + 6]! << 8) | bytes[at + 7]!);
  const high = readU32(bytes, at + 8);
  head.id = high * 0x1_0000_0000 + readU32(bytes, at + 12);
  if (kind >= ignoredFrom) return;
  if (kind === 0 || kind > OPEN) throw new Fault("bad-peer", `a frame of the unknown kind ${kind}`);
  if ((flags & ~allowed[kind]!) !== 0) throw new Fault("bad-peer", `${article(kind)} with the flags ${flags}, which it cannot have`);
  if (name !== 0 && kind !== CALL && kind !== SEND) throw new Fault("bad-peer", `${article(kind)} with a name`);
  if (high >= 0x20_0000) throw new Fault("bad-peer", `an id of 2^53 or more`);
}

/** The kind in a sentence. */
export function article(kind: number): string {
  const name = kindNames[kind]!;
  return `${/^[AEIO]/.test(name) ? "an" : "a"} ${name}`;
}

/** Four bytes as a number. */
export function readU32(bytes: Uint8Array, at: number): number {
  return bytes[at]! * 0x100_0000 + ((bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!);
}

/** Finds frames; `from` is where the head begins. The first must be a HELLO. */
export class FrameDecoder implements Decoder {
  from = 0;
  to = 0;
  next = 0;
  need = 0;
  #greeted = false;

  scan(bytes: Uint8Array, start: number): boolean {
    const have = bytes.length - start;
    if (!this.#greeted) checkHello(bytes, start, Math.min(have, headSize + magic.length + 1));
    this.need = 0;
    if (have < 4) return false;
    const length = readU32(bytes, start);
    if (length > largestBody) throw new Fault("too-large", `a frame with a body of ${length} bytes, and ${largestBody} are the most`);
    this.need = headSize + length;
    if (have < this.need) return false;
    this.#greeted = true;
    this.from = start;
    this.next = this.to = start + this.need;
    return true;
  }
}

/** Throws a `Fault` as soon as the first bytes cannot be those of a HELLO of this version. */
export function checkHello(bytes: Uint8Array, start: number, have: number): void {
  const bodySize = magic.length + 1;
  if (have >= 4) {
    const length = readU32(bytes, start);
    if (length > largestHello || length <= bodySize) throw noHello(bytes, start, have);
  } else if (have > 0 && bytes[start] !== 0) throw noHello(bytes, start, have);
  for (let at = 4; at < Math.min(have, headSize); at++) if (bytes[start + at] !== (at === 4 ? HELLO : 0)) throw noHello(bytes, start, have);
  for (let at = headSize; at < Math.min(have, headSize + magic.length); at++) if (bytes[start + at] !== magic[at - headSize]) throw noHello(bytes, start, have);
  const theirs = bytes[start + headSize + magic.length];
  if (have >= headSize + bodySize && theirs !== version) throw new Fault("version", `the peer speaks version ${theirs} of the panpipe protocol, and this is version ${version}`);
}

function noHello(bytes: Uint8Array, start: number, have: number): Fault {
  const shown = JSON.stringify(String.fromCharCode(...bytes.subarray(start, start + Math.min(have, 32))));
  return new Fault("bad-peer", `the peer does not speak the panpipe protocol: it does not begin with a HELLO but with ${shown}`);
}
