/** A server: a listener whose every connection is answered by one handler or service. */

import { warn, type Bytes } from "#runtime";

import { HandlerFailure, type Answering } from "./answering.js";
import type { Listener } from "./listener.js";
import type { Connection } from "./connection.js";
import { Peer } from "./peer.js";
import { Service } from "./service.js";
import { PanpipeError } from "./wire/error.js";
import type { Message } from "./wire/session.js";

/**
 * Answers a message: what it returns is the reply; `null` and `undefined` send nothing. It may be asynchronous.
 * It runs for one message of a connection at a time; connections do not wait for each other.
 */
export type Handler<M extends Message = Bytes> = (message: M, peer: Connection) => Reply | PromiseLike<Reply>;

/** What a handler may answer. A reply of 16 KiB or more is not copied, so do not change it afterwards. */
export type Reply = Uint8Array | string | null | undefined | void;

/** Answers connections until it is closed; it keeps the process alive so long. Made by `serve`. */
export class Server implements AsyncDisposable {
  readonly #listener: Listener<any>;
  readonly #handler: Handler<Message> | null;
  readonly #answering = new Set<Answering>();
  readonly #peers = new Set<Peer>();
  readonly #done: Promise<void>;
  #closing: Promise<void> | null = null;

  /** Not for users: `serve` makes servers. */
  constructor(listener: Listener<any>, answers: Handler<Message> | Service) {
    this.#listener = listener;
    this.#handler = answers instanceof Service ? null : answers;
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
   * Takes no more connections and no more calls, lets handlers that run finish and reply, and closes every connection.
   *
   * Handlers have `grace` milliseconds to finish: 10 seconds, or the `timeout` of the address for plain messages.
   * So a handler may close its server, but must not await that: it would wait for itself.
   */
  close(options: { grace?: number } = {}): Promise<void> {
    return (this.#closing ??= this.#close(options.grace));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #accept(): Promise<void> {
    const running = new Set<Promise<void>>();
    for await (const peer of this.#listener as AsyncIterable<Peer | Connection>) {
      const run: Promise<void> = (peer instanceof Peer ? this.#keep(peer) : this.#serve(peer)).finally(() => running.delete(run));
      running.add(run);
    }
    await Promise.all(running);
  }

  async #keep(peer: Peer): Promise<void> {
    this.#peers.add(peer);
    const broke = await peer.closed;
    this.#peers.delete(peer);
    if (broke !== null) report(peer, broke);
    await peer.close();
  }

  async #serve(peer: Connection): Promise<void> {
    const answering = peer.answer((message) => this.#handler!(message, peer));
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

  async #close(grace?: number): Promise<void> {
    await this.#listener.close();
    for (const answering of this.#answering) answering.stop();
    for (const peer of this.#peers) void peer.drain(grace);
    const late = setTimeout(() => this.#answering.forEach((answering) => answering.giveUp()), Math.min(grace ?? this.#listener.timeout, 2 ** 31 - 1));
    await this.#done.finally(() => clearTimeout(late));
  }
}

function report(peer: Connection | Peer, error: unknown): void {
  if (error instanceof HandlerFailure) {
    const why = error.cause instanceof Error ? (error.cause.stack ?? error.cause.message) : String(error.cause);
    warn(`the handler failed, which closes its connection on ${peer.address}: ${why}`, "PanpipeHandlerError");
  } else if (!(error instanceof PanpipeError)) {
    throw error;
  } else if (error.doing.startsWith("replying") && ["too-large", "unsupported"].includes(error.code)) {
    warn(`the handler's reply cannot be sent, which closes its connection: ${error.message}`, "PanpipeHandlerError");
  } else if (["bad-peer", "too-large", "version", "io"].includes(error.code)) {
    warn(error.message, "PanpipePeerWarning");
  }
}
