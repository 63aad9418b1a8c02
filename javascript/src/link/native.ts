/** The optional addon `@panpipe/native`: links of packets, which Node itself cannot open, and what the system tells Node nothing of. */

import { createRequire } from "node:module";
import type net from "node:net";

import type { Address } from "../wire/address.js";
import { Fault, codes, type Code } from "../wire/error.js";
import { Fifo } from "../wire/fifo.js";
import { packetCost, type Packets } from "../wire/packets.js";
import type { Limits, Link, LinkEvents, LinkListener, ListenerEvents, Remote } from "./link.js";
import { within } from "./socket.js";

/** What the addon exports. What it throws has a code of ours. */
interface Native {
  open(address: string, options: { timeout: number }): Promise<NativeLink>;
  listen(address: string, onLink: (link: NativeLink) => void): NativeListener;
  peerOf(descriptor: number): Credentials | null;
  claimToRead(descriptor: number): boolean;
}

/** The process at the other end of a Unix socket, as it was when it connected or listened. */
export interface Credentials {
  uid: number;
  gid: number;
  pid?: number;
}

/** An open link of packets. It keeps nothing: what it cannot send it leaves to us. */
interface NativeLink {
  readonly remote: Remote;
  /** Size of the largest packet, in bytes. */
  readonly largest: number;
  /** Begins to read; packets come one next to the other, with the length of each. */
  start(onPackets: (slab: Buffer, lengths: Uint32Array) => void, onEnd: () => void, onLost: (code: string, text: string) => void): void;
  /** Whether the system had room for it; throws when it never will. */
  write(packet: Uint8Array): boolean;
  /** Calls back once, when there may be room again. */
  onWritable(callback: () => void): void;
  pause(): void;
  resume(): void;
  ref(): void;
  unref(): void;
  close(): void;
}

interface NativeListener {
  readonly address: string;
  ref(): void;
  unref(): void;
  close(): void;
}

/** What is the same for all packets of a transport. */
export type PacketKind = Omit<Packets, "largest">;

const name = "@panpipe/native";
/** The addon, or why there is none; null before anybody has asked. */
let found: Native | Error | null = null;

/** Connects by the addon; `unsupported` where that is not installed. */
export async function connectNative(address: Address, limits: Limits, kind: PacketKind): Promise<Link> {
  const opening = load(address.scheme).open(address.text, { timeout: Math.min(Math.max(limits.timeout, 0), 2 ** 31 - 1) });
  try {
    return new PacketLink(await within(limits, opening), kind);
  } catch (error) {
    // One that comes after all is nobody's.
    opening.then((link) => link.close()).catch(() => {});
    throw faultOf(error);
  }
}

/** Listens by the addon; `unsupported` where that is not installed. */
export async function listenNative(address: Address, events: ListenerEvents, kind: PacketKind): Promise<LinkListener> {
  let listener: NativeListener;
  try {
    listener = load(address.scheme).listen(address.text, (link) => events.onLink(new PacketLink(link, kind)));
  } catch (error) {
    throw faultOf(error);
  }
  return {
    target: listener.address.slice(address.scheme.length + 1).split("?", 1)[0]!,
    ref: () => listener.ref(),
    unref: () => listener.unref(),
    async close() {
      listener.close();
      events.onEnd();
    },
  };
}

/** Who is at the other end of a Unix socket; null where there is no addon to ask. */
export function peerOf(socket: net.Socket): Credentials | null {
  const { fd } = (socket as unknown as { _handle?: { fd?: number } | null })._handle ?? {};
  const native = find();
  return fd === undefined || native instanceof Error ? null : native.peerOf(fd);
}

/** Takes the right to be the only reader of a FIFO; false while another process has it. Without the addon nobody is kept away. */
export function claimToRead(fd: number): boolean {
  const native = find();
  return native instanceof Error || native.claimToRead(fd);
}

/** Whether there is an addon to ask. */
export function hasNative(): boolean {
  return !(find() instanceof Error);
}

