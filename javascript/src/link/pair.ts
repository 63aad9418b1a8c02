/** The ends of a pair: two links that are each other's peer, with no other place than this program. */

import type { Address } from "../wire/address.js";
import type { Link } from "./link.js";
import { memPair, withChaos } from "./mem.js";

/** Two links of the kind that the address says; with `one-way` the first reads and the second writes. */
export function pairLinks(address: Address): [Link, Link] {
  const oneWay = address.target === "one-way";
  const [a, b] = memPair("pair", oneWay);
  return [withChaos(a, address.chaos, 0), withChaos(b, address.chaos, 1)];
}
