/** Reconnecting: when the next attempt is made after a connection was lost. */

import { hold, type Timer } from "#runtime";

import type { Link } from "./link/link.js";

/** The first pause, the longest to another machine, and the longest inside this one: in milliseconds. */
const first = 100;
const longest = 5000;
const longestHere = 250;

/** Each pause is longer or shorter by up to this part of it, so that many do not come back at once. */
const jitter = 0.2;

/** Opens links again and again until one stands. */
export class Reconnecting {
  #pause = first;
  #timer: Timer | null = null;
  #wanted = false;
  #over = false;

  constructor(
    readonly open: () => Promise<Link>,
    readonly remote: boolean,
    readonly onLink: (link: Link) => void,
  ) {}

  /** Begins with the attempts. */
  begin(): void {
    this.#pause = first;
    this.#next(0);
  }

  /** Whether somebody waits for the connection, which keeps the process alive. */
  want(wanted: boolean): void {
    this.#wanted = wanted;
    if (this.#timer !== null) hold(this.#timer, wanted);
  }

  /** Makes no more attempts. */
  stop(): void {
    this.#over = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #next(pause: number): void {
    this.#timer = setTimeout(() => void this.#attempt(), pause * (1 + jitter * (2 * Math.random() - 1)));
    this.want(this.#wanted);
  }

  async #attempt(): Promise<void> {
    let link;
    try {
      link = await this.open();
    } catch {
      if (this.#over) return;
      this.#next(this.#pause);
      this.#pause = Math.min(2 * this.#pause, this.remote ? longest : longestHere);
      return;
    }
    if (this.#over) link.destroy();
    else this.onLink(link);
  }
}
