/** A queue: first in, first out, without moving what stays. */

/** An array with a moving front; `shift` of a plain array moves every element once it is long. */
export class Fifo<T> {
  #items: (T | undefined)[] = [];
  #front = 0;

  /** How many wait. */
  get size(): number {
    return this.#items.length - this.#front;
  }

  /** Adds at the end. */
  push(item: T): void {
    this.#items.push(item);
  }

  /** The first one, which stays. */
  peek(): T | undefined {
    return this.#items[this.#front];
  }

  /** Takes the first one. */
  shift(): T | undefined {
    if (this.#front === this.#items.length) return undefined;
    const item = this.#items[this.#front];
    this.#items[this.#front++] = undefined;
    if (this.#front === this.#items.length) {
      this.#items.length = 0;
      this.#front = 0;
    } else if (this.#front >= 1024 && this.#front * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#front);
      this.#front = 0;
    }
    return item;
  }

  /** Puts one before the first. */
  unshift(item: T): void {
    if (this.#front > 0) this.#items[--this.#front] = item;
    else this.#items.unshift(item);
  }

  /** Takes this one, wherever it stands. */
  remove(item: T): boolean {
    const at = this.#items.indexOf(item, this.#front);
    if (at < 0) return false;
    this.#items.splice(at, 1);
    return true;
  }

  /** Takes all of which this is true. */
  removeAll(which: (item: T) => boolean): T[] {
    const taken: T[] = [];
    const left: T[] = [];
    for (const item of this) (which(item) ? taken : left).push(item);
    this.#items = left;
    this.#front = 0;
    return taken;
  }

  /** All that wait, first to last. */
  *[Symbol.iterator](): Iterator<T> {
    for (let at = this.#front; at < this.#items.length; at++) yield this.#items[at] as T;
  }
}
