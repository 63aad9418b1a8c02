/** Mailboxes: datagrams that have arrived and that nobody has asked for yet. Their system has no way to wait with them. */

import type { Fault } from "../wire/error.js";
import { Fifo } from "../wire/fifo.js";
import type { LinkEvents } from "./link.js";

/** What may wait in one mailbox and in all of a socket, in bytes, each message counted with what it costs beside them. */
const mostOfOne = 256 * 1024;
const mostOfAll = 16 * 1024 * 1024;
const messageCost = 64;

/** The room that the mailboxes of one socket share. What finds none is dropped, and a warning says so once. */
export class Room {
  #taken = 0;
  #warned = false;

  constructor(readonly text: string) {}

  /** Takes so much for a mailbox that holds `already`, or answers that there is no room. */
  take(size: number, already: number): boolean {
    if (already > 0 && (already + size > mostOfOne || this.#taken + size > mostOfAll)) {
      if (!this.#warned) process.emitWarning(`receiving on ${this.text}: busy: datagrams that nobody takes are dropped`, "PanpipeDroppedWarning");
      this.#warned = true;
      return false;
    }
    this.#taken += size;
    return true;
  }

  /** Gives back what was taken. */
  give(size: number): void {
    this.#taken -= size;
  }
}

/** What came from one sender. */
export class Mailbox {
  #events: LinkEvents | null = null;
  readonly #packets = new Fifo<Buffer>();
  #size = 0;
  #paused = false;
  #lost: Fault | null = null;

  constructor(readonly room: Room) {}

  /** Hands over what came and comes. */
  start(events: LinkEvents): void {
    this.#events = events;
    process.nextTick(() => this.#deliver());
  }

  /** Takes a datagram in, or drops it. */
  push(packet: Buffer): void {
    const size = packet.length + messageCost;
    if (!this.room.take(size, this.#size)) return;
    this.#size += size;
    this.#packets.push(packet);
    this.#deliver();
  }

  /** Nothing more will come. */
  lose(fault: Fault): void {
    this.#lost = fault;
    this.#deliver();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    process.nextTick(() => this.#deliver());
  }

  /** Drops what is there and tells nothing any more. */
  close(): void {
    this.#events = null;
    this.room.give(this.#size);
    this.#size = 0;
    this.#packets.removeAll(() => true);
  }

  #deliver(): void {
    while (!this.#paused && this.#events !== null && this.#packets.size > 0) {
      const packet = this.#packets.shift()!;
      this.#size -= packet.length + messageCost;
      this.room.give(packet.length + messageCost);
      this.#events.onData(packet);
    }
    if (this.#lost === null || this.#events === null || this.#packets.size > 0) return;
    const events = this.#events;
    this.#events = null;
    events.onLost(this.#lost);
  }
}
