/** Errors on the wire: the map that an ERROR carries, and a GOODBYE that says why. */

import { Misfit } from "./misfit.js";
import { pack } from "./pack.js";
import { unpackValue, type Value } from "./unpack.js";
import type { Writer } from "./writer.js";

/** Longest text of an error and of its traceback, in bytes. */
const longestText = 16 * 1024;

/** Most causes, one below the other. */
const mostCauses = 16;

/** An error as it travels. */
export interface Failure {
  code: string;
  message: string;
  ran?: "no" | undefined;
  type?: string | undefined;
  traceback?: string | undefined;
  data?: unknown;
  cause?: Failure | undefined;
  via?: readonly string[] | undefined;
}

/** Writes an error; what is too long is cut, and data that has no place in the model is left out. */
export function packFailure(out: Writer, failure: Failure): void {
  const { at } = out;
  const map = mapOf(failure, 1);
  try {
    pack(out, map, "error");
  } catch (error) {
    if (!(error instanceof Misfit)) throw error;
    out.at = at;
    pack(out, withoutData(map), "error");
  }
}

/** Reads an error; a `Misfit` for what is none. */
export function unpackFailure(payload: Uint8Array): Failure {
  return failureOf(unpackValue(payload, "error"), "error", 1);
}

type Plain = { [key: string]: unknown };

function mapOf(failure: Failure, depth: number): Plain {
  const map: Plain = { code: failure.code };
  if (failure.message !== "") map["message"] = cut(failure.message);
  if (failure.ran !== undefined) map["ran"] = failure.ran;
  if (failure.type !== undefined) map["type"] = cut(failure.type);
  if (failure.traceback !== undefined) map["traceback"] = cut(failure.traceback);
  if (failure.data !== undefined) map["data"] = failure.data;
  if (failure.cause !== undefined && depth < mostCauses) map["cause"] = mapOf(failure.cause, depth + 1);
  if (failure.via !== undefined && failure.via.length > 0) map["via"] = failure.via;
  return map;
}

function withoutData(map: Plain): Plain {
  const { data: _, ...rest } = map;
  if (rest["cause"] !== undefined) rest["cause"] = withoutData(rest["cause"] as Plain);
  return rest;
}

/** At most so many bytes of UTF-8, whole characters, and text that UTF-8 can hold. */
function cut(text: string): string {
  const bytes = new TextEncoder().encode(text.slice(0, longestText));
  let size = Math.min(bytes.length, longestText);
  while (size < bytes.length && (bytes[size]! & 0xc0) === 0x80) size--;
  return new TextDecoder().decode(bytes.subarray(0, size));
}

function failureOf(value: Value, path: string, depth: number): Failure {
  const map = value as { [key: string]: Value } | null;
  const plain = typeof map === "object" && map !== null && !Array.isArray(map) && !(map instanceof Map) && !(map instanceof Uint8Array) && !(map instanceof Date);
  if (!plain || typeof map["code"] !== "string") throw new Misfit(path, "an error is a map with a code");
  const { cause, via, data } = map;
  return {
    code: map["code"],
    message: text(map["message"]) ?? "",
    ran: map["ran"] === "no" ? "no" : undefined,
    type: text(map["type"]),
    traceback: text(map["traceback"]),
    data,
    cause: cause === undefined || cause === null || depth >= mostCauses ? undefined : failureOf(cause, `${path}.cause`, depth + 1),
    via: Array.isArray(via) ? via.filter((each): each is string => typeof each === "string") : undefined,
  };
}

function text(value: Value | undefined): string | undefined {
  return typeof value === "string" ? value : undefined;
}
