/** A connection as a user holds it: a session over a link. */

import { warn, type Bytes } from "#runtime";

import { Alarm } from "./alarm.js";
import { Answering } from "./answering.js";
import { awaited, waiterOf } from "./awaited.js";
import type { Link, Remote } from "./link/link.js";
import { Sender } from "./sender.js";
import { milliseconds } from "./timeout.js";
import type { Address } from "./wire/address.js";
import { Fault, PanpipeError, type Code } from "./wire/error.js";
import { Inbox } from "./wire/inbox.js";
import { PacketInbox } from "./wire/packets.js";
import { Session, type Message, type Waiter } from "./wire/session.js";

/** How long to wait, and who may stop it. */
export interface WaitOptions {
  /** Milliseconds; left out, `call` takes the `timeout` of the address and `recv` waits for ever. */
  timeout?: number | undefined;
  /** Aborting it ends the wait with the code `cancelled`. */
  signal?: AbortSignal | undefined;
}

/**
 * One connection to another process. Made by `connect`, `accept`, `pair` and for each connection of `serve`.
 *
 * It keeps the process alive only while something is awaited of it or is still to be written.
 */
export class Connection implements AsyncIterable<Message>, AsyncDisposable {
  /** The address that this connection was made with or accepted on. */
  readonly address: string;
  /** What is known of the other end. */
  readonly remote: Remote;

  readonly #session: Session;
  readonly #sender: Sender;
  readonly #link: Link;
  readonly #alarm: Alarm;
  readonly #timeout: number;
  // Made once, because every call says what it is doing.
  readonly #calling: string;
  readonly #replying: string;
  #answering: Answering | null = null;
  #paused = false;
  #held = false;
  #releaseScheduled = false;
  #closing: Promise<void> | null = null;

  /** Not for users: `connect` and its like make peers. */
  constructor(link: Link, address: Address, text: string) {
    const { packets } = link;
    const framing = packets === undefined ? address.plainFraming : null;
    const max = Math.min(address.max, packets?.largest ?? Infinity);
    this.address = text;
    this.remote = link.remote;
    this.#calling = `calling ${text}`;
    this.#replying = `replying on ${text}`;
    this.#timeout = address.timeout;
    this.#link = link;
    const inbox = framing === null ? new PacketInbox(max) : new Inbox(framing.decoder(max));
    this.#session = new Session(text, inbox, address.textMode, () => link.left, packets);
    this.#sender = new Sender(link, this.#session, framing?.encoder ?? null, max, () => this.#hold(), () => this.#release());
    this.#alarm = new Alarm((now) => this.#expire(now));
    link.start({
      onData: (chunk) => {
        if (link.batches === true) return this.#session.add(chunk);
        this.#session.receive(chunk);
        this.#afterInput();
      },
      onRead: () => {
        this.#session.proceed();
        this.#afterInput();
      },
      onEnd: (how) => {
        this.#session.finish(how);
        this.#afterInput();
      },
      onLost: (fault) => {
        this.#session.fail(fault.code, fault.text);
        this.#sender.end(fault);
        this.#afterInput();
      },
      onOutputLost: (fault) => {
        this.#session.failOutput(fault);
        this.#sender.end(fault);
        this.#afterInput();
      },
      onWritten: () => {
        this.#sender.wrote();
        this.#release();
      },
      onRefused: (fault) => {
        this.#session.refuse(fault);
        this.#afterInput();
      },
    });
  }

