/** The runtime, in a browser; see `node.ts`. */

/** Bytes as a user gets them. */
export type Bytes = Uint8Array;

/** A timer. */
export type Timer = ReturnType<typeof setTimeout>;

/** Carries a value through what a function calls; a browser tells nobody what it carries through an `await`. */
export class Carried<T> {
  #value: T | undefined;

  /** The value of whatever runs. */
  getStore(): T | undefined {
    return this.#value;
  }

  /** Runs a function with a value. */
  run<A extends unknown[], R>(value: T, run: (...args: A) => R, ...args: A): R {
    const before = this.#value;
    this.#value = value;
    try {
      return run(...args);
    } finally {
      this.#value = before;
    }
  }
}

const decoder = new TextDecoder("utf-8", { fatal: true });

/** Whether bytes are UTF-8. */
export function isUtf8(bytes: Uint8Array): boolean {
  try {
    decoder.decode(bytes);
    return true;
  } catch {
    return false;
  }
}

/** Runs something after so many milliseconds. */
export function later(run: () => void, milliseconds: number): Timer {
  return setTimeout(run, milliseconds);
}

/** A page lives as long as it is open, whatever its timers do. */
export function hold(_timer: Timer, _alive: boolean): void {}

/** Runs something when what runs now has ended, and the promises that it has settled were heard. */
export function atEndOfTurn(run: () => void): void {
  queueMicrotask(run);
}

/** Tells the page's console of something that has no caller; `type` says what it is about. */
export function warn(text: string, type: string): void {
  console.warn(`${type}: ${text}`);
}

/** A browser does not mind many listeners. */
export function expectMany(_signal: AbortSignal): void {}
