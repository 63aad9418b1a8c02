// Frames as data, as vectors/protocol/README.md writes them, without the code under test.

import { hex, toHex } from "./bytes.mjs";

const kinds = ["", "HELLO", "CALL", "SEND", "REPLY", "ERROR", "ITEM", "END", "CREDIT", "CANCEL", "PING", "PONG", "GOODBYE", "OPEN"];
const flagNames = ["MORE", "RAW", "NAMED", "STREAM", "ARGUMENTS", "TOPIC", "LAGGED"];

export const flagsOf = (names = []) => names.reduce((sum, name) => sum + (1 << flagNames.indexOf(name)), 0);
export const namesOf = (flags) => flagNames.filter((_, index) => (flags & (1 << index)) !== 0);

/** Bytes of hex, or of `{"repeat": ["00", 3]}`. */
export function bytesOf(payload = "") {
  if (typeof payload === "string") return hex(payload);
  const [text, count] = payload.repeat;
  const once = hex(text);
  const bytes = Buffer.alloc(once.length * count);
  for (let at = 0; at < bytes.length; at += once.length) bytes.set(once, at);
  return bytes;
}

/** The bytes of a frame. */
export function encode(frame) {
  const parts = [];
  const u32 = (value) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    parts.push(bytes);
  };
  let name = Buffer.alloc(0);
  if (frame.kind === "HELLO") parts.push(Buffer.from("panpipe"), Buffer.of(frame.version), hex(frame.settings));
  else {
    if ("total" in frame) u32(frame.total);
    if (frame.kind === "CALL" && !frame.piece) u32(frame.timeout ?? 0);
    if ("method" in frame) parts.push((name = Buffer.from(frame.method)));
    if ("credit" in frame) u32(frame.credit);
    parts.push(bytesOf(frame.payload));
  }
  const body = Buffer.concat(parts);
  const head = Buffer.alloc(16);
  head.writeUInt32BE(body.length, 0);
  head[4] = kinds.indexOf(frame.kind);
  head[5] = flagsOf(frame.flags);
  head.writeUInt16BE(name.length, 6);
  head.writeBigUInt64BE(BigInt(frame.id ?? 0), 8);
  return Buffer.concat([head, body]);
}

/** Frames one by one: repeated ones are written out, hex is as it is. */
export function* each(frames) {
  for (const frame of frames) {
    if (typeof frame === "string" || !("times" in frame)) yield frame;
    else for (let count = 0; count < frame.times; count++) yield frame.hex ?? { ...frame.frame, ...(frame.frame.id === undefined ? {} : { id: frame.frame.id + count * (frame.step ?? 2) }) };
  }
}

/** The bytes of what arrives. */
export const arriving = (frames) => Buffer.concat([...each(frames)].map((frame) => (typeof frame === "string" ? hex(frame) : encode(frame))));

/** The frames of these bytes, each as its own bytes. */
export function split(bytes) {
  const frames = [];
  for (let at = 0; at < bytes.length; ) {
    const next = at + 16 + bytes.readUInt32BE(at);
    frames.push(bytes.subarray(at, next));
    at = next;
  }
  return frames;
}

/** A frame in few words, for messages. */
export const show = (frame) => `${kinds[frame[4]]} ${namesOf(frame[5])} id ${frame.readBigUInt64BE(8)} body ${toHex(frame.subarray(16)).slice(0, 80)} (${frame.length - 16})`;
