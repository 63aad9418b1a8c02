/** `raw`: bytes as they are. A message is what one read returned, so two sends may arrive as one message, or one as two. */

import { Fault } from "../error.js";
import type { Decoder, Encoder } from "./framing.js";
import { only } from "./only.js";

const encoder: Encoder = {
  overhead: 0,
  check(message) {
    if (message.length === 0) throw new Fault("unsupported", "raw cannot carry an empty message, which leaves nothing on the wire");
  },
  head: (_size, _out, at) => at,
  tail: (_out, at) => at,
};

class RawDecoder implements Decoder {
  from = 0;
  to = 0;
  next = 0;
  need = 0;

  constructor(readonly max: number) {}

  scan(bytes: Uint8Array, start: number): boolean {
    this.from = start;
    this.to = this.next = Math.min(bytes.length, start + this.max);
    return this.to > start;
  }
}

/** The framing `raw`. */
export const raw = only(
  {
    name: "raw",
    wire: "the message as it is; what one read returned is a message",
    keepsBoundaries: false,
    goodFor: "plain socket programs that take turns; a large or fast message may arrive in pieces or joined",
    cannotCarry: "an empty message",
  },
  encoder,
  (max) => new RawDecoder(max),
);
