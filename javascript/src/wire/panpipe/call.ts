/** Calls: what a session knows of one, whichever end made it. */

import { Fifo } from "../fifo.js";
import { ARGUMENTS, STREAM, TOPIC } from "./frame.js";

/** Window of each direction of a stream, in bytes. */
export const streamWindow = 262_144;

/** What an item costs beside its payload. */
export const itemCost = 64;

/** An item that waits for the window, or the end or the answer behind the items. */
export interface Waiting {
  kind: number;
  flags: number;
  payload: Uint8Array;
}

/** A direction of a stream, at its sender. */
export class OutStream {
  /** What may still be sent. */
  window = streamWindow;
  /** What waits for more. */
  readonly waiting = new Fifo<Waiting>();
}

/** A direction of a stream, at its receiver. */
export class InStream {
  /** What the other end may still send. */
  window = streamWindow;
  /** What was taken and not yet given back. */
  owed = 0;
  /** Whether END came. */
  ended = false;
}

/** One call, ours or the other end's. */
export class Call {
  /** 0 until it is sent. */
  id = 0;
  /** Whether somebody still waits: of ours for an answer, of the other end's for the handler. */
  waiting = true;
  /** Of the other end's: whether its handler was told to stop. */
  stopping = false;
  /** Of a subscription: whether it stands. */
  opened = false;
  /** Of ours, where it begins, counted in bytes that were ever written. */
  begins = 0;
  /** Of the other end's: what it costs of the window of the connection. */
  cost = 0;
  /** Items that we send. */
  readonly out: OutStream | null;
  /** Items that we get. */
  readonly in: InStream | null;
  /** What the user of the session knows of it. */
  owner: unknown = null;
  /** Of ours, the endpoint that it was made on. */
  endpoint: unknown = null;

  constructor(
    readonly ours: boolean,
    readonly method: string,
    /** Those of the frame, without MORE. */
    readonly flags: number,
    /** An instant, or `Infinity`. */
    readonly deadline: number,
  ) {
    this.out = (flags & (ours ? ARGUMENTS : STREAM)) !== 0 ? new OutStream() : null;
    this.in = (flags & (ours ? STREAM : ARGUMENTS)) !== 0 ? new InStream() : null;
  }

  /** Whether it is a subscription. */
  get subscribes(): boolean {
    return (this.flags & TOPIC) !== 0;
  }
}
