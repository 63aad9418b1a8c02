/** panpipe: connects any two processes over any IPC method. The method is only an address. */

import { expectMany } from "./awaited.js";
import { classify } from "./link/classify.js";
import { parse, spawnAddress, transportInfos, transportOf } from "./link/mod.js";
import { pairLinks } from "./link/pair.js";
import { Listener } from "./listener.js";
import { Connection } from "./connection.js";
import { Server, type Handler } from "./server.js";
import { milliseconds } from "./timeout.js";
import { parsePair, type TransportInfo } from "./wire/address.js";
import { framingInfos } from "./wire/framing/mod.js";
import type { FramingInfo } from "./wire/framing/framing.js";
import type { Message } from "./wire/session.js";

export { Listener } from "./listener.js";
export { Connection, type WaitOptions } from "./connection.js";
export { Server, type Handler, type Reply } from "./server.js";
export { PanpipeError, codes, type Code, type Ran } from "./wire/error.js";
export type { Remote } from "./link/link.js";
export type { TransportInfo } from "./wire/address.js";
export type { FramingInfo } from "./wire/framing/framing.js";
export type { Message } from "./wire/session.js";

/**
 * Connects to an address; `timeout` is in milliseconds and defaults to that of the address.
 *
 * Rejects with `invalid-address`, `unsupported`, `refused`, `not-found`, `permission`, `path-too-long`, `busy`, `deadline-exceeded`, `cancelled`, `io`.
 */
export async function connect(address: string, options: { timeout?: number | undefined; signal?: AbortSignal | undefined } = {}): Promise<Connection> {
  const parsed = parse(address);
  if (options.signal !== undefined) expectMany(options.signal);
  const limits = { timeout: milliseconds(options.timeout, parsed.timeout), signal: options.signal };
  try {
    return new Connection(await transportOf(parsed).connect(parsed, limits), parsed, address);
  } catch (error) {
    throw classify(error).during(`connecting to ${address}`, address);
  }
}

/**
 * Listens on an address.
 *
 * Rejects with `invalid-address`, `unsupported`, `address-in-use`, `not-found`, `permission`, `path-too-long`, `busy`, `io`.
 */
export async function listen(address: string): Promise<Listener> {
  const parsed = parse(address);
  return Listener.open(parsed, transportOf(parsed));
}

/**
 * Listens on an address and answers every message of every connection with what `handler` returns; with `text=true` messages are strings (`serve<string>` in TypeScript).
 *
 * A handler that fails closes its connection and is reported as a warning of the type `PanpipeHandlerError`. Rejects as `listen` does.
 */
export async function serve<M extends Message = Buffer>(address: string, handler: Handler<M>): Promise<Server> {
  return new Server(await listen(address), handler as Handler<any>);
}

/**
 * Starts a program and connects to its stdin and stdout, with options as in `?framing=lines`; it dies with this process.
 *
 * Closing ends its input and waits until it has gone: 2 seconds later it gets SIGTERM, and 5 seconds after that SIGKILL, all of its process group.
 * Rejects with `invalid-address`, `unsupported`, `not-found`, `permission`, `busy`, `io`.
 */
export async function spawn(command: readonly string[], options = ""): Promise<Connection> {
  return connect(spawnAddress(command, options));
}

/**
 * Two connections that are each other's peer: `KIND?OPTIONS`, as in `pipe?framing=lines`, or either part alone.
 *
 * The kinds are `socket`, `pipe`, and `one-way`, of which the first end reads and the second writes. Throws `invalid-address`, `unsupported`.
 */
export function pair(text = ""): [Connection, Connection] {
  const parsed = parsePair(text);
  const [a, b] = pairLinks(parsed);
  return [new Connection(a, parsed, parsed.text), new Connection(b, parsed, parsed.text)];
}

/** Every transport there is, as data. */
export function methods(): TransportInfo[] {
  return transportInfos();
}

/** Every framing there is, as data. */
export function framings(): FramingInfo[] {
  return framingInfos();
}
