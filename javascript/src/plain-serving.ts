/** Serving plain messages: every message of every connection is answered by one handler. */

import { warn, type Bytes } from "#runtime";

import { HandlerFailure, type Answering } from "./answering.js";
import type { Connection } from "./connection.js";
import { PanpipeError } from "./wire/error.js";
import type { Message } from "./wire/session.js";

/**
 * Answers a message: what it returns is the reply; `null` and `undefined` send nothing. It may be asynchronous.
 * It runs for one message of a connection at a time; connections do not wait for each other.
 */
export type Handler<M extends Message = Bytes> = (message: M, peer: Connection) => Reply | PromiseLike<Reply>;

/** What a handler may answer. A reply of 16 KiB or more is not copied, so do not change it afterwards. */
export type Reply = Uint8Array | string | null | undefined | void;

/** The connections that one handler answers. */
export class PlainServing {
  readonly #answering = new Map<Answering, Promise<void>>();
  #stopping = false;

  constructor(readonly handler: Handler<any>) {}

  /** Answers one more connection, until it ends; done then. */
  serve(connection: Connection): Promise<void> {
    const answering = connection.answer((message) => this.handler(message, connection));
    const over = this.#serve(connection, answering);
    this.#answering.set(answering, over);
    if (this.#stopping) answering.stop();
    return over;
  }

  /** Takes no more messages; handlers that run may finish. */
  stop(): void {
    this.#stopping = true;
    for (const answering of this.#answering.keys()) answering.stop();
  }

  /** Ends it without the handlers that run. */
  giveUp(): void {
    for (const answering of this.#answering.keys()) answering.giveUp();
  }

  /** Done when no connection is answered any more. */
  async idle(): Promise<void> {
    while (this.#answering.size > 0) await Promise.all(this.#answering.values());
  }

  async #serve(connection: Connection, answering: Answering): Promise<void> {
    try {
      await answering.done;
    } catch (error) {
      report(connection.address, error);
    } finally {
      await connection.close();
      this.#answering.delete(answering);
    }
  }
}

/** Tells of what broke a connection that nobody waits on. */
export function report(address: string, error: unknown): void {
  if (error instanceof HandlerFailure) {
    const why = error.cause instanceof Error ? (error.cause.stack ?? error.cause.message) : String(error.cause);
    warn(`the handler failed, which closes its connection on ${address}: ${why}`, "PanpipeHandlerError");
  } else if (!(error instanceof PanpipeError)) {
    throw error;
  } else if (error.doing.startsWith("replying") && ["too-large", "unsupported"].includes(error.code)) {
    warn(`the handler's reply cannot be sent, which closes its connection: ${error.message}`, "PanpipeHandlerError");
  } else if (["bad-peer", "too-large", "version", "io"].includes(error.code)) {
    warn(error.message, "PanpipePeerWarning");
  }
}
