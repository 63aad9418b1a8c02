/** panpipe in a browser: connects a page to any process that listens on a WebSocket, or on a port that accepts one. */

import { connectBy, type ConnectOptions as Options } from "./connecting.js";
import type { Connection } from "./connection.js";
import type { Peer } from "./peer.js";
import { absolute, dial, infos } from "./browser/web-socket.js";
import { parseAddress } from "./wire/address.js";
import { Fault, PanpipeError } from "./wire/error.js";
import { isToken } from "./wire/token.js";

export { Connection, type WaitOptions } from "./connection.js";
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
export type { Message } from "./wire/session.js";

/** What `connect` may be given beside the address. */
export interface ConnectOptions extends Options {
  /** The secret that the listener asks for: 16 to 512 visible ASCII characters. */
  token?: string | undefined;
}

const vocabulary = { transports: infos, options: [], framing: null };

/**
 * Connects to `ws://HOST:PORT/PATH` or `wss://…`, with options behind a `?`; a path alone, as `/chat`, is one of the host that the page came from, and nothing its root.
 * Answers a `Peer`, or with `protocol=plain` a `Connection`.
 *
 * Rejects with `invalid-address`, `unsupported`, `refused` (a browser does not tell why), `deadline-exceeded`, `cancelled`.
 */
export async function connect<C extends Peer | Connection = Peer>(address = "/", options: ConnectOptions = {}): Promise<C> {
  const { token } = options;
  const text = absolute(address);
  const parsed = parseAddress(text, vocabulary);
  if (token !== undefined && !isToken(token)) {
    throw new PanpipeError("invalid-address", `connecting to ${text}`, { address: text, text: "a token is 16 to 512 visible ASCII characters without spaces" });
  }
  try {
    return (await connectBy({ connect: (to, limits) => dial(to, token, limits) }, parsed, options)) as C;
  } catch (error) {
    throw error instanceof Fault ? error.during(`connecting to ${text}`, text) : error;
  }
}
