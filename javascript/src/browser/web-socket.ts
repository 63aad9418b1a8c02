/** `ws://HOST:PORT/PATH` and `wss://HOST:PORT/PATH` in a browser, by its own WebSocket: each message is a packet. */

import { isUtf8 } from "#runtime";

import type { Limits, Link, LinkEvents, Remote } from "../link/link.js";
import type { Address, TransportInfo } from "../wire/address.js";
import { Fault } from "../wire/error.js";
import { packetCost, type Packets } from "../wire/packets.js";
import { headSize, largestBody } from "../wire/panpipe/frame.js";
import { asSubprotocol } from "../wire/token.js";
import { together } from "../wire/websocket/together.js";
import { NORMAL, faultOfClose } from "../wire/websocket/closing.js";

/** A page may close with no other code but 1000 than those that are left to programs (RFC 6455, section 7.4.2). */
const BROKEN = 4000;

/** How often to look whether a browser has sent what it was given: it does not say so. In milliseconds. */
const look = 4;

/** A server that does not read answers no Close. So long, in milliseconds, it may take to once the browser has taken all there is, and the browser to send that. */
const closingGrace = 250;

/** A browser cannot be told to stop reading. So many bytes may wait beyond the largest message, in a page that does not take them. */
const mostWaiting = 16 * 1024 * 1024;

/** What a browser says when it has no more to say. */
const ABNORMAL = 1006;
const NO_CODE = 1005;

/** What the addresses of a browser say. */
export const infos: readonly TransportInfo[] = ["ws", "wss"].map((scheme) => ({
  scheme,
  form: `${scheme}://HOST:PORT/PATH`,
  reaches: "other machines",
  goodFor: "browsers",
  notFor: "",
  options: [],
  packets: true,
  check: (target: string) => void urlOf(scheme, target),
}));

/** An address as it is, or of a path the one that it means: a WebSocket of the host that the page came from, encrypted as that did. */
export function absolute(address: string): string {
  const isPath = address.startsWith("/") || address.startsWith("?");
  return isPath ? `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${address}` : address;
}

/** Where an address leads; a `Fault` where it leads nowhere. */
function urlOf(scheme: string, target: string): URL {
  const malformed = new Fault("invalid-address", `a ${scheme} address is written ${scheme}://HOST:PORT/PATH`);
  if (!target.startsWith("//")) throw malformed;
  if (target.includes("#")) throw new Fault("invalid-address", "a path has no #: what follows one never reaches a server");
  try {
    return new URL(`${scheme}:${target.startsWith("//:") ? `//localhost${target.slice(2)}` : target}`);
  } catch {
    throw malformed;
  }
}

/** Connects; `token` is shown to the listener. A browser does not tell why it could not: `refused`. */
export function dial(address: Address, token: string | undefined, limits: Limits): Promise<Link> {
  const panpipe = address.protocol === "panpipe";
  const offered = token === undefined ? (panpipe ? ["panpipe"] : []) : [panpipe ? "panpipe" : "panpipe.plain", asSubprotocol(token)];
  const { signal, timeout } = limits;
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(new Fault("cancelled", "the caller gave up"));
    const socket = new WebSocket(urlOf(address.scheme, address.target), offered);
    socket.binaryType = "arraybuffer";
    const settle = (act: () => void) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      socket.onopen = socket.onclose = null;
      act();
    };
    const fail = (fault: Fault) => settle(() => (socket.close(), reject(fault)));
    const abort = () => fail(new Fault("cancelled", "the caller gave up"));
    const timer = setTimeout(() => fail(new Fault("deadline-exceeded", "the timeout passed")), Math.min(Math.max(timeout, 0), 2 ** 31 - 1));
    signal?.addEventListener("abort", abort);
    socket.onopen = () => settle(() => resolve(new BrowserLink(socket, address)));
    socket.onclose = () => fail(new Fault("refused", "nobody listens there, or this page, its token or the path is not let in: a browser does not tell which"));
  });
}

/** Moves messages over a browser's WebSocket. */
class BrowserLink implements Link {
  readonly packets: Packets | undefined;
  readonly remote: Remote;
  readonly copies = true;
  #events: LinkEvents | null = null;
  #handed = 0;
  #told = false;
  #paused = false;
  // What came while nobody wanted it, and the end, should that have come.
  #waiting: Uint8Array[] = [];
  #waitingSize = 0;
  #ending: (() => void) | null = null;
  #looking: ReturnType<typeof setTimeout> | null = null;
  #unsent = 0;
  #closing: Promise<boolean> | null = null;

  constructor(
    readonly socket: WebSocket,
    readonly address: Address,
  ) {
    this.remote = { transport: address.scheme, address: new URL(socket.url).host };
    this.packets = address.protocol === "panpipe" ? undefined : { largest: address.max, empty: true, alone: false, lossy: false, many: false };
    socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => this.#receive(data);
    socket.onclose = ({ code, reason }) => this.#end(() => this.#tell(code, reason));
  }

