/** Pending: a call of ours, as whoever made it waits for it. */

import { expectMany } from "#runtime";

import type { CallOptions } from "./call-options.js";
import type { Running } from "./handling.js";
import { Items, type Source } from "./items.js";
import type { Call } from "./wire/panpipe/call.js";

/** What a call is: one answer, a stream of items before it, or a subscription. */
export type Shape = "call" | "stream" | "subscription";

/** What pending calls ask of their peer. */
export interface Caller {
  taken(pending: Pending, cost: number): void;
  waits(pending: Pending, more: boolean): void;
  giveUp(pending: Pending): void;
}

/** One call. */
export class Pending implements Source {
  /** The call of the session that it is made on; null while there is none. */
  call: Call | null = null;
  /** Items that come before the answer. */
  readonly items: Items | null;
  /** Wakes the stream of arguments that waits for room. */
  wake: (() => void) | null = null;
  /** Whether it is being waited for. */
  waiting = true;
  /** Whether its promise was settled, which of a stream stands for the first thing that happens. */
  opened = false;
  // Told by the signal of the options.
  #abort: (() => void) | null = null;

  constructor(
    readonly caller: Caller,
    readonly shape: Shape,
    readonly method: string,
    readonly args: readonly unknown[],
    readonly options: CallOptions,
    /** An instant. */
    readonly deadline: number,
    /** The call whose handler made it. */
    readonly parent: Running | null,
    readonly resolve: (value: any) => void,
    readonly reject: (error: unknown) => void,
  ) {
    this.items = shape === "call" ? null : new Items(this);
    const { signal } = options;
    if (signal !== undefined) {
      this.#abort = () => this.caller.giveUp(this);
      expectMany(signal);
      signal.addEventListener("abort", this.#abort);
    }
    parent?.add(this);
  }

  /** It is answered. */
  succeed(value: unknown): void {
    if (!this.#settle()) return;
    if (this.items !== null) this.items.finish(value);
    this.resolve(value);
  }

  /** It failed. */
  fail(error: unknown): void {
    if (!this.#settle()) return;
    if (this.items !== null && (this.opened || this.shape === "stream")) this.items.fail(error);
    this.reject(error);
  }

  /** A subscription stands. */
  open(): void {
    if (this.opened) return;
    this.opened = true;
    this.resolve(this.items);
  }

  taken(cost: number): void {
    this.caller.taken(this, cost);
  }

  waits(more: boolean): void {
    this.caller.waits(this, more);
  }

  stop(): void {
    if (this.waiting) this.caller.giveUp(this);
  }

  #settle(): boolean {
    if (!this.waiting) return false;
    this.waiting = false;
    if (this.#abort !== null) this.options.signal!.removeEventListener("abort", this.#abort);
    this.parent?.remove(this);
    this.wake?.();
    return true;
  }
}
