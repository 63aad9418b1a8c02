// Assertions, where a page has none.

import { same } from "./same.mjs";

/** Fails with `why` unless it holds. */
export function ok(holds, why) {
  if (!holds) throw new Error(String(why));
}

/** Fails unless both are alike; `why` says more. */
export function equal(is, wanted, why = "") {
  if (!same(is, wanted)) ok(false, `${JSON.stringify(wanted)} is wanted, not ${JSON.stringify(is)} ${why}`);
}
