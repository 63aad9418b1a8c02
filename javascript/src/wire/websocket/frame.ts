/** Frames as they are written (RFC 6455, section 5.2), and masks (section 5.3). */

/** The opcodes. */
export const CONTINUATION = 0,
  TEXT = 1,
  BINARY = 2,
  CLOSE = 8,
  PING = 9,
  PONG = 10;

/** The bit of the first byte that says that a message ends here. */
export const LAST = 0x80;

/** The bit of the second byte that says that a mask follows. */
export const MASKED = 0x80;

/** Bytes of the longest head. */
export const longestHead = 14;

/** Bytes of a mask. */
export const maskSize = 4;

/** Bytes of the head of a frame. */
export function headSizeOf(length: number, masked: boolean): number {
  return (length < 126 ? 2 : length < 0x1_0000 ? 4 : 10) + (masked ? maskSize : 0);
}

/** Writes the head of a frame that is a whole message at `out[at]`; answers where it ends. Of a masked one the mask is to be put before that. */
export function writeHead(out: Uint8Array, at: number, opcode: number, length: number, masked: boolean): number {
  const bit = masked ? MASKED : 0;
  out[at++] = LAST | opcode;
  if (length < 126) out[at++] = bit | length;
  else if (length < 0x1_0000) {
    out[at++] = bit | 126;
    out[at++] = length >>> 8;
    out[at++] = length;
  } else {
    out[at++] = bit | 127;
    const high = Math.floor(length / 0x1_0000_0000);
    for (let shift = 24; shift >= 0; shift -= 8) out[at++] = high >>> shift;
    for (let shift = 24; shift >= 0; shift -= 8) out[at++] = length >>> shift;
  }
  return masked ? at + maskSize : at;
}

/** Fewer bytes than this are not worth looking at as words. */
const few = 256;

const word = new Uint32Array(1);
const wordBytes = new Uint8Array(word.buffer);

/** Puts the mask of four bytes at `mask[start]` on `bytes[from..to]`, or takes it off, where they are. `phase` says which of its bytes is the first; answers which would be the next. */
export function applyMask(bytes: Uint8Array, from: number, to: number, mask: Uint8Array, start: number, phase: number): number {
  let at = from;
  if (to - from >= few) {
    for (; (bytes.byteOffset + at) % 4 !== 0; at++, phase++) bytes[at]! ^= mask[start + (phase & 3)]!;
    for (let index = 0; index < 4; index++) wordBytes[index] = mask[start + ((phase + index) & 3)]!;
    const [key] = word as unknown as [number];
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset + at, (to - at) >>> 2);
    for (let index = 0; index < words.length; index++) words[index]! ^= key;
    at += words.length * 4;
  }
  const [a, b, c, d] = [mask[start + (phase & 3)]!, mask[start + ((phase + 1) & 3)]!, mask[start + ((phase + 2) & 3)]!, mask[start + ((phase + 3) & 3)]!];
  for (; at + 3 < to; at += 4) {
    bytes[at]! ^= a;
    bytes[at + 1]! ^= b;
    bytes[at + 2]! ^= c;
    bytes[at + 3]! ^= d;
  }
  for (; at < to; at++, phase++) bytes[at]! ^= mask[start + (phase & 3)]!;
  return phase & 3;
}
