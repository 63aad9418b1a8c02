/** Writer: bytes that are written one after the other into memory that grows. */

import { allocate, copyOf, nothing } from "../bytes.js";

/** Memory is taken in pieces of so many bytes. */
export const slabSize = 64 * 1024;

/** Memory with a place where the next byte goes. What stands before `start` is finished; what stands behind it moves along when there is no more room. */
export class Writer {
  bytes: Uint8Array = nothing;
  view: DataView = new DataView(nothing.buffer);
  /** Where what is being written began. */
  start = 0;
  /** Where the next byte goes. */
  at = 0;

  /** Makes room for so many more bytes. */
  ensure(size: number): void {
    if (this.at + size > this.bytes.length) this.#grow(size);
  }

  /** Adds bytes as they are. */
  append(bytes: Uint8Array): void {
    this.ensure(bytes.length);
    this.bytes.set(bytes, this.at);
    this.at += bytes.length;
  }

  /** A copy of what is being written, which is forgotten. */
  takeCopy(): Uint8Array {
    const copy = copyOf(this.bytes.subarray(this.start, this.at));
    this.at = this.start;
    return copy;
  }

  /** Called before the memory is left for another, up to where it is finished. */
  protected leave(): void {}

  /** Takes new memory, of at least so many bytes. */
  protected renew(size: number): void {
    this.bytes = allocate(Math.max(slabSize, size));
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length);
    this.start = this.at = 0;
  }

  #grow(size: number): void {
    const { bytes, start, at } = this;
    this.leave();
    const begun = at - start;
    // Doubled, so that a long message is moved a few times and not for each of its parts.
    this.renew(begun === 0 ? size : 2 * (begun + size));
    if (begun > 0) this.bytes.set(bytes.subarray(start, at));
    this.at = begun;
  }
}
