/** How a WebSocket ends: what a Close says (RFC 6455, section 7.4), and why this end has to say one. */

import { Fault } from "../error.js";

/** What was to be said is said. */
export const NORMAL = 1000;

/** The end goes away. */
const GOING_AWAY = 1001;

/** Bytes that are no frames, or frames that may not be here. */
export const PROTOCOL_ERROR = 1002;

/** A type of message that this end does not take. */
export const UNSUPPORTED = 1003;

/** Text that is not UTF-8. */
export const INVALID_TEXT = 1007;

/** More of something than is allowed. */
export const POLICY = 1008;

/** A message that is too large. */
export const TOO_LARGE = 1009;

/** What breaks a connection: it is closed with this code, and nothing more of it is read. */
export class Violation {
  readonly fault: Fault;

  constructor(
    /** Of the Close that says so. */
    readonly close: number,
    why: string,
  ) {
    this.fault = new Fault(close === TOO_LARGE || close === POLICY ? "too-large" : "bad-peer", why);
  }
}

/** What a Close says. */
export interface Closed {
  /** Null where it has none. */
  code: number | null;
  reason: string;
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Reads the payload of a Close; throws a `Violation` for what nobody may send. */
export function readClose(payload: Uint8Array): Closed {
  if (payload.length === 0) return { code: null, reason: "" };
  if (payload.length === 1) throw new Violation(PROTOCOL_ERROR, "a Close with half a code");
  const code = (payload[0]! << 8) | payload[1]!;
  if (!mayBeSent(code)) throw new Violation(PROTOCOL_ERROR, `a Close with the code ${code}, which nobody may send`);
  try {
    return { code, reason: decoder.decode(payload.subarray(2)) };
  } catch {
    throw new Violation(INVALID_TEXT, "a Close whose reason is not UTF-8");
  }
}

/** What the end of a WebSocket is to those who wait for more: null when the other end has said all. `code` is null where there was none. */
export function faultOfClose(code: number | null, reason: string): Fault | null {
  if (code === null || code === NORMAL || code === GOING_AWAY) return null;
  return new Fault("connection-lost", `the other end closed with the code ${code}${reason === "" ? "" : `: ${JSON.stringify(reason)}`}`);
}

/** Those of section 7.4.1 and of the registry that are not only for use inside a program, and those of libraries and programs. */
function mayBeSent(code: number): boolean {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}
