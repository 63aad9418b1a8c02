/** Items: one direction of a stream, as its receiver iterates it. */

import { Fifo } from "./wire/fifo.js";

/** Says how many items of a subscription were missed at this place. */
export class Lagged {
  constructor(
    /** How many. */
    readonly count: number,
  ) {}
}

/** What stands behind a stream. */
export interface Source {
  /** An item was taken, which had this cost. */
  taken(cost: number): void;
  /** Somebody waits for an item, or nobody does any more. */
  waits(more: boolean): void;
  /** The receiver wants no more. */
  stop(): void;
}

interface Waiter {
  resolve(result: IteratorResult<any, any>): void;
  reject(error: unknown): void;
}

/** Items as they come, until the end; ending the iteration early tells the sender to stop. */
export class Items<T = any, R = any> implements AsyncIterableIterator<T, R> {
  readonly #arrived = new Fifo<{ value: T; cost: number }>();
  readonly #waiters = new Fifo<Waiter>();
  #end: { value: R } | { error: unknown } | null = null;
  #stopped = false;

  /** Not for users: streams are made by calls. */
  constructor(readonly source: Source | null) {
    if (source === null) this.#end = { value: undefined as R };
  }

  /** The next item. */
  next(): Promise<IteratorResult<T, R>> {
    const item = this.#arrived.shift();
    if (item !== undefined) {
      this.source!.taken(item.cost);
      return Promise.resolve({ done: false, value: item.value });
    }
    if (this.#end !== null) return this.#ending();
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      this.source!.waits(true);
    });
  }

  /** Ends the stream before its end. */
  async return(value?: R): Promise<IteratorResult<T, R>> {
    this.stop();
    return { done: true, value: value as R };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop();
  }

  /** Whether the end has come, though items may wait. */
  get over(): boolean {
    return this.#end !== null;
  }

  /** Tells the sender to stop, unless it has ended. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#arrived.removeAll(() => true);
    if (this.#end === null) {
      this.#finish({ value: undefined as R });
      this.source?.stop();
    } else this.#end = { value: undefined as R };
  }

  /** Not for users: an item has come. */
  push(value: T, cost: number): void {
    if (this.#stopped) return;
    const waiter = this.#waiters.shift();
    if (waiter === undefined) {
      this.#arrived.push({ value, cost });
      return;
    }
    this.source!.waits(false);
    this.source!.taken(cost);
    waiter.resolve({ done: false, value });
  }

  /** Not for users: what has come was on a connection that is lost, and is not to be given back on another. */
  forgetCosts(): void {
    for (const item of this.#arrived) item.cost = 0;
  }

  /** Not for users: the end has come. */
  finish(value: R): void {
    if (this.#end === null) this.#finish({ value });
  }

  /** Not for users: it broke. */
  fail(error: unknown): void {
    if (this.#end === null) this.#finish({ error });
  }

  #finish(end: { value: R } | { error: unknown }): void {
    this.#end = end;
    let first = true;
    for (let waiter = this.#waiters.shift(); waiter !== undefined; waiter = this.#waiters.shift()) {
      this.source!.waits(false);
      if (first && "error" in end) waiter.reject(end.error);
      else waiter.resolve({ done: true, value: ("value" in end ? end.value : undefined) as R });
      first = false;
    }
    if (!first && "error" in end) this.#end = { value: undefined as R };
  }

  #ending(): Promise<IteratorResult<T, R>> {
    const end = this.#end!;
    if ("value" in end) {
      const { value } = end;
      this.#end = { value: undefined as R };
      return Promise.resolve({ done: true, value });
    }
    // An error is told once; after that the stream is over.
    this.#end = { value: undefined as R };
    return Promise.reject(end.error);
  }
}
