/** Options of a call: what may follow its arguments. */

/** How a call is made. */
export interface CallOptions {
  /** Milliseconds; left out, the `timeout` of the address. A stream and a subscription have none. */
  timeout?: number | undefined;
  /** Aborting it ends the call with the code `cancelled`, and tells the handler. */
  signal?: AbortSignal | undefined;
  /** Named arguments, beside the positional ones. */
  named?: Readonly<Record<string, unknown>> | undefined;
  /** Whether it may run twice: then it is made again when the connection was lost and `reconnect=true`. */
  idempotent?: boolean | undefined;
  /** A stream of arguments. */
  input?: AsyncIterable<unknown> | Iterable<unknown> | undefined;
}

/** Options that are never taken for an argument. Made by `options`. */
export class MarkedOptions {
  constructor(readonly given: CallOptions) {}
}

/** Marks the options of a call, so that a map of the same keys before them is an argument: `peer.call("f", { timeout: 1 }, options())`. */
export function options(given: CallOptions = {}): MarkedOptions {
  return new MarkedOptions(given);
}

const names = new Set(["timeout", "signal", "named", "idempotent", "input"]);
const none: CallOptions = Object.freeze({});

/** Takes the options off the end of the arguments. */
export function takeOptions(args: unknown[]): CallOptions {
  const last = args[args.length - 1];
  if (typeof last !== "object" || last === null) return none;
  if (last instanceof MarkedOptions) {
    args.pop();
    return last.given;
  }
  if (Object.getPrototypeOf(last) !== Object.prototype) return none;
  const keys = Object.keys(last);
  if (keys.length === 0 || !keys.every((key) => names.has(key))) return none;
  args.pop();
  return last as CallOptions;
}
