/** Writes that others who write to the same pipe cannot get into. */

import net from "node:net";
import { Writable } from "node:stream";

/** A write of so many bytes is taken whole or not at all (pipe(7), PIPE_BUF on Linux). */
export const whole = 4096;

/** A stream whose every chunk is at most `whole` bytes and goes out in one piece, together with others as far as they fit. */
export class WholeWrites extends Writable {
  readonly #pipe: net.Socket;

  constructor(fd: number) {
    super({ highWaterMark: 64 * 1024 });
    this.#pipe = new net.Socket({ fd, readable: false, writable: true });
    this.#pipe.on("error", (error) => this.destroy(error));
  }

  ref(): void {
    this.#pipe.ref();
  }

  unref(): void {
    this.#pipe.unref();
  }

  override _write(chunk: Uint8Array, _: BufferEncoding, done: (error?: Error | null) => void): void {
    this._writev([{ chunk }], done);
  }

  override _writev(chunks: readonly { chunk: Uint8Array }[], done: (error?: Error | null) => void): void {
    const next = (from: number): void => {
      if (from === chunks.length) return done();
      let size = 0;
      let to = from;
      while (to < chunks.length && (to === from || size + chunks[to]!.chunk.length <= whole)) size += chunks[to++]!.chunk.length;
      const piece = to === from + 1 ? chunks[from]!.chunk : Buffer.concat(chunks.slice(from, to).map(({ chunk }) => chunk), size);
      // One at a time: what waits in a socket is joined with what follows.
      this.#pipe.write(piece, (error) => (error ? done(error) : next(to)));
    };
    next(0);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (this.#pipe.destroyed) return done(error);
    this.#pipe.once("close", () => done(error));
    this.#pipe.destroy();
  }
}
