/**
 * Links of packets for panpipe in Node.js: `unix-seqpacket:`, `unix-dgram:`, and what else the addresses of panpipe have that moves packets.
 *
 * Errors have panpipe's `code`; the message is the reason alone. What a callback throws is an `uncaughtException`.
 */

/** What is known of the other end, from when the link was opened. */
export interface NativeRemote {
  /** The scheme that it came by. */
  transport: string;
  /** Its own address, where it has one. */
  address?: string;
  /** The user of its process (unix(7), SO_PEERCRED). */
  uid?: number;
  /** The group of its process. */
  gid?: number;
  /** Its process. The number may be another's by now: a hint for people, nothing to trust. */
  pid?: number;
}

/** An open link. It is closed by `close`, or when it is collected without having been started. */
export interface NativeLink {
  readonly remote: NativeRemote;
  /** The bytes of the largest packet. */
  readonly largest: number;
  /**
   * Begins to read.
   *
   * `onPackets` gets what has arrived, up to 1,024 packets or the one that fills 1 MiB: the packets one next to the other,
   * and how long each is; both are the receiver's from now on. Once, last, comes `onEnd`, when the peer has finished
   * sending, or `onLost`, when the link broke, with a code and the reason.
   */
  start(onPackets: (slab: Buffer, lengths: Uint32Array) => void, onEnd: () => void, onLost: (code: string, text: string) => void): void;
  /**
   * Sends a packet; `false` when the system has no room now, and nothing was taken.
   *
   * Throws `too-large`, `unsupported` for an empty packet where it reads as the end, `connection-lost`, `closed` and `io`.
   */
  write(packet: Uint8Array): boolean;
  /** Calls back once, when there may be room again. Until then it keeps the process alive. */
  onWritable(callback: () => void): void;
  /** Stops reading: what the peer sends waits in the system, and then the peer does. */
  pause(): void;
  /** Reads on. */
  resume(): void;
  /** Keeps the process alive while it reads; so it is at first. */
  ref(): void;
  /** Lets the process end although this link is open. */
  unref(): void;
  /** Closes at once; nothing is called back any more. */
  close(): void;
}

/** A listening address. It is open until it is closed, or its process or worker ends. */
export interface NativeListener {
  /** The real address, with the name that was picked for a `*`. */
  readonly address: string;
  /** Keeps the process alive; so it is at first. */
  ref(): void;
  /** Lets the process end although this listener is open. */
  unref(): void;
  /** Takes no more links and removes the socket file. */
  close(): void;
}

/**
 * Connects, within `timeout` milliseconds.
 *
 * Rejects with `refused`, `not-found`, `permission`, `path-too-long`, `invalid-address`, `unsupported`, `busy`, `deadline-exceeded`, `io`.
 */
export function open(address: string, options: { timeout: number }): Promise<NativeLink>;

/**
 * Listens. A link that nobody keeps is closed once it is collected.
 *
 * Throws `address-in-use`, `not-found`, `permission`, `path-too-long`, `invalid-address`, `unsupported`, `busy`, `io`.
 */
export function listen(address: string, onLink: (link: NativeLink) => void): NativeListener;

/** Who is at the other end of a connected Unix socket of Node's own, `socket._handle.fd`; `null` of any other descriptor. */
export function peerOf(descriptor: number): { uid: number; gid: number; pid?: number } | null;

/**
 * Takes the right to be the only reader of a FIFO, as panpipe's other languages do; `false` while another process has it.
 * Closing the descriptor gives it back, and so must who did not get it.
 */
export function claimToRead(descriptor: number): boolean;
