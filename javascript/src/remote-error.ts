/** Errors that the other end answered with, and what this end answers with. */

import { PanpipeError, type Code, type Ran } from "./wire/error.js";
import type { Failure } from "./wire/panpipe/failure.js";

/** A call was answered with an error. */
export class RemoteError extends PanpipeError {
  /** The name of the exception, as the remote language calls it; empty where there was none. */
  readonly type: string;
  /** The traceback of the remote side; empty where there was none. */
  readonly traceback: string;
  /** What the handler attached. */
  readonly data: unknown;
  /** The addresses through which it came beside this one, the nearest first. */
  readonly via: readonly string[];
  /** What it said. */
  readonly remoteMessage: string;

  /** Not for users: calls make these. */
  constructor(failure: Failure, doing: string, address: string, ran: Ran) {
    const cause = failure.cause === undefined ? undefined : new RemoteError(failure.cause, doing, address, ran);
    super(failure.code as Code, doing, { address, ran, text: failure.type === undefined ? failure.message : `${failure.type}: ${failure.message}`, cause });
    this.name = "RemoteError";
    this.type = failure.type ?? "";
    this.traceback = failure.traceback ?? "";
    this.data = failure.data;
    this.via = failure.via ?? [];
    this.remoteMessage = failure.message;
  }
}

/** What a handler threw, as it travels. An error of a call that it made is passed on, with the address of that call. */
export function failureOf(thrown: unknown, depth = 1): Failure {
  if (thrown instanceof RemoteError) {
    const { code, type, traceback, data, cause, via, address, remoteMessage } = thrown;
    return {
      code,
      message: remoteMessage,
      type: type || undefined,
      traceback: traceback || undefined,
      data,
      cause: causeOf(cause, depth),
      via: address === "" ? via : [address, ...via],
    };
  }
  if (thrown instanceof PanpipeError) {
    const { code, message, address } = thrown;
    return { code, message, type: thrown.name, traceback: thrown.stack, via: address === "" ? undefined : [address] };
  }
  if (!(thrown instanceof Error)) return { code: "remote", message: String(thrown), type: typeof thrown };
  const { message, stack, cause, data } = thrown as Error & { data?: unknown };
  return { code: "remote", message, type: thrown.name || "Error", traceback: stack, data, cause: causeOf(cause, depth) };
}

function causeOf(cause: unknown, depth: number): Failure | undefined {
  return cause === undefined || cause === null || depth >= 16 ? undefined : failureOf(cause, depth + 1);
}
