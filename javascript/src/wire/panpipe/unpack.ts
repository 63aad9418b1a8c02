/** Reading values from MessagePack. Held by `vectors/protocol/values.json`. */

import { Misfit, deepest, pathOf, type Key } from "./misfit.js";
import { readText } from "./text.js";

/** A value as this language has it; what each kind becomes is in docs/protocol.md. */
export type Value = null | boolean | number | bigint | string | Uint8Array | Date | Value[] | { [key: string]: Value } | Map<Key, Value>;

// What is being read; nothing that runs here calls back.
let bytes: Uint8Array;
let at = 0;
let end = 0;
let root = "";
const keys: Key[] = [];
const scratch = new DataView(new ArrayBuffer(8));

/** The one value that `from..to` of `source` is, `null` for no bytes at all; throws a `Misfit` whose path begins with `name`. Bytes are views of `source`. */
export function unpackOne(source: Uint8Array, from: number, to: number, name: string): Value {
  if (from === to) return null;
  const value = first(source, from, to, name);
  if (at !== to) throw misfit(`${to - at} bytes follow the value`, 0);
  return value;
}

/** As `unpackOne`, of which there must be one. */
export function unpackValue(source: Uint8Array, name: string): Value {
  if (source.length === 0) throw new Misfit(name, "there is no value");
  return unpackOne(source, 0, source.length, name);
}

/** All values that stand in `from..to` of `source`, one after the other. */
export function unpackAll(source: Uint8Array, from: number, to: number, name: string): Value[] {
  const values: Value[] = [];
  for (let next = from; next < to; next = at) values.push(first(source, next, to, `${name}[${values.length}]`));
  return values;
}

function first(source: Uint8Array, from: number, to: number, name: string): Value {
  bytes = source;
  at = from;
  end = to;
  root = name;
  return read(0);
}

function read(depth: number): Value {
  need(1, depth);
  const form = bytes[at++]!;
  if (form < 0x80) return form;
  if (form < 0x90) return map(form & 15, depth);
  if (form < 0xa0) return array(form & 15, depth);
  if (form < 0xc0) return text(form & 31, depth);
  if (form >= 0xe0) return form - 0x100;
  switch (form) {
    case 0xc0:
      return null;
    case 0xc2:
      return false;
    case 0xc3:
      return true;
    case 0xc4:
      return binary(unsigned(1, depth), depth);
    case 0xc5:
      return binary(unsigned(2, depth), depth);
    case 0xc6:
      return binary(unsigned(4, depth), depth);
    case 0xc7:
      return ext(unsigned(1, depth), depth);
    case 0xca:
      scratch.setUint32(0, unsigned(4, depth));
      return scratch.getFloat32(0);
    case 0xcb:
      load(depth);
      return scratch.getFloat64(0);
    case 0xcc:
      return unsigned(1, depth);
    case 0xcd:
      return unsigned(2, depth);
    case 0xce:
      return unsigned(4, depth);
    case 0xcf:
      load(depth);
      return wide(scratch.getUint32(0), scratch.getBigUint64(0));
    case 0xd0:
      return (unsigned(1, depth) << 24) >> 24;
    case 0xd1:
      return (unsigned(2, depth) << 16) >> 16;
    case 0xd2:
      return unsigned(4, depth) | 0;
    case 0xd3:
      load(depth);
      return wide(scratch.getInt32(0), scratch.getBigInt64(0));
    case 0xd6:
      return ext(4, depth);
    case 0xd7:
      return ext(8, depth);
    case 0xd9:
      return text(unsigned(1, depth), depth);
    case 0xda:
      return text(unsigned(2, depth), depth);
    case 0xdb:
      return text(unsigned(4, depth), depth);
    case 0xdc:
      return array(unsigned(2, depth), depth);
    case 0xdd:
      return array(unsigned(4, depth), depth);
    case 0xde:
      return map(unsigned(2, depth), depth);
    case 0xdf:
      return map(unsigned(4, depth), depth);
    case 0xc1:
      throw misfit("the byte c1, which begins no value", depth);
    default:
      throw misfit("an ext value, and of those only a time is known", depth);
  }
}

