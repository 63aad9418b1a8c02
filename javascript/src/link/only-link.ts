/** A listener that has its one link already, as `stdio:` and an inherited descriptor have. */

import { writtenTarget, type Address } from "../wire/address.js";
import type { Link, LinkListener, ListenerEvents } from "./link.js";

/** Hands over `link`, and nothing after it. */
export function onlyLink(address: Address, events: ListenerEvents, link: Link): LinkListener {
  queueMicrotask(() => {
    events.onLink(link);
    events.onEnd();
  });
  return {
    target: address.text.startsWith("-") ? "" : writtenTarget(address),
    ref() {},
    unref() {},
    async close() {},
  };
}
