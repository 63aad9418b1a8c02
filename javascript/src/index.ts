/** panpipe: connects any two processes over any IPC method. The method is only an address. */

import type { Bytes } from "#runtime";

import { connectBy, type ConnectOptions } from "./connecting.js";
import { classify } from "./link/classify.js";
import { parse, spawnAddress, transportInfos, transportOf, vocabulary } from "./link/mod.js";
import { pairLinks } from "./link/pair.js";
import { Listener } from "./listener.js";
import { Connection } from "./connection.js";
import { checkService, opened } from "./opening.js";
import { Peer } from "./peer.js";
import type { Handler } from "./plain-serving.js";
import { Server } from "./server.js";
import { Service } from "./service.js";
import { closeOnTerm } from "./terminating.js";
import { parsePair, type TransportInfo } from "./wire/address.js";
import { PanpipeError } from "./wire/error.js";
import { framingInfos } from "./wire/framing/mod.js";
import type { FramingInfo } from "./wire/framing/framing.js";
import type { Message } from "./wire/session.js";

export { Listener } from "./listener.js";
export type { ConnectOptions } from "./connecting.js";
export { Connection, type WaitOptions } from "./connection.js";
export type { Handler, Reply } from "./plain-serving.js";
export { Server } from "./server.js";
export { options, type CallOptions, type MarkedOptions } from "./call-options.js";
export type { Context } from "./context.js";
export { Items, Lagged } from "./items.js";
export { Peer, type State } from "./peer.js";
export { RemoteError } from "./remote-error.js";
export { Service, type MethodOptions, type Parameter } from "./service.js";
export type { Policy, Topic, TopicOptions } from "./topic.js";
export type { Key } from "./wire/panpipe/misfit.js";
export type { Value } from "./wire/panpipe/unpack.js";
export { PanpipeError, codes, type Code, type Ran } from "./wire/error.js";
export type { Remote } from "./link/link.js";
export type { TransportInfo } from "./wire/address.js";
export type { FramingInfo } from "./wire/framing/framing.js";
export type { Message } from "./wire/session.js";

/**
 * Connects to an address. Answers a `Peer`, or where the address says `protocol=plain` or a framing, a `Connection` (`connect<Connection>` in TypeScript).
 *
 * Rejects with `invalid-address`, `unsupported`, `refused`, `not-found`, `permission`, `path-too-long`, `busy`, `deadline-exceeded`, `cancelled`, `io`.
 */
export async function connect<C extends Peer | Connection = Peer>(address: string, options: ConnectOptions = {}): Promise<C> {
  const parsed = parse(address);
  try {
    return (await connectBy(transportOf(parsed), parsed, options)) as C;
  } catch (error) {
    throw error instanceof PanpipeError || error instanceof RangeError ? error : classify(error).during(`connecting to ${address}`, address);
  }
}

/**
 * Listens on an address; a service answers the calls of whoever connects.
 *
 * Rejects with `invalid-address`, `unsupported`, `address-in-use`, `not-found`, `permission`, `path-too-long`, `busy`, `io`.
 */
export async function listen<C extends Peer | Connection = Peer>(address: string, options: { service?: Service | undefined } = {}): Promise<Listener<C>> {
  const parsed = parse(address);
  if (options.service !== undefined) checkService(options.service, parsed, address);
  return Listener.open<C>(parsed, transportOf(parsed), options.service ?? null);
}

/**
 * Listens on an address and answers the calls of every connection with a service; or, where the address means plain messages, every message with what `handler` returns.
 *
 * With `text=true` messages are strings (`serve<string>` in TypeScript). A handler that fails closes its connection and is reported as a warning of the type `PanpipeHandlerError`.
 * On SIGTERM a server of a service takes no more calls, finishes what runs within 10 seconds, closes, and ends the process, unless the program listens for the signal itself.
 * Rejects as `listen` does.
 */
export async function serve<M extends Message = Bytes>(address: string, answers: Service | Handler<M>): Promise<Server> {
  const parsed = parse(address);
  if (answers instanceof Service) {
    const server = new Server(await listen(address, { service: answers }), answers);
    closeOnTerm(server, server.done);
    return server;
  }
  if (parsed.protocol === "panpipe") {
    const why = parsed.accepts === null ? "this address means the panpipe protocol; add a framing, as in framing=lines, or give a Service" : "accept lists panpipe; give a Service, with plain() for the others";
    throw new PanpipeError("unsupported", `serving on ${address}`, { address, text: `a function answers plain messages, and ${why}` });
  }
  return new Server(await listen<Connection>(address), answers as Handler<any>);
}

/**
 * Starts a program and connects to its stdin and stdout, with options as in `?framing=lines`; it dies with this process.
 *
 * Closing ends its input and waits until it has gone: 2 seconds later it gets SIGTERM, and 5 seconds after that SIGKILL, all of its process group.
 * Rejects with `invalid-address`, `unsupported`, `not-found`, `permission`, `busy`, `io`.
 */
export async function spawn<C extends Peer | Connection = Peer>(command: readonly string[], options = "", given: ConnectOptions = {}): Promise<C> {
  return connect<C>(spawnAddress(command, options), given);
}

/**
 * Two connections that are each other's peer: `KIND?OPTIONS`, as in `pipe?framing=lines`, or either part alone. Each end may have a service.
 *
 * The kinds are `socket`, `pipe`, and `one-way`, of which the first end reads and the second writes plain messages. Throws `invalid-address`, `unsupported`.
 */
export function pair<C extends Peer | Connection = Peer>(text = "", services: readonly [Service?, Service?] = []): [C, C] {
  const parsed = parsePair(text, vocabulary);
  for (const service of services) if (service !== undefined) checkService(service, parsed, parsed.text);
  const [a, b] = pairLinks(parsed);
  return [opened(a, parsed, parsed.text, true, services[0] ?? null) as C, opened(b, parsed, parsed.text, false, services[1] ?? null) as C];
}

/** Every transport there is, as data. */
export function methods(): TransportInfo[] {
  return transportInfos();
}

/** Every framing there is, as data. */
export function framings(): FramingInfo[] {
  return framingInfos();
}
