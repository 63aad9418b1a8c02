/** `lines`: one message a line, ended by `\n`. A `\r` before it is dropped. */

import { Fault } from "../error.js";
import { DelimitedDecoder } from "./delimited.js";
import type { Encoder } from "./framing.js";
import { only } from "./only.js";

const encoder: Encoder = {
  overhead: 1,
  check(message) {
    if (message.indexOf(0x0a) >= 0) throw new Fault("unsupported", "lines cannot carry a newline inside a message");
    if (message[message.length - 1] === 0x0d) {
      throw new Fault("unsupported", "lines cannot carry a carriage return at the end of a message, because the reader drops it");
    }
  },
  head: (_size, _out, at) => at,
  tail(out, at) {
    out[at] = 0x0a;
    return at + 1;
  },
};

/** The framing `lines`. */
export const lines = only(
  {
    name: "lines",
    wire: "the message, then `\\n`; a `\\r` before it is dropped when reading",
    keepsBoundaries: true,
    goodFor: "text that a person or `nc` can type and read",
    cannotCarry: "a newline, or a carriage return at the end",
  },
  encoder,
  (max) => new DelimitedDecoder(max, 0x0a, true),
);
