/** Packets: what has arrived on a link that keeps boundaries and is not yet taken. */

import { Fault } from "./error.js";
import { Fifo } from "./fifo.js";
import { tooLarge } from "./framing/only.js";

/** What a packet costs beside its bytes, so that many empty ones are not free. */
export const packetCost = 64;

/** What is special about a link that moves packets, each of which is a message. */
export interface Packets {
  /** Size of the largest, in bytes. */
  readonly largest: number;
  /** Whether an empty one is a message. */
  readonly empty: boolean;
  /** Whether each stands for itself: then no order says which reply is whose, and one call at a time is on its way. */
  readonly alone: boolean;
  /** Whether one may get lost. */
  readonly lossy: boolean;
  /** Whether many may answer one message. */
  readonly many: boolean;
}

/** Keeps packets as they are; one above `max` is an error of that message alone. */
export class PacketInbox {
  /** How many bytes wait, with what each costs. */
  size = 0;
  readonly #packets = new Fifo<Uint8Array>();

  constructor(readonly max: number) {}

  /** Adds what has arrived: one packet. */
  push(packet: Uint8Array): void {
    this.size += packet.length + packetCost;
    this.#packets.push(packet);
  }

  /** The next one, the fault that it is, or null. */
  next(): Uint8Array | Fault | null {
    const packet = this.#packets.shift();
    if (packet === undefined) return null;
    this.size -= packet.length + packetCost;
    return packet.length > this.max ? tooLarge(this.max, packet.length) : packet;
  }

  /** Drops everything. */
  clear(): void {
    this.#packets.removeAll(() => true);
    this.size = 0;
  }
}
