/** A server: a listener whose every connection is answered by one handler or service. */

import type { Connection } from "./connection.js";
import type { Listener } from "./listener.js";
import { Peer } from "./peer.js";
import { PlainServing, report, type Handler } from "./plain-serving.js";
import { Service } from "./service.js";

/** Answers connections until it is closed; it keeps the process alive so long. Made by `serve`. */
export class Server implements AsyncDisposable {
  readonly #listener: Listener<any>;
  /** Of plain messages; null where nobody answers such. */
  readonly #plain: PlainServing | null;
  readonly #peers = new Set<Peer>();
  readonly #done: Promise<void>;
  #closing: Promise<void> | null = null;

  /** Not for users: `serve` makes servers. */
  constructor(listener: Listener<any>, answers: Handler<any> | Service) {
    this.#listener = listener;
    this.#plain = answers instanceof Service ? listener.plain : new PlainServing(answers);
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
      const run: Promise<void> = (peer instanceof Peer ? this.#keep(peer) : this.#plain!.serve(peer)).finally(() => running.delete(run));
      running.add(run);
    }
    await Promise.all(running);
    await this.#plain?.idle();
  }

  async #keep(peer: Peer): Promise<void> {
    this.#peers.add(peer);
    const broke = await peer.closed;
    this.#peers.delete(peer);
    if (broke !== null) report(peer.address, broke);
    await peer.close();
  }

  async #close(grace?: number): Promise<void> {
    await this.#listener.close();
    this.#plain?.stop();
    for (const peer of this.#peers) void peer.drain(grace);
    const late = setTimeout(() => this.#plain?.giveUp(), Math.min(grace ?? this.#listener.timeout, 2 ** 31 - 1));
    await this.#done.finally(() => clearTimeout(late));
  }
}
