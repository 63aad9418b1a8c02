/** Alarm: one timer for all deadlines of a connection. */

import { later, type Timer } from "#runtime";

/** Calls `ring` no earlier than the earliest instant it watches. It never keeps the process alive. */
export class Alarm {
  #timer: Timer | null = null;
  // A later deadline does not move the timer: most calls are answered long before, and most timers would be set for nothing.
  #at = Infinity;

  /** `ring` answers the earliest deadline that remains, or `Infinity`. */
  constructor(readonly ring: (now: number) => number) {}

  /** Watches one more deadline. */
  watch(deadline: number): void {
    if (deadline < this.#at) this.#set(deadline);
  }

  /** Watches nothing more. */
  clear(): void {
    this.#set(Infinity);
  }

  #set(deadline: number): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#at = deadline;
    if (deadline === Infinity) return;
    // Rounded up: a timer that is early would only have to be set again.
    const delay = Math.max(Math.ceil(deadline - performance.now()), 0);
    this.#timer = later(this.#fire, Math.min(delay, 2 ** 31 - 1));
  }

  readonly #fire = (): void => {
    this.#at = Infinity;
    this.#set(this.ring(performance.now()));
  };
}
