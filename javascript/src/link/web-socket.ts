/** A link over a WebSocket whose upgrade is done: each message is a packet. */

import { createHash, randomFillSync } from "node:crypto";
import type { Duplex } from "node:stream";

import { nothing } from "../wire/bytes.js";
import { Fault } from "../wire/error.js";
import { packetCost, type Packets } from "../wire/packets.js";
import { headSize, largestBody } from "../wire/panpipe/frame.js";
import { NORMAL, faultOfClose } from "../wire/websocket/closing.js";
import { BINARY, CLOSE, PONG, TEXT, applyMask, headSizeOf, maskSize, writeHead } from "../wire/websocket/frame.js";
import { Receiver, type Carries } from "../wire/websocket/receiving.js";
import { together } from "../wire/websocket/together.js";
import { classify } from "./classify.js";
import type { Link, LinkEvents, Remote, Speaks } from "./link.js";
import { savedFrom } from "./saved.js";
import type { Held } from "./stream.js";

/** After our Close the other end may take this many milliseconds for its own. */
const linger = 2000;

/** From this size on a message is written from where it lies; below, copying it is cheaper than one more part of a write. */
const byReference = 16 * 1024;

/** Bytes of chance that are got at a time. */
const chanceSize = 8192;

/** Largest frame of the panpipe protocol, with room for the longest name behind what counts as its body. */
const largestFrame = headSize + largestBody + 255;

const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** Answers the field Sec-WebSocket-Key (RFC 6455, section 4.2.2). */
export function acceptOf(key: string): string {
  return createHash("sha1").update(key + guid).digest("base64");
}

/** What a WebSocket link may be given beside its stream. */
export interface WebSocketOptions {
  /** Whether this end connected. */
  client: boolean;
  /** Largest message, in bytes. */
  max: number;
  carries: Carries;
  remote: Remote;
  /** What was read of the stream already. */
  first: Uint8Array;
  speaks?: Speaks | undefined;
}

/** Moves messages over a socket, which nobody else reads or writes. */
export class WebSocketLink implements Link {
  readonly packets: Packets | undefined;
  readonly batches = true;
  readonly remote: Remote;
  readonly speaks: Speaks | undefined;
  readonly #client: boolean;
  readonly #carries: Carries;
  readonly #receiver: Receiver;
  // What was read of the stream already.
  #first: Uint8Array;
  #events: LinkEvents | null = null;
  // Whether the stream is read.
  #reading = false;
  #paused = false;
  // A write has failed, and Node will say so in the next tick.
  #failing = false;
  // What broke it before anybody had started it.
  #broken: Fault | null = null;
  // Whether something was not taken by the system at once.
  #waits = false;
  #told = false;
  #closeSent = false;
  #handed = 0;
  #begun = 0;
  #closing: Promise<boolean> | null = null;
  #onEmpty: (() => void) | null = null;

  constructor(
    readonly stream: Duplex,
    { client, max, carries, remote, speaks, first }: WebSocketOptions,
  ) {
    this.#client = client;
    this.#carries = carries;
    this.#first = first;
    const frames = carries === "frames";
    this.remote = remote;
    this.speaks = speaks;
    this.packets = frames ? undefined : { largest: max, empty: true, alone: false, lossy: false, many: false };
    this.#receiver = new Receiver(client, frames ? largestFrame : max, carries, (message) => this.#events?.onData(message));
    stream.on("error", (error) => {
      this.#failing = false;
      this.#lose(classify(error));
    });
  }

  get pending(): number {
    // Whoever sends without end lets no tick come, so that it must wait for this one.
    return this.#failing ? Infinity : this.stream.writableLength;
  }

  get left(): number {
    return this.stream.destroyed ? this.#begun : Infinity;
  }

