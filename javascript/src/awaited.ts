/** What a user awaits: a promise whose waiter settles it, as cheaply as one promise a message allows. */

import { expectMany } from "#runtime";

import type { Code, PanpipeError } from "./wire/error.js";
import { Waiter, type Message } from "./wire/session.js";

// One function for every promise, instead of a closure each; what it caught is read before the next promise is made.
const captured = {
  resolve: (_message: Message | null): void => {},
  reject: (_error: PanpipeError): void => {},
};

function capture(resolve: (message: Message | null) => void, reject: (error: PanpipeError) => void): void {
  captured.resolve = resolve;
  captured.reject = reject;
}

/** Gives up for a waiter. */
export type Abandon = (waiter: Waiter, code: Code, text: string) => void;

/** A promise; `waiterOf` must follow at once. */
export function awaited(): Promise<Message | null> {
  return new Promise(capture);
}

/** The waiter that settles the promise that `awaited` has just made; aborting `signal` gives up. */
export function waiterOf(doing: string, deadline: number, signal: AbortSignal | undefined, abandon: Abandon): Waiter {
  const { resolve, reject } = captured;
  if (signal === undefined) return new Waiter(doing, resolve, reject, deadline);
  const abort = () => abandon(waiter, "cancelled", "the caller gave up");
  // The signal may outlive many calls, so each takes its listener away again.
  const off = () => signal.removeEventListener("abort", abort);
  const waiter = new Waiter(
    doing,
    (message) => {
      off();
      resolve(message);
    },
    (error) => {
      off();
      reject(error);
    },
    deadline,
  );
  expectMany(signal);
  signal.addEventListener("abort", abort);
  return waiter;
}
