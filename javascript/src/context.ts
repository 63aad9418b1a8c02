/** Context: what a handler knows of the call that it answers. */

import type { Peer } from "./peer.js";
import type { Items } from "./items.js";
import type { Call } from "./wire/panpipe/call.js";
import { Fault } from "./wire/error.js";

/** The call that a handler answers. The first argument of a handler that was declared with `context: true`. */
export class Context {
  #aborting: AbortController | null = null;
  #stopped: Fault | null = null;

  /** Not for users: calls make contexts. */
  constructor(
    /** Who called. What a handler calls, here or elsewhere, shares the deadline of the call that it answers, and its end. */
    readonly peer: Peer,
    readonly method: string,
    readonly call: Call | null,
    /** The stream of arguments; empty unless the caller sends one. */
    readonly input: Items,
  ) {}

  /** Aborted when the caller has given up, its time is over, or it went away. */
  get signal(): AbortSignal {
    if (this.#aborting === null) {
      this.#aborting = new AbortController();
      if (this.#stopped !== null) this.#aborting.abort(this.#reason);
    }
    return this.#aborting.signal;
  }

  /** Milliseconds until the caller's deadline; `Infinity` without one, and never below 0. */
  get left(): number {
    return this.call === null ? Infinity : Math.max(this.call.deadline - performance.now(), 0);
  }

  /** Why the handler is to stop, or null. */
  get stopped(): Fault | null {
    return this.#stopped;
  }

  /** Not for users: tells the handler to stop. */
  stop(fault: Fault): void {
    this.#stopped = fault;
    this.#aborting?.abort(this.#reason);
  }

  get #reason(): Error {
    return this.#stopped!.during(`answering ${this.method} on ${this.peer.address}`, this.peer.address, "maybe");
  }
}
