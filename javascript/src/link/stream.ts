/** A link over Node's streams: one socket, or one stream to read and another to write. */

import type { Duplex, Readable, Writable } from "node:stream";

import { Fault } from "../wire/error.js";
import type { HttpGuard } from "../wire/http.js";
import { classify } from "./classify.js";
import type { Link, LinkEvents, OneWay, Remote, Speaks } from "./link.js";
import { savedFrom } from "./saved.js";

/** After our end the peer may take this many milliseconds for its own; closing earlier could destroy what it has not yet read. */
const linger = 2000;

/** A stream that may keep this process alive. */
export type Held = { ref?: () => void; unref?: () => void };

/** What a stream link may be given beside its streams. */
export interface StreamOptions {
  remote: Remote;
  /** Looks at the first bytes that arrive. */
  guard?: HttpGuard;
  oneWay?: OneWay | undefined;
  /** Each part of a write is a whole frame, of at most so many bytes. */
  whole?: number | undefined;
  /** Closes what `end` alone leaves open, as with a process's own stdout. */
  afterEnd?: () => void;
  /** What was read of `input` already. */
  first?: Uint8Array | undefined;
  /** What the other end was found to speak. */
  speaks?: Speaks | undefined;
  /** The secret to say hello with. */
  token?: string | null | undefined;
}

/** Moves bytes over `input` and `output`, which may be the same socket. */
export class StreamLink implements Link {
  readonly remote: Remote;
  readonly oneWay: OneWay | undefined;
  readonly whole: number | undefined;
  readonly speaks: Speaks | undefined;
  readonly token: string | null;
  #paused = false;
  #events: LinkEvents | null = null;
  #over = false;
  // Whether something was not taken by the system at once.
  #waits = false;
  // A write has failed, and Node will say so in the next tick.
  #failing = false;
  // What broke it before anybody had started it.
  #broken: Fault | null = null;
  #handed = 0;
  #begun = 0;
  #closing: Promise<boolean> | null = null;

  constructor(
    readonly input: Readable,
    readonly output: Writable,
    readonly options: StreamOptions,
  ) {
    this.remote = options.remote;
    this.oneWay = options.oneWay;
    this.whole = options.whole;
    this.speaks = options.speaks;
    this.token = options.token ?? null;
    input.on("error", (error) => {
      this.#failing = false;
      this.#lose(classify(error));
    });
    if ((output as unknown) === input) return;
    output.on("error", (error) => {
      this.#failing = false;
      this.#events?.onOutputLost(classify(error));
    });
  }

  get pending(): number {
    // Whoever sends without end lets no tick come, so that it must wait for this one.
    return this.#failing ? Infinity : this.output.writableLength;
  }

  get left(): number {
    return this.output.destroyed ? this.#begun : Infinity;
  }

  start(events: LinkEvents): void {
    this.#events = events;
    // A connection that waited to be accepted may have been reset meanwhile.
    if (this.input.destroyed) process.nextTick(() => this.#lose(this.#broken ?? new Fault("connection-lost", "the link was closed")));
    const { guard, first } = this.options;
    const read = guard === undefined ? (chunk: Uint8Array) => this.#events?.onData(chunk) : (chunk: Uint8Array) => this.#guarded(guard, chunk);
    if (first === undefined) this.#read(read);
    else {
      // Whoever starts a link is not told of anything before that is done.
      process.nextTick(() => {
        if (first.length > 0) read(first);
        if (this.#events !== null) this.#read(read);
      });
    }
    this.unref();
  }

  #read(read: (chunk: Uint8Array) => void): void {
    const { input } = this;
    const end = () => {
      this.#over = true;
      this.#events?.onEnd();
    };
    input.on("data", read);
    if (input.readableEnded) end();
    else input.on("end", end);
    input.on("close", () => this.#lose(new Fault("connection-lost", "the link was closed")));
    // Who read the first bytes has paused it.
    if (!this.#paused) input.resume();
  }

  write(parts: readonly Uint8Array[]): void {
    if (this.output.writableEnded || this.output.destroyed) return;
    const atOnce = this.output.writableLength === 0;
    if (parts.length > 1) this.output.cork();
    for (const part of parts) {
      this.#handed += part.length;
      this.output.write(part, this.#written);
    }
    if (parts.length > 1) this.output.uncork();
    if (this.output.writableLength > 0) this.#waits = true;
    if (this.output.errored) {
      this.#failing = true;
      this.#save();
    } else if (atOnce) this.#begun = this.#handed;
  }

  pause(): void {
    this.#paused = true;
    this.input.pause();
  }

  resume(): void {
    this.#paused = false;
    this.input.resume();
  }

  ref(): void {
    (this.input as Held).ref?.();
    if ((this.output as unknown) !== this.input) (this.output as Held).ref?.();
  }

  unref(): void {
    (this.input as Held).unref?.();
    if ((this.output as unknown) !== this.input) (this.output as Held).unref?.();
  }

  close(timeout: number): Promise<boolean> {
    return (this.#closing ??= this.#close(timeout));
  }

  destroy(): void {
    this.#events = null;
    this.input.destroy();
    this.output.destroy();
  }

  // One function for every write, which Node then calls once for many.
  readonly #written = (error?: Error | null): void => {
    if (error !== undefined && error !== null) return;
    // The next write, of all that had gathered, has begun.
    this.#begun = this.#handed;
    if (!this.#waits) return;
    if (this.output.writableLength === 0) this.#waits = false;
    this.#events?.onWritten();
  };

  #save(): void {
    if ((this.output as unknown) !== this.input) return;
    const chunks = savedFrom(this.input as Duplex);
    // Before the error is told, and not within the turn of whoever writes.
    process.nextTick(() => chunks.forEach((chunk) => this.input.emit("data", chunk)));
  }

  #guarded(guard: HttpGuard, chunk: Uint8Array): void {
    if (this.#over) return;
    if (guard.saw(chunk)) this.#lose(new Fault("bad-peer", "the peer speaks HTTP, and this is no HTTP server"));
    else this.#events?.onData(chunk);
  }

  #lose(fault: Fault): void {
    if (this.#over && fault.text === "the link was closed") return;
    if (this.#events === null) this.#broken ??= fault;
    else this.#over = true;
    this.#events?.onLost(fault);
  }

  async #close(timeout: number): Promise<boolean> {
    this.#events = null;
    this.ref();
    // What still comes is dropped: unread input would turn our end into a reset, which destroys what we sent.
    this.input.on("data", () => {});
    this.input.resume();
    const written = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => {
        this.destroy();
        resolve(false);
      }, Math.min(timeout, 2 ** 31 - 1));
      const finished = () => {
        clearTimeout(timer);
        resolve(this.output.writableFinished);
      };
      if (this.output.destroyed || this.output.writableFinished) return finished();
      this.output.once("close", finished);
      this.output.end(finished);
    });
    this.options.afterEnd?.();
    this.unref();
    const timer = setTimeout(() => this.destroy(), linger).unref();
    this.input.once("close", () => clearTimeout(timer));
    this.input.once("end", () => this.destroy());
    if (this.input.readableEnded || this.input.destroyed) this.destroy();
    return written;
  }
}
