/** `nul`: a zero byte ends a message, as in `find -print0` and `xargs -0`. */

import { Fault } from "../error.js";
import { DelimitedDecoder } from "./delimited.js";
import type { Encoder } from "./framing.js";
import { only } from "./only.js";

const encoder: Encoder = {
  overhead: 1,
  check(message) {
    if (message.indexOf(0) >= 0) throw new Fault("unsupported", "nul cannot carry a zero byte inside a message");
  },
  head: (_size, _out, at) => at,
  tail(out, at) {
    out[at] = 0;
    return at + 1;
  },
};

/** The framing `nul`. */
export const nul = only(
  {
    name: "nul",
    wire: "the message, then a zero byte",
    keepsBoundaries: true,
    goodFor: "text with newlines in it, such as file names or pretty JSON",
    cannotCarry: "a zero byte",
  },
  encoder,
  (max) => new DelimitedDecoder(max, 0, false),
);