/** Throws `unsupported` where there is no addon; `what` needs it. */
export function requireNative(what: string): void {
  load(what);
}

function load(what: string): Native {
  const native = find();
  if (!(native instanceof Error)) return native;
  const missing = (native as NodeJS.ErrnoException).code === "MODULE_NOT_FOUND" && native.message.includes(`'${name}'`);
  const why = missing ? `npm install ${name}` : `it is there and does not load: ${native.message}`;
  throw new Fault("unsupported", `${what} needs the optional addon ${name}: ${why}`);
}

function find(): Native | Error {
  try {
    return (found ??= createRequire(import.meta.url)(name) as Native);
  } catch (error) {
    return (found = error as Error);
  }
}

function faultOf(error: unknown): unknown {
  if (error instanceof Fault) return error;
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  return codes.some((each) => each.code === code) ? new Fault(code as Code, String(message)) : error;
}

/** A link of the addon, with a queue for what the system has no room for. */
class PacketLink implements Link {
  readonly remote: Remote;
  readonly packets: Packets;
  readonly #queue = new Fifo<Uint8Array>();
  #events: LinkEvents | null = null;
  pending = 0;
  left = Infinity;
  #handed = 0;
  #waits = false;
  #closed = false;
  #onEmpty: (() => void) | null = null;

  constructor(
    readonly native: NativeLink,
    kind: PacketKind,
  ) {
    this.remote = native.remote;
    this.packets = { ...kind, largest: native.largest };
  }

  /** A Unix socket keeps its name, and a late reply would come to the next call. */
  renew(): void {
    this.#events?.onLost(new Fault("connection-lost", "a call got no reply, and a late one would be taken for the next; connect anew"));
  }

  start(events: LinkEvents): void {
    this.#events = events;
    this.native.start(
      (slab, lengths) => {
        let at = 0;
        for (const length of lengths) this.#events?.onData(slab.subarray(at, (at += length)));
      },
      () => this.#events?.onEnd(),
      (code, text) => {
        this.#break();
        this.#events?.onLost(faultOf({ code, message: text }) as Fault);
      },
    );
    this.native.unref();
  }

  write(parts: readonly Uint8Array[]): void {
    if (this.#closed || this.#broken) return;
    for (const packet of parts) {
      this.#handed += packet.length + packetCost;
      this.pending += packet.length + packetCost;
      this.#queue.push(packet);
    }
    if (!this.#waits) this.#send();
  }

  pause(): void {
    if (!this.#closed) this.native.pause();
  }

  resume(): void {
    if (!this.#closed) this.native.resume();
  }

  ref(): void {
    if (!this.#closed) this.native.ref();
  }

  unref(): void {
    if (!this.#closed) this.native.unref();
  }

  async close(timeout: number): Promise<boolean> {
    this.#events = null;
    if (this.pending > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(timeout, 2 ** 31 - 1));
        this.#onEmpty = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.destroy();
    return this.pending === 0 && !this.#broken;
  }

  destroy(): void {
    if (this.#closed) return;
    this.#events = null;
    this.#closed = true;
    this.native.close();
  }

  #send(): void {
    try {
      for (let packet = this.#queue.peek(); packet !== undefined; packet = this.#queue.peek()) {
        if (!this.native.write(packet)) return this.#wait();
        this.#queue.shift();
        this.pending -= packet.length + packetCost;
      }
    } catch (error) {
      this.#break();
      this.#events?.onOutputLost(faultOf(error) as Fault);
    }
    this.#onEmpty?.();
  }

  get #broken(): boolean {
    return this.left !== Infinity;
  }

  /** What waits is dropped, and never will be sent. */
  #break(): void {
    if (this.#broken) return;
    this.left = this.#handed - this.pending;
    this.pending = 0;
    this.#queue.removeAll(() => true);
  }

  #wait(): void {
    this.#waits = true;
    this.native.onWritable(() => {
      this.#waits = false;
      if (this.#closed) return;
      this.#send();
      this.#events?.onWritten();
    });
  }
}
