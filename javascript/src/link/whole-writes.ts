/** Writes that others who write to the same pipe cannot get into. */

import net from "node:net";
import { Writable } from "node:stream";

/** A write of so many bytes is taken whole or not at all (pipe(7), PIPE_BUF on Linux). */
export const whole = 4096;

/** How often to try to open what nobody reads yet, in milliseconds. */
const pollEvery = 5;

/** A stream whose every chunk is at most `whole` bytes and goes out in one piece, together with others as far as they fit. */
export class WholeWrites extends Writable {
  #pipe: net.Socket | null = null;
  #held = true;
  #timer: NodeJS.Timeout | null = null;

  /** `fd` is open, or answers null while it cannot be. */
  constructor(readonly fd: number | (() => number | null)) {
    super({ highWaterMark: 64 * 1024 });
    if (typeof fd === "number") this.#use(fd);
  }

  ref(): void {
    this.#held = true;
    this.#pipe?.ref();
    this.#timer?.ref();
  }

  unref(): void {
    this.#held = false;
    this.#pipe?.unref();
    this.#timer?.unref();
  }

  override _write(chunk: Uint8Array, _: BufferEncoding, done: (error?: Error | null) => void): void {
    this._writev([{ chunk }], done);
  }

  override _writev(chunks: readonly { chunk: Uint8Array }[], done: (error?: Error | null) => void): void {
    const pipe = this.#pipe;
    if (pipe === null) return this.#open(() => this._writev(chunks, done), done);
    const next = (from: number): void => {
      if (from === chunks.length) return done();
      let size = 0;
      let to = from;
      while (to < chunks.length && (to === from || size + chunks[to]!.chunk.length <= whole)) size += chunks[to++]!.chunk.length;
      const piece = to === from + 1 ? chunks[from]!.chunk : Buffer.concat(chunks.slice(from, to).map(({ chunk }) => chunk), size);
      // One at a time: what waits in a socket is joined with what follows.
      pipe.write(piece, (error) => (error ? done(error) : next(to)));
    };
    next(0);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    const pipe = this.#pipe;
    if (pipe === null || pipe.destroyed) return done(error);
    pipe.once("close", () => done(error));
    pipe.destroy();
  }

  #use(fd: number): void {
    const pipe = new net.Socket({ fd, readable: false, writable: true });
    this.#pipe = pipe;
    if (!this.#held) pipe.unref();
    pipe.on("error", (error) => this.destroy(error));
  }

  #open(then: () => void, fail: (error: Error) => void): void {
    try {
      const fd = (this.fd as () => number | null)();
      if (fd !== null) {
        this.#use(fd);
        return then();
      }
    } catch (error) {
      return fail(error as Error);
    }
    this.#timer = setTimeout(() => this.#open(then, fail), pollEvery);
    if (!this.#held) this.#timer.unref();
  }
}
