/** What links of datagrams share: a mailbox on the way in, and each packet told of on the way out. */

import type { Packets } from "../wire/packets.js";
import { classify } from "./classify.js";
import type { Link, LinkEvents, Remote } from "./link.js";
import type { Mailbox } from "./mailbox.js";

/** A link of datagrams; whoever extends it sends them and closes. */
export abstract class DatagramLink implements Link {
  /** Any of them may have arrived. */
  readonly left = Infinity;
  pending = 0;
  protected closed = false;
  protected events: LinkEvents | null = null;
  #onEmpty: (() => void) | null = null;

  constructor(
    readonly remote: Remote,
    readonly packets: Packets,
    readonly mailbox: Mailbox,
  ) {}

  /** Sends one; `sent` follows for each. */
  protected abstract send(packet: Uint8Array): void;
  /** Gives up what this link holds of the system. */
  protected abstract release(): void;
  abstract ref(): void;
  abstract unref(): void;

  start(events: LinkEvents): void {
    this.events = events;
    this.mailbox.start(events);
  }

  write(parts: readonly Uint8Array[]): void {
    if (this.closed) return;
    for (const packet of parts) {
      this.pending += packet.length;
      this.send(packet);
    }
  }

  pause(): void {
    this.mailbox.pause();
  }

  resume(): void {
    this.mailbox.resume();
  }

  async close(timeout: number): Promise<boolean> {
    this.events = null;
    if (this.pending > 0) {
      this.ref();
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(timeout, 2 ** 31 - 1));
        this.#onEmpty = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.destroy();
    return this.pending === 0;
  }

  destroy(): void {
    if (this.closed) return;
    this.events = null;
    this.closed = true;
    this.mailbox.close();
    this.release();
  }

  /** The system has taken a datagram, or told why not. */
  protected sent(packet: Uint8Array, error: Error | null): void {
    this.pending -= packet.length;
    if (error !== null) this.events?.onRefused(classify(error));
    this.events?.onWritten();
    if (this.pending === 0) this.#onEmpty?.();
  }
}
