/** A framing without variants. */

import { Fault } from "../error.js";
import type { Decoder, Encoder, FramingInfo, FramingKind } from "./framing.js";

/** Makes the one framing of a file that has no variants. */
export function only(info: FramingInfo, encoder: Encoder, decoder: (max: number) => Decoder): FramingKind {
  return {
    info,
    choose(variant) {
      if (variant !== undefined) throw new Fault("unsupported", `the framing ${info.name} has no variants, so nothing may follow its name`);
      return { info, name: info.name, encoder, decoder };
    },
  };
}

/** The fault for a message above `max`. */
export function tooLarge(max: number, size?: number | string): Fault {
  return new Fault("too-large", size === undefined ? `a message of more than ${max} bytes` : `a message of ${size} bytes, and max is ${max}`);
}