  /**
   * Sends a message and answers with the next message back, a `Buffer` or, with `text=true`, a string (`call<string>` in TypeScript).
   *
   * Do not change a `message` of 16 KiB or more before the reply is there: it is not copied.
   * Rejects with `deadline-exceeded`, `connection-lost`, `bad-peer`, `too-large`, `unsupported`, `busy` (65,536 calls wait), `cancelled`, `closed`, `io`.
   */
  call<M extends Message = Bytes>(message: Uint8Array | string, options?: WaitOptions): Promise<M>;
  call(message: Uint8Array | string, options?: WaitOptions): Promise<Message> {
    const timeout = milliseconds(options?.timeout, this.#timeout);
    const bytes = this.#sender.admit(this.#calling, message, options?.signal, true);
    if (bytes instanceof PanpipeError) return Promise.reject(bytes);
    const deadline = performance.now() + timeout;
    const promise = awaited() as Promise<Message>;
    const waiter = waiterOf(this.#calling, deadline, options?.signal, this.#abandon);
    if (this.#sender.callMustWait) this.#sender.queue(bytes, waiter, true);
    else this.#sender.call(bytes, waiter);
    this.#flow();
    this.#hold();
    this.#alarm.watch(deadline);
    return promise;
  }

  /**
   * Sends a message that nobody waits for; done once there is room for more, and `message` may be changed again.
   *
   * One that was cancelled with `ran` `maybe` is on its way, and one of 16 KiB or more must not be changed.
   * Rejects with `connection-lost`, `too-large`, `unsupported`, `busy` (65,536 messages wait for room), `cancelled`, `closed`, `io`.
   */
  send(message: Uint8Array | string, options?: { signal?: AbortSignal | undefined }): Promise<void> {
    const doing = `sending to ${this.address}`;
    const bytes = this.#sender.admit(doing, message, options?.signal, false);
    if (bytes instanceof PanpipeError) return Promise.reject(bytes);
    const { congested } = this.#sender;
    if (!congested && this.#sender.send(bytes)) return done;
    const promise = awaited() as Promise<unknown> as Promise<void>;
    const waiter = waiterOf(doing, Infinity, options?.signal, this.#abandon);
    if (congested) this.#sender.queue(bytes, waiter, false);
    else this.#sender.tellWhenWritten(waiter);
    return promise;
  }

  /**
   * The next message that answers no call, a `Buffer` or, with `text=true`, a string; `null` once the peer has closed between messages.
   *
   * Giving up loses nothing: what arrives later is for the next `recv`.
   * Rejects with `deadline-exceeded`, `connection-lost`, `bad-peer`, `too-large`, `cancelled`, `closed`, `io`.
   */
  recv<M extends Message = Bytes>(options?: WaitOptions): Promise<M | null>;
  recv(options?: WaitOptions): Promise<Message | null> {
    const doing = `receiving from ${this.address}`;
    const timeout = milliseconds(options?.timeout, Infinity);
    if (options?.signal?.aborted === true) {
      return Promise.reject(new PanpipeError("cancelled", doing, { address: this.address, text: "the caller gave up" }));
    }
    const { oneWay } = this.#link;
    if (oneWay?.way === "writes") return Promise.reject(new PanpipeError("unsupported", doing, { address: this.address, text: oneWay.why }));
    const deadline = performance.now() + timeout;
    const promise = awaited();
    const waiter = waiterOf(doing, deadline, options?.signal, this.#abandon);
    this.#session.recv(waiter);
    if (!waiter.settled) {
      this.#hold();
      this.#alarm.watch(deadline);
    }
    this.#afterInput();
    return promise;
  }

  /** The messages that answer no call, until the peer closes between messages. */
  [Symbol.asyncIterator](): AsyncIterator<Bytes> {
    return {
      next: async () => {
        const value = await this.recv();
        return value === null ? { done: true, value: undefined } : { done: false, value };
      },
      return: async () => ({ done: true, value: undefined }),
    };
  }

  /** Writes what was sent, then closes; calls that wait end with `closed`. Closing twice is closing once. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Not for users: gives each message to `handler`, one at a time, and sends what it returns. Made by `serve`. */
  answer(handler: (message: Message) => unknown): Answering {
    this.#hold();
    return (this.#answering = new Answering(
      {
        session: this.#session,
        reply: (value) => this.#reply(value),
        missed: (fault) => warn(fault.during(`receiving from ${this.address}`, this.address).message, "PanpipePeerWarning"),
        idle: () => {
          this.#sender.flush();
          this.#flow();
        },
      },
      handler,
    ));
  }

  #reply(value: unknown): Promise<void> | undefined {
    const bytes = this.#sender.admit(this.#replying, value, undefined, false);
    if (bytes instanceof PanpipeError) throw bytes;
    if (this.#sender.congested) return this.send(bytes);
    this.#sender.reply(bytes);
    return undefined;
  }

  readonly #abandon = (waiter: Waiter, code: Code, text: string): void => {
    if (!this.#sender.abandon(waiter, new Fault(code, text))) this.#session.abandon(waiter, code, text);
    this.#afterCall();
    this.#release();
  };

  #expire(now: number): number {
    this.#sender.expire(now);
    this.#session.expire(now);
    this.#afterCall();
    this.#release();
    return Math.min(this.#session.nextDeadline, this.#sender.nextDeadline);
  }

  /** Where messages stand for themselves, the next call goes out when the one before has ended, and what answers that one late must not answer this. */
  #afterCall(): void {
    if (!this.#session.alone) return;
    if (this.#session.takeStale()) this.#link.renew?.();
    this.#sender.proceed();
  }

  #afterInput(): void {
    this.#afterCall();
    this.#flow();
    const { failure } = this.#session;
    // Whoever answers still has replies to write; it closes when it is done.
    if (failure !== null && this.#closing === null && this.#answering === null) {
      this.#sender.stop(failure);
      void this.close();
    }
    this.#release();
  }

  /** Reads while there is room, and no longer. */
  #flow(): void {
    const wants = this.#session.wantsInput;
    if (wants !== this.#paused) return;
    this.#paused = !wants;
    if (wants) this.#link.resume();
    else this.#link.pause();
  }

  /** Keeps the process alive while something is awaited. */
  #hold(): void {
    if (this.#held) return;
    this.#held = true;
    this.#link.ref();
  }

  /** Lets the process end again, unless what just ended is followed by the next in the same turn. */
  #release(): void {
    if (!this.#held || this.#releaseScheduled || this.#busy) return;
    this.#releaseScheduled = true;
    void done.then(this.#releaseNow);
  }

  readonly #releaseNow = (): void => {
    this.#releaseScheduled = false;
    if (this.#busy || this.#closing !== null) return;
    this.#held = false;
    this.#link.unref();
  };

  get #busy(): boolean {
    return (this.#answering !== null && !this.#answering.over) || this.#session.waiting > 0 || this.#sender.busy;
  }

  async #close(): Promise<void> {
    this.#session.close();
    const fault = new Fault("closed", "this side closed the connection");
    this.#sender.stop(fault);
    this.#sender.flush();
    this.#alarm.clear();
    const written = await this.#link.close(this.#timeout);
    this.#sender.end(written ? null : fault);
  }
}

const done = Promise.resolve();
