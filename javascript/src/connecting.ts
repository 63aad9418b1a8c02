/** Connecting: how an address becomes a peer or a connection, whichever transports there are. */

import { expectMany } from "#runtime";

import type { Connection } from "./connection.js";
import type { Transport } from "./link/link.js";
import { checkService, opened } from "./opening.js";
import type { Peer } from "./peer.js";
import type { Service } from "./service.js";
import { milliseconds } from "./timeout.js";
import type { Address } from "./wire/address.js";

/** What `connect` may be given beside the address. */
export interface ConnectOptions {
  /** Milliseconds; left out, the `timeout` of the address. */
  timeout?: number | undefined;
  /** Aborting it gives up. */
  signal?: AbortSignal | undefined;
  /** What answers the calls of the other end. */
  service?: Service | undefined;
}

/** Connects by this transport; throws what that throws, `PanpipeError`s but for what its links throw. */
export async function connectBy(transport: Pick<Transport, "connect">, parsed: Address, options: ConnectOptions): Promise<Peer | Connection> {
  const { text } = parsed;
  const { signal, service } = options;
  if (service !== undefined) checkService(service, parsed, text);
  if (signal !== undefined) expectMany(signal);
  const timeout = milliseconds(options.timeout, parsed.timeout);
  const link = await transport.connect(parsed, { timeout, signal });
  const reopen = parsed.reconnect ? () => transport.connect(parsed, { timeout: parsed.timeout }) : null;
  return opened(link, parsed, text, true, service ?? null, reopen);
}
