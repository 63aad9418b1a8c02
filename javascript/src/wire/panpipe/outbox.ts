/** Outbox: frames on their way to the link, written one behind the other into shared memory. */

import { nothing } from "../bytes.js";
import { headSize } from "./frame.js";
import { Writer } from "./writer.js";

/** What a long message has grown beyond this is given back once it is written. */
const keptAtMost = 1024 * 1024;

/** Frames that are whole stand before `start`; the one that is being written, behind it. */
export class Outbox extends Writer {
  /** Bytes of whole frames that were not taken. */
  queued = 0;
  /** Bytes of whole frames ever. */
  total = 0;
  // Where what is in no part begins.
  #from = 0;
  #parts: Uint8Array[] = [];
  // Whether the memory is read by somebody after the link has written it.
  #kept = false;

  constructor(
    /** Whether each frame is a part of its own, as a packet must be. */
    readonly packets: boolean,
  ) {
    super();
  }

  /** Begins a frame. */
  begin(kind: number, flags: number, name: number, id: number): void {
    this.ensure(headSize);
    const { view, at } = this;
    view.setUint32(at + 4, kind * 0x100_0000 + flags * 0x1_0000 + name);
    view.setUint32(at + 8, Math.floor(id / 0x1_0000_0000));
    view.setUint32(at + 12, id >>> 0);
    this.at = at + headSize;
  }

  /** Ends the frame that was begun; `behind` is the rest of its body, which is sent from where it lies. */
  end(behind: Uint8Array = nothing): void {
    if (behind.length > 0 && this.packets) this.append(behind);
    const size = this.at - this.start;
    const beyond = this.packets ? 0 : behind.length;
    this.view.setUint32(this.start, size - headSize + beyond);
    this.queued += size + beyond;
    this.total += size + beyond;
    this.start = this.at;
    if (this.packets || beyond > 0) this.leave();
    if (beyond > 0) this.#parts.push(behind);
  }

  /** Adds frames that are whole. */
  add(frames: Uint8Array): void {
    this.append(frames);
    this.queued += frames.length;
    this.total += frames.length;
    this.start = this.at;
    if (this.packets) this.leave();
  }

  /** Forgets the frame that was begun. */
  abandon(): void {
    this.at = this.start;
  }

  /** Forgets the frame that was begun, and gives what stands from `from` on, which stays as it is. */
  keep(from: number): Uint8Array {
    const { bytes, at } = this;
    this.leave();
    this.#kept = true;
    this.#from = this.start = at;
    return bytes.subarray(from, at);
  }

  /** All that is to be written, in parts; they must not be changed. */
  take(): Uint8Array[] {
    this.leave();
    const parts = this.#parts;
    this.#parts = [];
    this.queued = 0;
    return parts;
  }

  /** All that was taken is written, and its memory free again. */
  recycle(): void {
    if (this.queued > 0 || this.at > this.start) return;
    if (this.#kept || this.bytes.length > keptAtMost) this.bytes = nothing;
    this.#kept = false;
    this.#from = this.start = this.at = 0;
  }

  protected override leave(): void {
    if (this.start > this.#from) this.#parts.push(this.bytes.subarray(this.#from, this.start));
    this.#from = this.start;
  }

  protected override renew(size: number): void {
    super.renew(size);
    this.#from = 0;
    this.#kept = false;
  }
}
