/** The registry of framings: the only place that names them. */

import { Fault, known } from "../error.js";
import { contentLength } from "./content-length.js";
import type { Framing, FramingInfo, FramingKind } from "./framing.js";
import { length } from "./length.js";
import { lines } from "./lines.js";
import { netstring } from "./netstring.js";
import { nul } from "./nul.js";
import { raw } from "./raw.js";
import { varint } from "./varint.js";

const kinds: readonly FramingKind[] = [raw, lines, nul, length, netstring, varint, contentLength];

/** Every framing, as data. */
export function framingInfos(): FramingInfo[] {
  return kinds.map((kind) => kind.info);
}

/** The framing of this name, as in `lines` or `length:u16le`; throws a `Fault` that lists the known ones. */
export function resolveFraming(name: string): Framing {
  const colon = name.indexOf(":");
  const base = colon < 0 ? name : name.slice(0, colon);
  const kind = kinds.find((each) => each.info.name === base);
  if (kind === undefined) {
    throw new Fault("unsupported", `there is no framing ${JSON.stringify(name)}; ${known(["panpipe", ...kinds.map((each) => each.info.name)])}`);
  }
  return kind.choose(colon < 0 ? undefined : name.slice(colon + 1));
}
