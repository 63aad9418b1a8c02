/** A listener: connections that others make to us. */

import type { Link, LinkListener, Transport } from "./link/link.js";
import { classify } from "./link/classify.js";
import type { Connection } from "./connection.js";
import { opened } from "./opening.js";
import type { Peer } from "./peer.js";
import { PlainServing } from "./plain-serving.js";
import type { Service } from "./service.js";
import { withTarget, type Address } from "./wire/address.js";
import { PanpipeError } from "./wire/error.js";
import { Fifo } from "./wire/fifo.js";

/** Waits for connections. Made by `listen`; iterate it, or call `accept`. */
export class Listener<C extends Peer | Connection = Peer> implements AsyncIterable<C>, AsyncDisposable {
  #inner: LinkListener | null = null;
  #address: string;
  readonly #parsed: Address;
  readonly #arrived = new Fifo<Link>();
  readonly #accepting = new Fifo<(peer: C | null) => void>();
  readonly #service: Service | null;
  /** Not for users: answers the peers of plain messages, where a service does. */
  readonly plain: PlainServing | null;
  #ended = false;
  #closed = false;

  private constructor(address: Address, service: Service | null) {
    this.#parsed = address;
    this.#service = service;
    const handler = service?.plainHandler ?? null;
    this.plain = handler === null ? null : new PlainServing(handler);
    this.#address = address.text;
  }

  /** Not for users: `listen` makes listeners. */
  static async open<C extends Peer | Connection>(address: Address, transport: Transport, service: Service | null): Promise<Listener<C>> {
    const listener = new Listener<C>(address, service);
    try {
      listener.#inner = await transport.listen(address, {
        onLink: (link) => listener.#arrive(link),
        onGone: (link) => void (listener.#arrived.remove(link) && link.destroy()),
        onEnd: () => listener.#end(),
      });
    } catch (error) {
      throw classify(error).during(`listening on ${address.text}`, address.text);
    }
    listener.#address = withTarget(address, listener.#inner.target);
    listener.#hold();
    return listener;
  }

  /** The address that leads here, with free names and ports filled in; connecting to it works. */
  get address(): string {
    return this.#address;
  }

  /** Not for users: the `timeout` of the address, in milliseconds. */
  get timeout(): number {
    return this.#parsed.timeout;
  }

  /** The next connection; `null` once no more will come. Rejects with `closed` after this side closed. */
  accept(): Promise<C | null> {
    const link = this.#arrived.shift();
    if (link !== undefined) return Promise.resolve(this.#peer(link));
    if (this.#closed) {
      return Promise.reject(new PanpipeError("closed", `accepting on ${this.#address}`, { address: this.#address, text: "this side closed the listener" }));
    }
    if (this.#ended) return Promise.resolve(null);
    return new Promise((resolve) => {
      this.#accepting.push(resolve);
      this.#hold();
    });
  }

  /** Connections as they come, until the listener is closed. */
  [Symbol.asyncIterator](): AsyncIterator<C> {
    return {
      next: async () => {
        const peer = this.#closed ? null : await this.accept();
        return peer === null ? { done: true, value: undefined } : { done: false, value: peer };
      },
      return: async () => ({ done: true, value: undefined }),
    };
  }

  /** Takes no more connections; those that were accepted live on, those that were not are closed. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#end();
    for (let link = this.#arrived.shift(); link !== undefined; link = this.#arrived.shift()) link.destroy();
    await this.#inner?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #arrive(link: Link): void {
    const isPlain = this.plain !== null && link.speaks === "plain";
    const accept = isPlain ? undefined : this.#accepting.shift();
    if (this.#closed) link.destroy();
    else if (isPlain) void this.plain!.serve(opened(link, this.#parsed, this.#address, false, null) as Connection);
    else if (accept !== undefined) accept(this.#peer(link));
    else {
      // Nobody has asked for it, so it is no reason to live on.
      link.unref();
      this.#arrived.push(link);
    }
    this.#hold();
  }

  #peer(link: Link): C {
    return opened(link, this.#parsed, this.#address, false, this.#service) as C;
  }

  #end(): void {
    this.#ended = true;
    for (let accept = this.#accepting.shift(); accept !== undefined; accept = this.#accepting.shift()) accept(null);
  }

  /** Keeps the process alive while somebody waits for a connection. */
  #hold(): void {
    if (this.#accepting.size > 0) this.#inner?.ref();
    else this.#inner?.unref();
  }
}
