/** The HELLO of a client, read before there is a session: who must show a token does it there. */

import { Fault } from "../error.js";
import { FrameDecoder, headSize, magic } from "./frame.js";
import { Misfit } from "./misfit.js";
import { unpackValue } from "./unpack.js";

/** What a client's HELLO shows. */
export interface Shown {
  /** Null where there is none. */
  token: string | null;
}

/** Reads the HELLO that `bytes` begin with; null while it is not whole. Throws a `Fault`: `bad-peer`, `version`. */
export function readHello(bytes: Uint8Array): Shown | null {
  const decoder = new FrameDecoder();
  if (!decoder.scan(bytes, 0)) return null;
  let settings;
  try {
    settings = unpackValue(bytes.subarray(headSize + magic.length + 1, decoder.to), "the settings of the HELLO");
  } catch (error) {
    throw error instanceof Misfit ? new Fault("bad-peer", error.text) : error;
  }
  const { token } = (settings ?? {}) as { token?: unknown };
  return { token: typeof token === "string" ? token : null };
}
