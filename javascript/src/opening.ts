/** Opening: what a link is to its user, which the protocol of its address says. */

import { Connection } from "./connection.js";
import type { Link } from "./link/link.js";
import { Peer } from "./peer.js";
import type { Service } from "./service.js";
import type { Address } from "./wire/address.js";
import { PanpipeError } from "./wire/error.js";
import { asPlain } from "./wire/option.js";

/** A peer where the address means the panpipe protocol, else a connection of messages; throws `unsupported` for a service that cannot be called. */
export function opened(link: Link, address: Address, text: string, client: boolean, service: Service | null, reopen: (() => Promise<Link>) | null = null): Connection | Peer {
  // What an inherited descriptor is shows only once it is open.
  const plain = (link.speaks ?? address.protocol) === "plain" || (link.oneWay !== undefined && !("protocol" in address.options) && !("framing" in address.options));
  if (plain) {
    if (service !== null) {
      link.destroy();
      throw noService(text, false);
    }
    return new Connection(link, asPlain(address), text);
  }
  if (link.oneWay !== undefined) {
    link.destroy();
    throw new PanpipeError("unsupported", `speaking the panpipe protocol on ${text}`, { address: text, text: link.oneWay.why });
  }
  return new Peer(link, address, text, { client, service, reopen, remote: address.elsewhere });
}

/** Throws `unsupported` where a service cannot be called. */
export function checkService(service: Service, address: Address, text: string): void {
  const { accepts, protocol } = address;
  if (accepts === null ? protocol === "plain" : accepts.framing !== null && service.plainHandler === null) throw noService(text, accepts !== null);
}

function noService(text: string, mixed: boolean): PanpipeError {
  const why = mixed ? "accept lists a framing, and the service answers no plain messages: give it a handler with plain()" : "a service needs protocol=panpipe, and this address means plain messages";
  return new PanpipeError("unsupported", `serving on ${text}`, { address: text, text: why });
}
