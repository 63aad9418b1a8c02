/** What every framing is made of: how a message is put on a byte link, and how it is found there again. */

/** A framing as data: for errors, tables and the choice of one. */
export interface FramingInfo {
  /** Its name in an address. */
  name: string;
  /** How a message looks on the wire. */
  wire: string;
  /** Whether the reader gets the messages that the writer sent, not parts of them. */
  keepsBoundaries: boolean;
  /** When to take it. */
  goodFor: string;
  /** What a message may not be or hold; empty when anything goes. */
  cannotCarry: string;
}

/** Puts messages on a link: what stands before a message and after it. */
export interface Encoder {
  /** At most this many bytes stand around a message. */
  readonly overhead: number;
  /** Throws a `Fault` for a message that this framing cannot carry. */
  check(message: Uint8Array): void;
  /** Writes what stands before a message of `size` bytes at `out[at]`; answers where it ends. */
  head(size: number, out: Uint8Array, at: number): number;
  /** Writes what stands after a message at `out[at]`; answers where it ends. */
  tail(out: Uint8Array, at: number): number;
}

/**
 * Finds messages on a link, one after the other.
 *
 * The caller keeps the bytes and shows all that are unread. `scan` answers through fields instead of an object,
 * because it runs once a message; it remembers how far it looked, so that bytes which come one by one cost no more than all at once.
 */
export interface Decoder {
  /** After `scan` answered true: the message is `bytes[from..to]` and the next one starts at `next`. */
  from: number;
  to: number;
  next: number;
  /** After `scan` answered false: how many bytes from `start` the message takes, or 0 while that is not known. */
  need: number;
  /** Looks for a message that starts at `bytes[start]`; throws a `Fault` when there can be none. */
  scan(bytes: Uint8Array, start: number): boolean;
}

/** A framing, chosen in full. */
export interface Framing {
  info: FramingInfo;
  /** Its name with every variant spelt out, as in `length:u32be`. */
  name: string;
  encoder: Encoder;
  /** A decoder for messages of at most `max` bytes. */
  decoder(max: number): Decoder;
}

/** A file of this folder: a framing and the variants that it has. */
export interface FramingKind {
  info: FramingInfo;
  /** The framing for what follows the `:` of its name, if anything; a `Fault` for a variant that is none. */
  choose(variant: string | undefined): Framing;
}
