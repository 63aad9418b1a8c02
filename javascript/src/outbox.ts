/** Outbox: messages on their way to the link. What one turn of the loop sends goes out in one write. */

import type { Link } from "./link/link.js";
import { allocate, nothing, smallCopy } from "./wire/bytes.js";
import { Fault } from "./wire/error.js";
import type { Encoder } from "./wire/framing/framing.js";
import { packetCost } from "./wire/packets.js";

const slabSize = 64 * 1024;

/** From this size on a message is handed to the system where it lies; below, copying it is cheaper than one more part of a write. */
const copyLimit = 16 * 1024;

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
    const { whole } = this.link;
    if (this.encoder !== null) {
      this.encoder.check(message);
      if (whole === undefined) return;
      const size = message.length > whole ? message.length : this.#frame(this.encoder, message).length;
      if (size > whole) {
        throw new Fault("too-large", `a message of ${size} bytes with its framing, and others who write there could get into more than ${whole}`);
      }
    } else if (message.length === 0 && this.link.packets?.empty === false) throw new Fault("unsupported", "an empty packet would read as the end of the connection");
  }

  /** Adds a message that `check` accepted; one of 16 KiB or more must not be changed until `link.pending` is 0. */
  push(message: Uint8Array): void {
    const { encoder } = this;
    if (encoder === null) return this.#pushWhole(message.length < copyLimit ? smallCopy(message) : message);
    if (this.link.whole !== undefined) return this.#pushWhole(this.#frame(encoder, message));
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

  #pushWhole(part: Uint8Array): void {
    this.#parts.push(part);
    this.queued += part.length + packetCost;
  }

  #frame(encoder: Encoder, message: Uint8Array): Uint8Array {
    const frame = allocate(encoder.overhead + message.length);
    const at = encoder.head(message.length, frame, 0);
    frame.set(message, at);
    return frame.subarray(0, encoder.tail(frame, at + message.length));
  }

  #cut(): void {
    if (this.#at > this.#from) this.#parts.push(this.#slab.subarray(this.#from, this.#at));
    this.#from = this.#at;
  }
}
