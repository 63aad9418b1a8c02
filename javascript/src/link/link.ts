/** What every transport gives: a link that moves bytes, and a listener that makes links. */

import type { Address, TransportInfo } from "../wire/address.js";
import type { Fault } from "../wire/error.js";
import type { Packets } from "../wire/packets.js";

/** What is known of the other end. */
export interface Remote {
  /** The scheme that it came by. */
  transport: string;
  /** Its own address, where the transport knows one, as in `127.0.0.1:54321`. */
  address?: string;
  /** Its process, where the system tells. */
  pid?: number;
  /** The user that it runs as, where the system tells. */
  uid?: number;
  /** That user's group, where the system tells. */
  gid?: number;
}

/** What a link tells. After `onEnd` or `onLost` no data follows. */
export interface LinkEvents {
  /** Bytes have arrived; they are the receiver's from now on. */
  onData(chunk: Uint8Array): void;
  /** Of a link with `batches`: everything that one read brought has been given to `onData`. */
  onRead(): void;
  /** The peer has finished sending; `how` says more than that, where more is known. */
  onEnd(how?: string): void;
  /** The link broke. */
  onLost(fault: Fault): void;
  /** Nothing more can be written; what the peer sends still arrives. */
  onOutputLost(fault: Fault): void;
  /** Something that was pending has been written. */
  onWritten(): void;
  /** Of a link of packets: one that was sent did not arrive, and the link lives on. */
  onRefused(fault: Fault): void;
}

/** What the other end of a link speaks. */
export type Speaks = "panpipe" | "plain";

/** A link that goes one way. */
export interface OneWay {
  way: "reads" | "writes";
  /** Why, for whoever wants the other way. */
  why: string;
}

/** One open transport: bytes without message boundaries, or packets. */
export interface Link {
  /** Set where it moves packets: each part of a write is one, and so is each `onData`. */
  readonly packets?: Packets | undefined;
  /** Set where one read may bring several packets, and `onRead` follows them. */
  readonly batches?: boolean | undefined;
  /** Set where it moves bytes one way. */
  readonly oneWay?: OneWay | undefined;
  /** Set where others write too: each part of a write is a whole frame, of at most so many bytes. */
  readonly whole?: number | undefined;
  /** Set where the other end was found to speak this, whatever the address says. */
  readonly speaks?: Speaks | undefined;
  /** The secret to say hello with; null for none. */
  readonly token?: string | null | undefined;
  /** What is known of the other end. */
  readonly remote: Remote;
  /** Set where what is handed over is copied, and so may be changed at once. */
  readonly copies?: boolean | undefined;
  /** Bytes handed over and not yet taken by the system; while it is not 0 they must not be changed, unless they were copied. */
  readonly pending: number;
  /** Of all bytes ever handed over, how many may have left; what stands behind them certainly has not and will not. `Infinity` while the link can write. */
  readonly left: number;
  /** Begins to read. */
  start(events: LinkEvents): void;
  /** Writes all parts, in one go where that is possible. */
  write(parts: readonly Uint8Array[]): void;
  /** Stops reading, soon. */
  pause(): void;
  /** Reads on. */
  resume(): void;
  /** Keeps this process alive for this link. */
  ref(): void;
  /** Lets this process end although this link is open. */
  unref(): void;
  /** Writes what is pending, for at most so many milliseconds, tells the peer the end, and closes; answers whether all was written. */
  close(timeout: number): Promise<boolean>;
  /** Closes at once. */
  destroy(): void;
  /** Where packets stand alone: what is still on its way must not arrive; a link that cannot see to that is lost. */
  renew?(): void;
}

/** What waits for links. */
export interface LinkListener {
  /** The target that leads here, with free names and ports filled in. */
  readonly target: string;
  /** Keeps this process alive for this listener. */
  ref(): void;
  /** Lets this process end although this listener is open. */
  unref(): void;
  /** Takes no more links; those it made live on. */
  close(): Promise<void>;
}

/** What a transport may spend on opening. */
export interface Limits {
  /** In milliseconds. */
  timeout: number;
  signal?: AbortSignal | undefined;
}

/** What a listener calls. */
export interface ListenerEvents {
  /** A link has come. */
  onLink(link: Link): void;
  /** A link that has come, and that nobody may have taken yet, is no longer of use. */
  onGone(link: Link): void;
  /** No further link will come. */
  onEnd(): void;
}

/** A transport: one file of this folder. What its functions throw is a `Fault` or an error of the system. */
export interface Transport {
  info: TransportInfo;
  connect(address: Address, limits: Limits): Promise<Link>;
  listen(address: Address, events: ListenerEvents): Promise<LinkListener>;
}
