/** Writing values as MessagePack. Held by `vectors/protocol/values.json`. */

import { Misfit, deepest, pathOf, type Key } from "./misfit.js";
import { writeText } from "./text.js";
import type { Writer } from "./writer.js";

// Where the value that is being written stands; nothing that runs here calls back.
const keys: Key[] = [];
let root = "";

/** Writes a value; throws a `Misfit` whose path begins with `name` for what has no place in the model, and may leave a part of it behind. */
export function pack(out: Writer, value: unknown, name: string): void {
  root = name;
  write(out, value, 0);
}

function write(out: Writer, value: unknown, depth: number): void {
  out.ensure(9);
  switch (typeof value) {
    case "string":
      return text(out, value, depth);
    case "number":
      return number(out, value);
    case "boolean":
      out.bytes[out.at++] = value ? 0xc3 : 0xc2;
      return;
    case "undefined":
      out.bytes[out.at++] = 0xc0;
      return;
    case "bigint":
      return bigint(out, value, depth);
    case "object":
      return object(out, value, depth);
    default:
      throw misfit(`a ${typeof value} is no value that can be sent`, depth);
  }
}

function number(out: Writer, value: number): void {
  // -0 is no integer here, since it would arrive as 0.
  if (Number.isSafeInteger(value) && (value !== 0 || 1 / value > 0)) return integer(out, value);
  out.bytes[out.at] = 0xcb;
  out.view.setFloat64(out.at + 1, value);
  out.at += 9;
}

function integer(out: Writer, value: number): void {
  const { bytes, view, at } = out;
  if (value >= 0) {
    if (value < 0x80) {
      bytes[at] = value;
      out.at = at + 1;
    } else if (value < 0x100) {
      bytes[at] = 0xcc;
      bytes[at + 1] = value;
      out.at = at + 2;
    } else if (value < 0x10000) {
      bytes[at] = 0xcd;
      view.setUint16(at + 1, value);
      out.at = at + 3;
    } else if (value < 0x1_0000_0000) {
      bytes[at] = 0xce;
      view.setUint32(at + 1, value);
      out.at = at + 5;
    } else wide(out, 0xcf, value);
  } else if (value >= -0x20) {
    bytes[at] = 0x100 + value;
    out.at = at + 1;
  } else if (value >= -0x80) {
    bytes[at] = 0xd0;
    view.setInt8(at + 1, value);
    out.at = at + 2;
  } else if (value >= -0x8000) {
    bytes[at] = 0xd1;
    view.setInt16(at + 1, value);
    out.at = at + 3;
  } else if (value >= -0x8000_0000) {
    bytes[at] = 0xd2;
    view.setInt32(at + 1, value);
    out.at = at + 5;
  } else wide(out, 0xd3, value);
}

function wide(out: Writer, form: number, value: number): void {
  out.bytes[out.at] = form;
  out.view.setInt32(out.at + 1, Math.floor(value / 0x1_0000_0000));
  out.view.setUint32(out.at + 5, value >>> 0);
  out.at += 9;
}

function bigint(out: Writer, value: bigint, depth: number): void {
  if (value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER)) return integer(out, Number(value));
  if (value >= 2n ** 64n || value < -(2n ** 63n)) throw misfit("an integer beyond -2^63 to 2^64-1", depth);
  out.bytes[out.at] = value < 0n ? 0xd3 : 0xcf;
  out.view.setBigUint64(out.at + 1, BigInt.asUintN(64, value));
  out.at += 9;
}

function text(out: Writer, value: string, depth: number): void {
  out.ensure(5 + 3 * value.length);
  const { at } = out;
  // The head is written when the size is known; it is nearly always as long as that of ASCII.
  const guess = textHead(value.length);
  out.at = at + guess;
  const size = writeText(out, value);
  if (size < 0) throw misfit("text with a lone surrogate, which UTF-8 cannot hold", depth);
  const head = textHead(size);
  if (head !== guess) {
    out.bytes.copyWithin(at + head, at + guess, at + guess + size);
    out.at = at + head + size;
  }
  const { bytes, view } = out;
  if (head === 1) bytes[at] = 0xa0 | size;
  else if (head === 2) {
    bytes[at] = 0xd9;
    bytes[at + 1] = size;
  } else if (head === 3) {
    bytes[at] = 0xda;
    view.setUint16(at + 1, size);
  } else {
    bytes[at] = 0xdb;
    view.setUint32(at + 1, size);
  }
}

