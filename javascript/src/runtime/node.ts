/** The runtime, in Node.js: what a browser gives in another way, or not at all. `browser.ts` is the same there; `#runtime` is the one that runs. */

import { setMaxListeners } from "node:events";

/** Bytes as a user gets them. */
export type Bytes = Buffer;

/** A timer. */
export type Timer = NodeJS.Timeout;

/** Carries a value through whatever a function calls and awaits. */
export { AsyncLocalStorage as Carried } from "node:async_hooks";

/** Whether bytes are UTF-8. */
export { isUtf8 } from "node:buffer";

/** Runs something after so many milliseconds; that alone keeps no process alive. */
export function later(run: () => void, milliseconds: number): Timer {
  return setTimeout(run, milliseconds).unref();
}

/** Says whether a timer keeps the process alive. */
export function hold(timer: Timer, alive: boolean): void {
  if (alive) timer.ref();
  else timer.unref();
}

/** Runs something at the end of this turn of the loop. Ticks run when every promise of the turn has: all that they send is in the outbox by then. */
export function atEndOfTurn(run: () => void): void {
  process.nextTick(run);
}

/** Tells the program of something that has no caller; `type` says what it is about. */
export function warn(text: string, type: string): void {
  process.emitWarning(text, type);
}

/** One signal for many calls in flight is no leak, of which Node would warn from the eleventh on. */
export function expectMany(signal: AbortSignal): void {
  if (signal instanceof EventTarget) setMaxListeners(0, signal);
}
