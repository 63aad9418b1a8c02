/** Seen: which ids of datagrams have come already, so that none runs twice. */

/** How many are remembered, up to the highest. */
const remembered = 1024;

/** The last ids of one peer, which ascend by two. */
export class Seen {
  /** Each id has the place of its half. */
  readonly #places = new Uint8Array(remembered);
  #highest = 0;

  /** Remembers an id; answers whether it is new. One below all that are remembered is not. */
  add(id: number): boolean {
    const above = (id - this.#highest) / 2;
    if (above <= -remembered) return false;
    if (above > 0) {
      for (let skipped = 0; skipped < Math.min(above, remembered); skipped++) this.#places[this.#place(id - 2 * skipped)] = 0;
      this.#highest = id;
    }
    const place = this.#place(id);
    if (this.#places[place] === 1) return false;
    this.#places[place] = 1;
    return true;
  }

  #place(id: number): number {
    return Math.floor(id / 2) % remembered;
  }
}
