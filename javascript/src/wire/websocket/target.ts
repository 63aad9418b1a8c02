/** Targets of requests: a path, perhaps with a query, percent-encoded (RFC 3986, sections 2.1, 3.3 and 3.4). */

import { BadHead } from "./head.js";

/** What a target spells; throws a `BadHead` for what spells nothing. */
export function decoded(target: string): string {
  let text;
  try {
    text = decodeURIComponent(target);
  } catch {
    throw new BadHead(400, "a path that cannot be decoded");
  }
  if (text.includes("\0")) throw new BadHead(400, "a path that cannot be decoded");
  return text;
}

/** A path as it stands in a request. */
export function encoded(path: string): string {
  return encodeURI(path).replace(/[[\]]/g, (bracket) => (bracket === "[" ? "%5B" : "%5D"));
}
