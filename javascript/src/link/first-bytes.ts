/** First bytes: what a stream begins with, read until it tells something. What follows stays in the stream. */

import type { Duplex } from "node:stream";

import { Fault } from "../wire/error.js";

/** Reads the first bytes of one stream. It is paused whenever nobody waits. */
export class FirstBytes {
  /** What was read, and nobody has taken. */
  bytes: Buffer = Buffer.alloc(0);
  /** Whether nothing follows. */
  ended = false;

  constructor(readonly stream: Duplex) {}

  /**
   * What `judge` answers, asked again as more bytes come, until that is not null. `signal` aborts with a `Fault`.
   *
   * Rejects with what `judge` throws, with the reason of `signal`, or with a `Fault` when the stream ends or breaks and `judge` still answers null.
   */
  until<T>(judge: (bytes: Buffer, ended: boolean) => T | null, signal: AbortSignal): Promise<T> {
    const { stream } = this;
    return new Promise((resolve, reject) => {
      const settle = (act: () => void) => {
        stream.pause();
        stream.off("data", more).off("end", end).off("close", broken).off("error", broken);
        signal.removeEventListener("abort", abort);
        act();
      };
      const ask = (): boolean => {
        try {
          const answer = judge(this.bytes, this.ended);
          if (answer !== null) settle(() => resolve(answer));
          return answer !== null;
        } catch (error) {
          settle(() => reject(error));
          return true;
        }
      };
      const more = (chunk: Buffer) => {
        this.bytes = this.bytes.length === 0 ? chunk : Buffer.concat([this.bytes, chunk]);
        ask();
      };
      const end = () => {
        this.ended = true;
        if (!ask()) broken();
      };
      const broken = () => settle(() => reject(new Fault("connection-lost", "the other end left before it had said what it wants")));
      const abort = () => settle(() => reject(signal.reason));
      if (signal.aborted) return reject(signal.reason);
      if ((this.bytes.length > 0 || this.ended) && ask()) return;
      if (this.ended || stream.destroyed) return broken();
      signal.addEventListener("abort", abort);
      stream.on("data", more).on("end", end).on("close", broken).on("error", broken);
      stream.resume();
    });
  }
}
