/** A link over Node's streams: one socket, or one stream to read and another to write. */

import type { Readable, Writable } from "node:stream";

import { Fault } from "../wire/error.js";
import type { HttpGuard } from "../wire/http.js";
import { classify } from "./classify.js";
import type { Link, LinkEvents, Remote } from "./link.js";

/** After our end the peer may take this many milliseconds for its own; closing earlier could destroy what it has not yet read. */
const linger = 2000;

/** A stream that may keep this process alive. */
type Held = { ref?: () => void; unref?: () => void };

/** What a stream link may be given beside its streams. */
export interface StreamOptions {
  remote: Remote;
  /** Looks at the first bytes that arrive. */
  guard?: HttpGuard;
  /** Closes what `end` alone leaves open, as with a process's own stdout. */
  afterEnd?: () => void;
}

/** Moves bytes over `input` and `output`, which may be the same socket. */
export class StreamLink implements Link {
  readonly remote: Remote;
  #events: LinkEvents | null = null;
  #over = false;
  #closing: Promise<void> | null = null;

  constructor(
    readonly input: Readable,
    readonly output: Writable,
    readonly options: StreamOptions,
  ) {
    this.remote = options.remote;
    const lost = (error: Error) => this.#lose(classify(error));
    input.on("error", lost);
    if ((output as unknown) !== input) output.on("error", lost);
  }

  get pending(): number {
    return this.output.writableLength;
  }

  start(events: LinkEvents): void {
    this.#events = events;
    const { guard } = this.options;
    this.input.on("data", guard === undefined ? (chunk: Uint8Array) => this.#events?.onData(chunk) : (chunk: Uint8Array) => this.#guarded(guard, chunk));
    this.input.on("end", () => {
      this.#over = true;
      this.#events?.onEnd();
    });
    this.input.on("close", () => this.#lose(new Fault("connection-lost", "the link was closed")));
    this.unref();
  }

  write(parts: readonly Uint8Array[]): void {
    if (this.output.writableEnded || this.output.destroyed) return;
    if (parts.length === 1) {
      this.output.write(parts[0], this.#written);
      return;
    }
    this.output.cork();
    for (const part of parts) this.output.write(part, this.#written);
    this.output.uncork();
  }

  pause(): void {
    this.input.pause();
  }

  resume(): void {
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

  close(timeout: number): Promise<void> {
    return (this.#closing ??= this.#close(timeout));
  }

  destroy(): void {
    this.#events = null;
    this.input.destroy();
    this.output.destroy();
  }

  // One function for every write, which Node then calls once for many.
  readonly #written = (error?: Error | null): void => {
    if (error === undefined || error === null) this.#events?.onWritten();
  };

  #guarded(guard: HttpGuard, chunk: Uint8Array): void {
    if (guard.saw(chunk)) this.#lose(new Fault("bad-peer", "the peer speaks HTTP, and this is no HTTP server"));
    else this.#events?.onData(chunk);
  }

  #lose(fault: Fault): void {
    if (this.#over && fault.text === "the link was closed") return;
    this.#over = true;
    this.#events?.onLost(fault);
  }

  async #close(timeout: number): Promise<void> {
    this.#events = null;
    this.ref();
    // What still comes is dropped: unread input would turn our end into a reset, which destroys what we sent.
    this.input.on("data", () => {});
    this.input.resume();
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        this.destroy();
        resolve();
      }, Math.min(timeout, 2 ** 31 - 1));
      const finished = () => {
        clearTimeout(timer);
        resolve();
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
  }
}