function need(size: number, depth: number): void {
  if (size > end - at) throw misfit("a value that is cut off", depth);
}

/** One to four bytes as an unsigned number. */
function unsigned(size: number, depth: number): number {
  need(size, depth);
  let value = 0;
  for (const to = at + size; at < to; at++) value = value * 256 + bytes[at]!;
  return value;
}

/** The next eight bytes, into the scratch. */
function load(depth: number): void {
  need(8, depth);
  for (let index = 0; index < 8; index++) scratch.setUint8(index, bytes[at++]!);
}

/** A number where that is exact, else a BigInt. */
function wide(high: number, exact: bigint): number | bigint {
  const value = high * 0x1_0000_0000 + scratch.getUint32(4);
  return Number.isSafeInteger(value) ? value : exact;
}

function text(size: number, depth: number): string {
  need(size, depth);
  const value = readText(bytes, at, at + size);
  if (value === null) throw misfit("text that is not UTF-8", depth);
  at += size;
  return value;
}

function binary(size: number, depth: number): Uint8Array {
  need(size, depth);
  const value = bytes.subarray(at, at + size);
  at += size;
  return value;
}

function array(size: number, depth: number): Value[] {
  enter(depth);
  const values: Value[] = [];
  for (let index = 0; index < size; index++) {
    keys[depth] = index;
    values.push(read(depth + 1));
  }
  return values;
}

/** A plain object, or from the first key on that is no text a `Map`. */
function map(size: number, depth: number): Value {
  enter(depth);
  const object: { [key: string]: Value } = {};
  let whole: Map<Key, Value> | null = null;
  for (let count = 0; count < size; count++) {
    const key = readKey(depth);
    keys[depth] = key;
    if (whole === null && typeof key !== "string") whole = new Map(Object.entries(object));
    if (whole === null ? Object.hasOwn(object, key as string) : whole.has(key)) throw misfit("a key twice", depth + 1);
    const value = read(depth + 1);
    if (whole !== null) whole.set(key, value);
    // Assigning it would change what the object inherits from.
    else if (key === "__proto__") Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
    else object[key as string] = value;
  }
  return whole ?? object;
}

function readKey(depth: number): Key {
  need(1, depth);
  const form = bytes[at]!;
  const fits = form < 0x80 || (form >= 0xa0 && form < 0xc0) || form >= 0xe0 || form === 0xc2 || form === 0xc3 || (form >= 0xcc && form <= 0xd3) || (form >= 0xd9 && form <= 0xdb);
  if (!fits) throw misfit("a key that is no text, integer or bool", depth);
  return read(depth) as Key;
}

function ext(size: number, depth: number): Date {
  need(1 + size, depth);
  if (bytes[at++] !== 0xff) throw misfit("an ext value, and of those only a time is known", depth);
  let seconds;
  let nanoseconds = 0;
  if (size === 4) seconds = unsigned(4, depth);
  else if (size === 8) {
    const high = unsigned(4, depth);
    nanoseconds = high >>> 2;
    seconds = (high & 3) * 2 ** 32 + unsigned(4, depth);
  } else if (size === 12) {
    nanoseconds = unsigned(4, depth);
    seconds = (unsigned(4, depth) | 0) * 2 ** 32 + unsigned(4, depth);
  } else throw misfit(`a time of ${size} bytes`, depth);
  if (nanoseconds > 999_999_999) throw misfit(`a time with ${nanoseconds} nanoseconds`, depth);
  const time = new Date(seconds * 1000 + Math.floor(nanoseconds / 1_000_000));
  if (Number.isNaN(time.getTime())) throw misfit("a time that no Date can hold", depth);
  return time;
}

function enter(depth: number): void {
  if (depth === deepest) throw misfit(`nesting beyond ${deepest}`, depth);
}

function misfit(why: string, depth: number): Misfit {
  return new Misfit(pathOf(root, keys, depth), why);
}
