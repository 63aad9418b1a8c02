/** Seen: which ids of datagrams have come already, so that none runs twice. */

/** How many are remembered. */
const remembered = 1024;

/** The last ids of one peer. */
export class Seen {
  readonly #ids = new Set<number>();
  readonly #order: number[] = [];
  #next = 0;
  // Lower than all that are remembered: nobody knows whether those came.
  #lowest = 0;

  /** Remembers an id; answers whether it is new. */
  add(id: number): boolean {
    if (id < this.#lowest || this.#ids.has(id)) return false;
    const oldest = this.#order[this.#next];
    if (oldest !== undefined) {
      this.#ids.delete(oldest);
      if (oldest >= this.#lowest) this.#lowest = Math.min(...this.#ids, id);
    }
    this.#ids.add(id);
    this.#order[this.#next] = id;
    this.#next = (this.#next + 1) % remembered;
    return true;
  }
}
