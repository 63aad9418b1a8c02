/** Handling: which call of another end a piece of code runs for, so that the calls which it makes share its deadline and its end. */

import { Carried } from "#runtime";

import type { Context } from "./context.js";
import type { Items } from "./items.js";
import type { Subscriber } from "./topic.js";
import type { Call } from "./wire/panpipe/call.js";

/** What can be given up when a handler is to stop. */
export interface Child {
  stop(): void;
}

/** A call whose handler runs, and what belongs to it. */
export class Running {
  context: Context | null = null;
  /** The stream of arguments. */
  input: Items | null = null;
  /** Of a subscription. */
  subscriber: Subscriber | null = null;
  /** Wakes the stream that waits for room. */
  wake: (() => void) | null = null;
  // Most handlers call nobody.
  #children: Set<Child> | null = null;

  constructor(readonly call: Call) {}

  /** It has begun something. */
  add(child: Child): void {
    (this.#children ??= new Set()).add(child);
  }

  /** That is over. */
  remove(child: Child): void {
    this.#children?.delete(child);
  }

  /** It is to stop, and what it has begun with it. */
  stop(): void {
    if (this.#children !== null) for (const child of [...this.#children]) child.stop();
  }
}

/** The call whose handler runs; null for that of a one-way message. */
export const handling = new Carried<Running | null>();