  get pending(): number {
    return this.socket.bufferedAmount;
  }

  get left(): number {
    // What is left in a socket that has closed stays there.
    return this.socket.readyState === WebSocket.OPEN ? Infinity : this.#handed - this.socket.bufferedAmount;
  }

  start(events: LinkEvents): void {
    this.#events = events;
    queueMicrotask(() => this.#tellWaiting());
  }

  write(parts: readonly Uint8Array[]): void {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    const { textMode, protocol } = this.address;
    const messages = protocol === "panpipe" ? together(parts, headSize + largestBody).map(joined) : parts;
    for (const message of messages) {
      this.#handed += message.length + (protocol === "panpipe" ? 0 : packetCost);
      this.socket.send(textMode ? new TextDecoder().decode(message) : (message as Uint8Array<ArrayBuffer>));
    }
    this.#watch();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    if (this.#waiting.length > 0 || this.#ending !== null) queueMicrotask(() => this.#tellWaiting());
  }

  ref(): void {}

  unref(): void {}

  close(timeout: number): Promise<boolean> {
    return (this.#closing ??= this.#close(timeout));
  }

  destroy(): void {
    this.#leave();
    this.socket.close();
  }

  /** Looks now and then whether what was given to the browser is sent. */
  #watch(): void {
    if (this.#looking !== null || this.socket.bufferedAmount === 0) return;
    this.#unsent = this.socket.bufferedAmount;
    this.#looking = setTimeout(() => {
      this.#looking = null;
      const moved = this.socket.bufferedAmount < this.#unsent;
      this.#watch();
      if (moved) this.#events?.onWritten();
    }, look);
  }

  #receive(data: string | ArrayBuffer): void {
    if (this.#told) return;
    const { protocol, max, textMode } = this.address;
    if (typeof data === "string" && protocol === "panpipe") return this.#break(new Fault("bad-peer", "text, where frames are binary"));
    const bytes = typeof data === "string" ? new TextEncoder().encode(data) : new Uint8Array(data);
    if (protocol === "plain" && bytes.length > max) return this.#break(new Fault("too-large", `a message may be ${max} bytes at most, and one has ${bytes.length}`));
    if (textMode && typeof data !== "string" && !isUtf8(bytes)) return this.#break(new Fault("bad-peer", "a message that is not UTF-8, and the address says text=true"));
    if (this.#events !== null && !this.#paused && this.#waiting.length === 0) return this.#events.onData(bytes);
    this.#waiting.push(bytes);
    this.#waitingSize += bytes.length + packetCost;
    if (this.#waitingSize > mostWaiting + max) this.#break(new Fault("busy", "more came than this page takes, and a browser cannot be told to wait"));
  }

  #tellWaiting(): void {
    while (this.#waiting.length > 0 && this.#events !== null && !this.#paused) {
      const bytes = this.#waiting.shift()!;
      this.#waitingSize -= bytes.length + packetCost;
      this.#events.onData(bytes);
    }
    if (this.#waiting.length > 0 || this.#events === null || this.#paused) return;
    const ending = this.#ending;
    this.#ending = null;
    ending?.();
  }

  /** The end is told when what came before it was. */
  #end(tell: () => void): void {
    this.#ending = tell;
    this.#tellWaiting();
  }

  #tell(code: number, reason: string): void {
    if (this.#told) return;
    this.#told = true;
    const fault = code === ABNORMAL ? new Fault("connection-lost", "the connection was cut without a Close") : faultOfClose(code === NO_CODE ? null : code, reason);
    if (fault === null) this.#events?.onEnd();
    else this.#events?.onLost(fault);
  }

  #break(fault: Fault): void {
    this.socket.close(BROKEN);
    this.#waiting = [];
    this.#told = true;
    this.#events?.onLost(fault);
  }

  #leave(): void {
    this.#events = null;
    this.#waiting = [];
    if (this.#looking !== null) clearTimeout(this.#looking);
    this.#looking = null;
  }

  #close(timeout: number): Promise<boolean> {
    this.#leave();
    const { socket } = this;
    if (socket.readyState === WebSocket.CLOSED) return Promise.resolve(socket.bufferedAmount === 0);
    return new Promise((resolve) => {
      let grace: ReturnType<typeof setTimeout> | undefined;
      const settle = () => {
        clearTimeout(timer);
        clearInterval(looking);
        clearTimeout(grace);
        resolve(socket.bufferedAmount === 0);
      };
      const timer = setTimeout(settle, Math.min(timeout, 2 ** 31 - 1));
      const looking = setInterval(() => {
        if (socket.bufferedAmount === 0) grace ??= setTimeout(settle, closingGrace);
      }, look);
      socket.onclose = settle;
      // What it was given is sent before.
      socket.close(NORMAL);
    });
  }
}

/** The parts of a message as one, which costs a copy: a message costs a browser more. */
function joined(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length === 1) return parts[0]!;
  const whole = new Uint8Array(parts.reduce((size, { length }) => size + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
