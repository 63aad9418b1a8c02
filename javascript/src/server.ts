/** A server: a listener whose every connection is answered by one handler. */

import { HandlerFailure, type Answering } from "./answering.js";
import type { Listener } from "./listener.js";
import type { Connection } from "./connection.js";
import { PanpipeError } from "./wire/error.js";
import type { Message } from "./wire/session.js";

/**
 * Answers a message: what it returns is the reply; `null` and `undefined` send nothing. It may be asynchronous.
 * It runs for one message of a connection at a time; connections do not wait for each other.
 */
export type Handler<M extends Message = Buffer> = (message: M, peer: Connection) => Reply | PromiseLike<Reply>;

/** What a handler may answer. A reply of 16 KiB or more is not copied, so do not change it afterwards. */
export type Reply = Uint8Array | string | null | undefined | void;

/** Answers connections until it is closed; it keeps the process alive so long. Made by `serve`. */
export class Server implements AsyncDisposable {
  readonly #listener: Listener;
  readonly #handler: Handler<Message>;
  readonly #answering = new Set<Answering>();
  readonly #done: Promise<void>;
  #closing: Promise<void> | null = null;

  /** Not for users: `serve` makes servers. */
  constructor(listener: Listener, handler: Handler<Message>) {
    this.#listener = listener;
    this.#handler = handler;
    this.#done = this.#accept();
  }

  /** The address that leads here, with free names and ports filled in. */
  get address(): string {
    return this.#listener.address;
  }

  /** Done when no connection is open and none will come: after `close`, or when the one connection of `stdio:` has ended. */
  get done(): Promise<void> {
    return this.#done;
  }

  /**
   * Takes no more connections, lets handlers that run finish and reply, and closes every connection.
   *
   * Handlers have the `timeout` of the address to finish. So a handler may close its server, but must not await that: it would wait for itself.
   */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #accept(): Promise<void> {
    const running = new Set<Promise<void>>();
    for await (const peer of this.#listener) {
      const run: Promise<void> = this.#serve(peer).finally(() => running.delete(run));
      running.add(run);
    }
    await Promise.all(running);
  }

  async #serve(peer: Connection): Promise<void> {
    const answering = peer.answer((message) => this.#handler(message, peer));
    this.#answering.add(answering);
    if (this.#closing !== null) answering.stop();
    try {
      await answering.done;
    } catch (error) {
      report(peer, error);
    } finally {
      this.#answering.delete(answering);
      await peer.close();
    }
  }

  async #close(): Promise<void> {
    await this.#listener.close();
    for (const answering of this.#answering) answering.stop();
    const late = setTimeout(() => this.#answering.forEach((answering) => answering.giveUp()), Math.min(this.#listener.timeout, 2 ** 31 - 1));
    await this.#done.finally(() => clearTimeout(late));
  }
}

function report(peer: Connection, error: unknown): void {
  if (error instanceof HandlerFailure) {
    const why = error.cause instanceof Error ? (error.cause.stack ?? error.cause.message) : String(error.cause);
    process.emitWarning(`the handler failed, which closes its connection on ${peer.address}: ${why}`, "PanpipeHandlerError");
  } else if (!(error instanceof PanpipeError)) {
    throw error;
  } else if (error.doing.startsWith("replying") && ["too-large", "unsupported"].includes(error.code)) {
    process.emitWarning(`the handler's reply cannot be sent, which closes its connection: ${error.message}`, "PanpipeHandlerError");
  } else if (["bad-peer", "too-large", "io"].includes(error.code)) {
    process.emitWarning(error.message, "PanpipePeerWarning");
  }
}