function textHead(size: number): number {
  return size < 32 ? 1 : size < 0x100 ? 2 : size < 0x10000 ? 3 : 5;
}

function object(out: Writer, value: object | null, depth: number): void {
  if (value === null) {
    out.bytes[out.at++] = 0xc0;
    return;
  }
  if (Array.isArray(value)) return array(out, value, depth);
  if (value instanceof Uint8Array) return bytes(out, value);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === null) return plain(out, value as Record<string, unknown>, depth);
  if (value instanceof Map) return map(out, value, depth);
  if (value instanceof Date) return time(out, value, depth);
  throw misfit(`a ${value.constructor?.name ?? "strange object"} is no value that can be sent`, depth);
}

function bytes(out: Writer, value: Uint8Array): void {
  const { length } = value;
  head(out, length, 0xc4, 0xc5, 0xc6);
  out.append(value);
}

function array(out: Writer, value: readonly unknown[], depth: number): void {
  enter(depth);
  short(out, value.length, 0x90, 0xdc);
  for (let index = 0; index < value.length; index++) {
    keys[depth] = index;
    write(out, value[index], depth + 1);
  }
}

function plain(out: Writer, value: Record<string, unknown>, depth: number): void {
  enter(depth);
  const names = Object.keys(value);
  short(out, names.length, 0x80, 0xde);
  for (const name of names) {
    keys[depth] = name;
    text(out, name, depth);
    write(out, value[name], depth + 1);
  }
}

function map(out: Writer, value: ReadonlyMap<unknown, unknown>, depth: number): void {
  enter(depth);
  short(out, value.size, 0x80, 0xde);
  for (const [key, item] of value) {
    const integral = typeof key === "bigint" || (typeof key === "number" && Number.isSafeInteger(key));
    if (typeof key !== "string" && typeof key !== "boolean" && !integral) throw misfit("a key of a map must be text, an integer or a bool", depth);
    if (typeof key === "bigint" && value.has(Number(key)) && BigInt(Number(key)) === key) throw misfit(`the key ${key} twice`, depth);
    keys[depth] = key as Key;
    write(out, key, depth);
    write(out, item, depth + 1);
  }
}

/** In the shortest of the three forms of MessagePack's timestamp. */
function time(out: Writer, value: Date, depth: number): void {
  const milliseconds = value.getTime();
  if (Number.isNaN(milliseconds)) throw misfit("a Date that is none", depth);
  const seconds = Math.floor(milliseconds / 1000);
  const nanoseconds = (milliseconds - seconds * 1000) * 1_000_000;
  out.ensure(15);
  const { bytes, view, at } = out;
  if (seconds >= 0 && seconds < 2 ** 34) {
    const small = nanoseconds === 0 && seconds < 2 ** 32;
    bytes[at] = small ? 0xd6 : 0xd7;
    bytes[at + 1] = 0xff;
    if (!small) view.setUint32(at + 2, nanoseconds * 4 + Math.floor(seconds / 2 ** 32));
    view.setUint32(at + (small ? 2 : 6), seconds >>> 0);
    out.at = at + (small ? 6 : 10);
    return;
  }
  bytes[at] = 0xc7;
  bytes[at + 1] = 12;
  bytes[at + 2] = 0xff;
  view.setUint32(at + 3, nanoseconds);
  view.setInt32(at + 7, Math.floor(seconds / 2 ** 32));
  view.setUint32(at + 11, seconds >>> 0);
  out.at = at + 15;
}

/** The head of an array or a map. */
function short(out: Writer, size: number, few: number, many: number): void {
  out.ensure(5);
  if (size < 16) out.bytes[out.at++] = few | size;
  else head(out, size, 0, many, many + 1);
}

function head(out: Writer, size: number, one: number, two: number, four: number): void {
  out.ensure(5);
  const { bytes, view, at } = out;
  if (one !== 0 && size < 0x100) {
    bytes[at] = one;
    bytes[at + 1] = size;
    out.at = at + 2;
  } else if (size < 0x10000) {
    bytes[at] = two;
    view.setUint16(at + 1, size);
    out.at = at + 3;
  } else {
    bytes[at] = four;
    view.setUint32(at + 1, size);
    out.at = at + 5;
  }
}

function enter(depth: number): void {
  if (depth === deepest) throw misfit(`nesting beyond ${deepest}`, depth);
}

function misfit(why: string, depth: number): Misfit {
  return new Misfit(pathOf(root, keys, depth), why);
}