  start(events: LinkEvents): void {
    this.#events = events;
    // A connection that waited to be accepted may have been reset meanwhile.
    if (this.stream.destroyed) process.nextTick(() => this.#lose(this.#broken ?? cut()));
    // Whoever starts a link is not told of anything before that is done.
    if (this.#first.length === 0) this.#read();
    else process.nextTick(() => this.#read());
    this.unref();
  }

  write(parts: readonly Uint8Array[]): void {
    if (this.#closeSent || this.stream.destroyed) return;
    const carries = this.#carries;
    const cost = carries === "frames" ? 0 : packetCost;
    for (const part of parts) this.#handed += part.length + cost;
    const atOnce = this.stream.writableLength === 0;
    this.#send(carries === "text" ? TEXT : BINARY, carries === "frames" ? together(parts, largestFrame) : parts.map((part) => [part]));
    if (this.stream.errored) {
      this.#failing = true;
      const chunks = savedFrom(this.stream);
      // Before the error is told, and not within the turn of whoever writes.
      process.nextTick(() => chunks.forEach((chunk) => this.stream.emit("data", chunk)));
    } else if (atOnce) this.#begun = this.#handed;
  }

  pause(): void {
    this.#paused = true;
    this.stream.pause();
  }

  resume(): void {
    this.#paused = false;
    if (this.#reading) this.stream.resume();
  }

  ref(): void {
    (this.stream as Held).ref?.();
  }

  unref(): void {
    (this.stream as Held).unref?.();
  }

  close(timeout: number): Promise<boolean> {
    return (this.#closing ??= this.#close(timeout));
  }

  destroy(): void {
    this.#events = null;
    this.stream.destroy();
  }

  /** Reads what was read already, and what comes. */
  #read(): void {
    if (this.#reading) return;
    this.#reading = true;
    const { stream } = this;
    const first = this.#first;
    this.#first = nothing;
    if (first.length > 0) this.#receive(first);
    stream.on("data", (chunk: Buffer) => this.#receive(chunk));
    stream.on("end", () => {
      // No Close of ours says to who has cut it that all went well.
      this.#closeSent = true;
      this.#lose(cut());
      this.#end();
    });
    stream.on("close", () => this.#lose(cut()));
    // Who read the upgrade has paused it.
    if (!this.#paused) stream.resume();
  }

  #receive(chunk: Uint8Array): void {
    const receiver = this.#receiver;
    if (receiver.over) return;
    receiver.receive(chunk);
    this.#events?.onRead();
    const { closed, violation } = receiver;
    if (receiver.over) this.#pong();
    if (violation !== null) {
      this.#sendClose(violation.close);
      this.#lose(violation.fault);
    } else if (closed !== null) {
      this.#sendClose(closed.code);
      const fault = faultOfClose(closed.code, closed.reason);
      if (fault !== null) this.#lose(fault);
      else if (!this.#told) {
        this.#told = true;
        this.#events?.onEnd();
      }
    } else if (receiver.ping !== null && this.stream.writableLength === 0) return this.#pong();
    else return;
    this.#end();
  }

  /** Answers the latest ping. While output waits the next replaces it. */
  #pong(): void {
    const { ping } = this.#receiver;
    this.#receiver.ping = null;
    if (ping !== null && !this.#closeSent) this.#send(PONG, [[ping]]);
  }

  #sendClose(code: number | null): void {
    if (this.#closeSent || this.stream.destroyed) return;
    this.#send(CLOSE, [[code === null ? nothing : Buffer.from([code >>> 8, code & 255])]]);
    this.#closeSent = true;
  }

  /** Nothing more is sent. */
  #end(): void {
    if (!this.stream.writableEnded) this.stream.end();
  }

  /** Writes each message, of which each is in parts, as a frame; all in one go where that is possible. */
  #send(opcode: number, messages: readonly (readonly Uint8Array[])[]): void {
    const masked = this.#client;
    let size = 0;
    for (const message of messages) {
      size += headSizeOf(sizeOf(message), masked);
      for (const { length } of message) size += masked || length < byReference ? length : 0;
    }
    const slab = Buffer.allocUnsafe(size);
    const { stream } = this;
    let corked = false;
    let from = 0;
    let at = 0;
    for (const message of messages) {
      at = writeHead(slab, at, opcode, sizeOf(message), masked);
      const maskAt = at - maskSize;
      if (masked) freshMask(slab, maskAt);
      let phase = 0;
      for (const part of message) {
        const { length } = part;
        if (!masked && length >= byReference) {
          if (!corked) stream.cork();
          corked = true;
          if (at > from) stream.write(slab.subarray(from, at), this.#written);
          stream.write(part, this.#written);
          from = at;
          continue;
        }
        slab.set(part, at);
        if (masked) phase = applyMask(slab, at, at + length, slab, maskAt, phase);
        at += length;
      }
    }
    if (at > from) stream.write(from === 0 ? slab : slab.subarray(from, at), this.#written);
    if (corked) stream.uncork();
    if (stream.writableLength > 0) this.#waits = true;
  }

  // One function for every write, which Node then calls once for many.
  readonly #written = (error?: Error | null): void => {
    if (error !== undefined && error !== null) return;
    // The next write, of all that had gathered, has begun.
    this.#begun = this.#handed;
    if (!this.#waits) return;
    if (this.stream.writableLength === 0) {
      this.#waits = false;
      if (this.#receiver.ping !== null) this.#pong();
      this.#onEmpty?.();
    }
    this.#events?.onWritten();
  };

  #lose(fault: Fault): void {
    if (this.#told) return;
    if (this.#events === null) this.#broken ??= fault;
    else this.#told = true;
    this.#events?.onLost(fault);
  }

  async #close(timeout: number): Promise<boolean> {
    const { stream } = this;
    this.#events = null;
    this.#paused = false;
    this.ref();
    this.#sendClose(NORMAL);
    // What still comes is dropped, up to the other end's Close: unread input would turn our end into a reset, which destroys what we sent.
    this.#read();
    stream.resume();
    const written = await this.#empty(timeout);
    this.unref();
    const timer = setTimeout(() => this.destroy(), written ? linger : 0).unref();
    stream.once("close", () => clearTimeout(timer));
    stream.once("end", () => this.destroy());
    if (stream.readableEnded || stream.destroyed) this.destroy();
    return written;
  }

  /** Whether all was taken by the system within so many milliseconds. */
  #empty(timeout: number): Promise<boolean> {
    const { stream } = this;
    if (stream.destroyed || stream.writableLength === 0) return Promise.resolve(stream.writableLength === 0);
    return new Promise((resolve) => {
      const settle = (written: boolean) => {
        clearTimeout(timer);
        stream.off("close", broken);
        this.#onEmpty = null;
        resolve(written);
      };
      const broken = () => settle(false);
      const timer = setTimeout(broken, Math.min(timeout, 2 ** 31 - 1));
      stream.once("close", broken);
      this.#onEmpty = () => settle(true);
    });
  }
}

function sizeOf(parts: readonly Uint8Array[]): number {
  if (parts.length === 1) return parts[0]!.length;
  let size = 0;
  for (const { length } of parts) size += length;
  return size;
}

function cut(): Fault {
  return new Fault("connection-lost", "the connection was cut without a Close");
}

let chance: Buffer | null = null;
let chanceAt = chanceSize;

/** Writes four bytes that nobody can foretell (RFC 6455, section 5.3) at `out[at]`. */
function freshMask(out: Uint8Array, at: number): void {
  if (chanceAt === chanceSize) {
    chance = randomFillSync(chance ?? Buffer.allocUnsafeSlow(chanceSize));
    chanceAt = 0;
  }
  for (const end = at + maskSize; at < end; at++) out[at] = chance![chanceAt++]!;
}
