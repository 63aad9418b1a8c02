/** A peer: the other end of a connection that speaks the panpipe protocol, as a user holds it. */

import { later, type Timer } from "#runtime";

import { Answers } from "./answers.js";
import { options as mark, takeOptions, type CallOptions, type MarkedOptions } from "./call-options.js";
import { Calls, short } from "./calls.js";
import { Endpoint } from "./endpoint.js";
import type { Items, Lagged } from "./items.js";
import type { Link, Remote } from "./link/link.js";
import { Reconnecting } from "./reconnecting.js";
import { describing, type Service } from "./service.js";
import { milliseconds } from "./timeout.js";
import type { Policy } from "./topic.js";
import type { Address } from "./wire/address.js";
import { Fault } from "./wire/error.js";
import { NAMED, RAW, TOPIC } from "./wire/panpipe/frame.js";
import { nameBytes } from "./wire/panpipe/names.js";
import type { Value } from "./wire/panpipe/unpack.js";

/** Whether a peer can be called. */
export type State = "connected" | "reconnecting" | "closed";

/** How a peer was come by. */
export interface PeerOptions {
  /** Whether this end connected. */
  client: boolean;
  /** Whether the other end may be on another machine. */
  remote: boolean;
  /** What answers the calls of the other end. */
  service: Service | null;
  /** Opens another link to the same address, where the address says `reconnect=true`. */
  reopen: (() => Promise<Link>) | null;
}

/** Who waits for a flush. */
interface Flush {
  end(fault: Fault | null): void;
}

// One function for every promise, instead of a closure each; what it caught is read before the next promise is made.
const captured = {
  resolve: (_value: unknown): void => {},
  reject: (_error: unknown): void => {},
};
function capture(resolve: (value: unknown) => void, reject: (error: unknown) => void): void {
  captured.resolve = resolve;
  captured.reject = reject;
}

const ignore = (): void => {};
const closedHere = new Fault("closed", "this side closed the connection");

/**
 * The other end of a connection: it can be called, and it may call. Made by `connect`, `accept`, `pair` and for each connection of `serve`.
 *
 * It keeps the process alive while something is awaited of it, while a handler runs and, of an end with a service, until it is closed.
 * The last argument of a call is its options when it is a plain object, not empty, whose keys are all names of options; `options()` behind it makes it an argument.
 */
export class Peer implements AsyncDisposable {
  /** The address that this connection was made with or accepted on. */
  readonly address: string;
  /** Called with each new state. */
  onState: ((state: State) => void) | null = null;
  /** Done when it is closed for good, with what broke it or null; never rejects. */
  readonly closed: Promise<Error | null>;
  readonly #parsed: Address;
  readonly #made: PeerOptions;
  readonly #calls: Calls;
  readonly #reconnecting: Reconnecting | null;
  #remote!: Remote;
  #endpoint!: Endpoint;
  #answers!: Answers;
  #state: State = "connected";
  #closing: Promise<void> | null = null;
  // Whether this end has closed it.
  #left = false;
  #tellClosed: (fault: Error | null) => void = ignore;
  // Called when no handler runs any more.
  #onIdle: (() => void) | null = null;

