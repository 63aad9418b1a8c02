/** Outbox: frames on their way to the link, written one behind the other into shared memory. */

import { nothing } from "../bytes.js";
import { headSize } from "./frame.js";
import { Writer, slabSize } from "./writer.js";

/** So many pieces of memory wait for whoever writes next. */
const mostSpare = 16;

// What is written is nearly always taken by the system at once, so that few sessions at a time need memory for it, however many there are.
const spare: Piece[] = [];
const noView = new DataView(nothing.buffer);

interface Piece {
  bytes: Uint8Array;
  view: DataView;
}

/** Frames that are whole stand before `start`; the one that is being written, behind it. */
export class Outbox extends Writer {
  /** Bytes of whole frames that were not taken. */
  queued = 0;
  /** Bytes of whole frames ever. */
  total = 0;
  // Where what is in no part begins.
  #from = 0;
  #parts: Uint8Array[] = [];
  // The memory, where it is such as others may have next.
  #piece: Piece | null = null;
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
    const piece = this.#piece;
    if (piece !== null && !this.#kept && spare.length < mostSpare) spare.push(piece);
    this.#piece = null;
    this.bytes = nothing;
    this.view = noView;
    this.#kept = false;
    this.#from = this.start = this.at = 0;
  }

  protected override leave(): void {
    if (this.start > this.#from) this.#parts.push(this.bytes.subarray(this.#from, this.start));
    this.#from = this.start;
  }

  protected override renew(size: number): void {
    this.#piece = (size <= slabSize && spare.pop()) || null;
    if (this.#piece === null) {
      super.renew(size);
      if (size <= slabSize) this.#piece = { bytes: this.bytes, view: this.view };
    } else {
      this.bytes = this.#piece.bytes;
      this.view = this.#piece.view;
      this.start = this.at = 0;
    }
    this.#from = 0;
    this.#kept = false;
  }
}
