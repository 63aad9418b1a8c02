/** First bytes: what a stream begins with, read until it tells something. What follows stays in the stream. */

import type { Duplex } from "node:stream";

import { Fault } from "../wire/error.js";
import { classify } from "./classify.js";

/** Ends whatever waits for somebody who has just come, or is just connected to. Much less than an `AbortSignal`, of which there would be one for each connection. */
export class Patience {
  /** Why it is over. */
  reason: Fault | null = null;
  /** What is to be told so. */
  onEnd: ((reason: Fault) => void) | null = null;

  /** Ends it. */
  end(reason: Fault): void {
    this.reason ??= reason;
    this.onEnd?.(this.reason);
  }
}

/** What is taken for an answer when none has come for so many milliseconds, or patience is over. */
export interface Silence<T> {
  after: number;
  answer: T;
}

/** Reads the first bytes of one stream. It is paused whenever nobody waits. */
export class FirstBytes {
  /** What was read, and nobody has taken. */
  bytes: Buffer = Buffer.alloc(0);
  /** Whether nothing follows. */
  ended = false;

  constructor(readonly stream: Duplex) {}

  /**
   * What `judge` answers, asked again as more bytes come, until that is not null.
   *
   * Rejects with what `judge` throws, with the reason of `patience`, or with a `Fault` when the stream ends or breaks and `judge` still answers null.
   */
  until<T>(judge: (bytes: Buffer, ended: boolean) => T | null, patience: Patience, silence: Silence<T> | null = null): Promise<T> {
    const { stream } = this;
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      const settle = (act: () => void) => {
        clearTimeout(timer);
        patience.onEnd = null;
        stream.pause();
        stream.off("data", more).off("end", end).off("close", broken).off("error", failed);
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
      const failed = (error: Error) => settle(() => reject(classify(error)));
      if (patience.reason !== null) return reject(patience.reason);
      if ((this.bytes.length > 0 || this.ended) && ask()) return;
      if (this.ended || stream.destroyed) return broken();
      patience.onEnd = (reason) => settle(() => (silence === null ? reject(reason) : resolve(silence.answer)));
      if (silence !== null) timer = setTimeout(() => settle(() => resolve(silence.answer)), silence.after).unref();
      stream.on("data", more).on("end", end).on("close", broken).on("error", failed);
      stream.resume();
    });
  }
}