  /** Not for users: `connect` and its like make peers. */
  constructor(link: Link, parsed: Address, text: string, made: PeerOptions) {
    this.address = text;
    this.#parsed = parsed;
    this.#made = made;
    this.closed = new Promise((resolve) => (this.#tellClosed = resolve));
    this.#reconnecting = made.reopen === null ? null : new Reconnecting(made.reopen, made.remote, (next) => this.#reconnect(next));
    this.#calls = new Calls(text, parsed.timeout, made.reopen !== null, (some) => this.#reconnecting?.want(some || made.service !== null));
    if (made.service !== null) this.#reconnecting?.want(true);
    this.#attach(link);
  }

  /** What is known of the other end. */
  get remote(): Remote {
    return this.#remote;
  }

  /** Whether it can be called: `connected`, `reconnecting` or `closed`. */
  get state(): State {
    return this.#state;
  }

  /** Replies that came when nobody waited for them any more, on this connection. */
  get lateReplies(): number {
    return this.#endpoint.session.late;
  }

  /** Handlers that run for the other end, its subscriptions included. */
  get running(): number {
    return this.#endpoint.session.running;
  }

  /**
   * Calls a method and answers with what it returns. Bytes of 16 KiB or more must not be changed before the reply is there.
   *
   * Rejects with a `RemoteError` for what the other end answers, as `remote`, `not-found`, `invalid-arguments`, or with
   * `deadline-exceeded`, `cancelled`, `connection-lost`, `refused`, `too-large`, `unsupported`, `busy`, `bad-peer`, `version`, `closed`.
   */
  call(method: string, ...args: (unknown | CallOptions | MarkedOptions)[]): Promise<any> {
    const options = takeOptions(args);
    const promise = new Promise<any>(capture);
    this.#calls.make("call", method, args, options, captured.resolve, captured.reject);
    return promise;
  }

  /** Calls a method that answers with a stream: iterate it for the items; ending early tells the handler. It fails as `call` does, and has no timeout unless one is given. */
  stream<T = any>(method: string, ...args: (unknown | CallOptions | MarkedOptions)[]): Items<T> {
    const options = takeOptions(args);
    return this.#calls.make("stream", method, args, options, ignore, ignore).items as Items<T>;
  }

  /** Subscribes to a topic; done once the subscription stands, so that what is published from then on comes. Where items were missed there is a `Lagged`. Rejects as `call` does. */
  subscribe<T = any>(topic: string, options: { policy?: Policy; signal?: AbortSignal; timeout?: number } = {}): Promise<Items<T | Lagged>> {
    const { policy, signal, timeout } = options;
    const limit = milliseconds(timeout, this.#parsed.timeout);
    const promise = new Promise<any>(capture);
    const pending = this.#calls.make("subscription", topic, policy === undefined ? [] : [{ policy }], { signal }, captured.resolve, captured.reject);
    const late = () => pending.opened || this.#calls.giveUp(pending, new Fault("deadline-exceeded", "the timeout passed"));
    const timer = later(late, Math.min(limit, 2 ** 31 - 1));
    return promise.finally(() => clearTimeout(timer));
  }

  /** Sends a one-way message; done once there is room for more. It arrives at most once, in the order of what is sent and called. Rejects as `call` does for what cannot be sent. */
  send(method: string, ...args: (unknown | CallOptions | MarkedOptions)[]): Promise<void> {
    const { named } = takeOptions(args);
    return this.#send(`sending ${short(method)} on ${this.address}`, method, args, named, 0);
  }

  /** Publishes to a topic of the other end's service; as `send`. */
  publish(topic: string, item: unknown): Promise<void> {
    return this.#send(`publishing ${short(topic)} on ${this.address}`, topic, [item], undefined, TOPIC);
  }

  /** Done once the other end has read everything that was sent. Rejects with `connection-lost`, `closed`, `deadline-exceeded`. */
  flush(options: { timeout?: number } = {}): Promise<void> {
    const doing = `flushing ${this.address}`;
    const limit = milliseconds(options.timeout, this.#parsed.timeout);
    const endpoint = this.#endpoint;
    return new Promise<void>((resolve, reject) => {
      if (endpoint.session.over) return reject(this.#why.during(doing, this.address));
      let timer: Timer | null = null;
      const flush: Flush = {
        end: (fault) => {
          if (timer === null) return;
          clearTimeout(timer);
          timer = null;
          endpoint.drop();
          if (fault === null) resolve();
          else reject(fault.during(doing, this.address, "maybe"));
        },
      };
      timer = later(() => flush.end(new Fault("deadline-exceeded", "the timeout passed")), Math.min(limit, 2 ** 31 - 1));
      endpoint.hold();
      endpoint.touch();
      endpoint.session.flush(flush);
      endpoint.settle(true);
    });
  }

  /** What the other end offers, as an OpenRPC 1.3 document. Rejects as `call` does. */
  describe(options: CallOptions = {}): Promise<{ [key: string]: Value }> {
    return this.call(describing, mark(options));
  }

  /** Writes what was sent, then closes; calls that wait end with `closed`. Closing twice is closing once. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Takes no more calls, lets the handlers that run finish for at most `grace` milliseconds, and closes. */
  async drain(grace = 10_000): Promise<void> {
    const endpoint = this.#endpoint;
    const { session } = endpoint;
    if (!this.#left && !session.over) {
      endpoint.touch();
      session.goodbye();
      this.#answers.endSubscriptions();
      endpoint.settle();
      // What the other end sent before it read the goodbye is here by then, and is refused.
      await this.flush({ timeout: Math.min(grace, 1000) }).catch(() => undefined);
      if (session.running > 0) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, Math.min(grace, 2 ** 31 - 1));
          this.#onIdle = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
    }
    await this.close();
  }

  get #why(): Fault {
    return this.#calls.over ?? new Fault("connection-lost", "there is no connection at the moment");
  }

  async #send(doing: string, method: string, args: readonly unknown[], named: CallOptions["named"], flags: number): Promise<void> {
    const endpoint = this.#endpoint;
    const { session } = endpoint;
    try {
      if (session.over) throw this.#why;
      if (session.draining) throw new Fault("refused", "the other end takes no more messages");
      if (session.full) throw new Fault("busy", "too many messages wait for the other end");
      endpoint.touch();
      const raw = named === undefined && args.length === 1 && args[0] instanceof Uint8Array;
      this.#calls.write(session.beginSend(nameBytes(method), flags | (raw ? RAW : 0) | (named === undefined ? 0 : NAMED)), args, named, endpoint);
      endpoint.settleFirst();
    } catch (error) {
      throw error instanceof Fault ? error.during(doing, this.address) : error;
    }
    if (!endpoint.congested) return;
    await endpoint.room();
    // What waited for its turn then was dropped, and nobody remembers which that was.
    if (session.over) throw this.#why.during(doing, this.address, "maybe");
  }

  /** Speaks over this link from now on. */
  #attach(link: Link): void {
    const calls = this.#calls;
    let answers: Answers;
    const endpoint = new Endpoint(link, this.#parsed, this.#made.client, this.#made.remote, {
      call: (call, bytes, from, to) => answers.call(call, bytes, from, to),
      send: (send, bytes, from, to) => answers.send(send, bytes, from, to),
      item: (call, flags, bytes, from, to, cost) => (call.ours ? calls : answers).item(call, flags, bytes, from, to, cost),
      end: (call) => answers.end(call),
      open: (call) => calls.open(call),
      reply: (call, flags, bytes, from, to) => calls.reply(call, flags, bytes, from, to),
      error: (call, fault, ran, failure) => calls.error(call, fault, ran, failure),
      cancelled: (call, fault) => answers.cancelled(call, fault),
      room: (call) => (call.ours ? calls : answers).room(call),
      flushed: (flush, fault) => (flush as Flush).end(fault),
      idle: () => this.#onIdle?.(),
      draining: () => {},
      ended: (fault) => this.#ended(fault),
    });
    answers = new Answers(this, endpoint, this.#made.service);
    this.#remote = link.remote;
    this.#endpoint = endpoint;
    this.#answers = answers;
    if (this.#made.service !== null) endpoint.hold();
    calls.resume(endpoint);
  }

  #reconnect(link: Link): void {
    this.#attach(link);
    if (this.#endpoint.session.over) return;
    this.#become("connected");
  }

  #ended(fault: Fault | null): void {
    this.#onIdle?.();
    if (this.#reconnecting !== null && !this.#left) {
      this.#become("reconnecting");
      this.#calls.endpoint = null;
      this.#reconnecting.begin();
      return;
    }
    this.#calls.end(!this.#left ? (fault ?? new Fault("connection-lost", "the peer closed")) : closedHere);
    this.#become("closed");
    this.#tellClosed(fault === null ? null : fault.during(`connected to ${this.address}`, this.address));
  }

  #become(state: State): void {
    this.#state = state;
    this.onState?.(state);
  }

  async #close(): Promise<void> {
    this.#left = true;
    this.#reconnecting?.stop();
    this.#calls.end(closedHere);
    const { session } = this.#endpoint;
    session.close(closedHere);
    if (this.#state !== "closed") this.#ended(null);
    await this.#endpoint.close();
  }
}
