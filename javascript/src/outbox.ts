/** Outbox: messages on their way to the link. What one turn of the loop sends goes out in one write. */

import type { Link } from "./link/link.js";
import { allocate, nothing } from "./wire/bytes.js";
import { Fault } from "./wire/error.js";
import type { Encoder } from "./wire/framing/framing.js";

const slabSize = 64 * 1024;

/** From this size on a message is handed to the system where it lies; below, copying it is cheaper than one more part of a write. */
const copyLimit = 16 * 1024;

/** What a packet costs beside its bytes, so that many small ones count. */
const packetCost = 64;

/** Encodes messages and writes them together. */
export class Outbox {
  /** Bytes that are encoded and not yet handed to the link. */
  queued = 0;
  /** Bytes that were ever handed to the link. */
  handed = 0;
  // Made when the first message is sent: many connections only listen.
  #slab: Uint8Array = nothing;
  // What is encoded in the slab and in no part: #slab[#from..#at].
  #from = 0;
  #at = 0;
  #parts: Uint8Array[] = [];

  constructor(
    readonly link: Link,
    /** Null where the link moves packets. */
    readonly encoder: Encoder | null,
    readonly max: number,
  ) {}

  /** Throws a `Fault` for a message that cannot be sent. */
  check(message: Uint8Array): void {
    if (message.length > this.max) throw new Fault("too-large", `a message of ${message.length} bytes, and max is ${this.max}`);
    if (this.encoder !== null) this.encoder.check(message);
    else if (message.length === 0 && this.link.packets?.empty === false) throw new Fault("unsupported", "an empty packet would read as the end of the connection");
  }

  /** Adds a message that `check` accepted; one of 16 KiB or more must not be changed until `link.pending` is 0. */
  push(message: Uint8Array): void {
    const { encoder } = this;
    if (encoder === null) return this.#pushPacket(message);
    const size = message.length;
    const byCopy = size < copyLimit;
    const room = encoder.overhead + (byCopy ? size : 0);
    if (this.#at + room > this.#slab.length) {
      this.#cut();
      this.#slab = allocate(slabSize);
      this.#from = this.#at = 0;
    }
    const before = this.#at;
    this.#at = encoder.head(size, this.#slab, before);
    if (byCopy) {
      this.#slab.set(message, this.#at);
      this.#at = encoder.tail(this.#slab, this.#at + size);
      this.queued += this.#at - before;
      return;
    }
    this.#cut();
    this.#parts.push(message);
    const after = this.#at;
    this.#at = encoder.tail(this.#slab, after);
    this.queued += size + this.#at - before;
  }

  /** Hands everything to the link. */
  flush(): void {
    if (this.queued === 0) return;
    this.#cut();
    const parts = this.#parts;
    this.#parts = [];
    this.handed += this.queued;
    this.queued = 0;
    this.link.write(parts);
    // Taken by the system already, as nearly always: the slab is free again. Otherwise it is used up to its end and then left to its writes.
    if (this.link.pending === 0) this.#from = this.#at = 0;
  }

  #pushPacket(message: Uint8Array): void {
    this.#parts.push(message.length < copyLimit ? Buffer.from(message) : message);
    this.queued += message.length + packetCost;
  }

  #cut(): void {
    if (this.#at > this.#from) this.#parts.push(this.#slab.subarray(this.#from, this.#at));
    this.#from = this.#at;
  }
}
