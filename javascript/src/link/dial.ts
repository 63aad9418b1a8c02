/** Dialling: what the schemes that name a host share when they connect and when they listen. */

import type net from "node:net";

import type { Address } from "../wire/address.js";
import { Fault } from "../wire/error.js";
import { codeOf } from "./classify.js";
import { readHostPort, resolveHost, writeHostPort, type HostPort, type HostScheme } from "./host-port.js";
import type { Limits, Remote } from "./link.js";
import { SocketServers, connectSocket, within } from "./socket.js";

const absent = ["ECONNREFUSED", "EADDRNOTAVAIL", "EAFNOSUPPORT", "ENETUNREACH"];

/** Reads where an address is to connect to; throws `invalid-address` for what can only be listened on. */
export function readToDial(scheme: HostScheme, address: Address): HostPort {
  const place = readHostPort(scheme, address.target, address.insecure);
  if (place.port === 0) throw new Fault("invalid-address", "port 0 is for listening: nobody can be reached there");
  if (address.accepts !== null) throw new Fault("invalid-address", "accept is for listening; say framing or protocol, or nothing for panpipe");
  return place;
}

/** Connects to whichever of the host's addresses answers first, one after the other. */
export async function dial(scheme: HostScheme, { host, port }: HostPort, address: Address, limits: Limits): Promise<net.Socket> {
  const deadline = performance.now() + limits.timeout;
  const failures: unknown[] = [];
  for (const numeric of await within(limits, resolveHost(scheme, host, address.insecure))) {
    try {
      const socket = await connectSocket({ host: numeric, port }, { ...limits, timeout: deadline - performance.now() });
      // Messages are small and each is flushed; Nagle's algorithm would only delay them.
      return socket.setNoDelay(true);
    } catch (error) {
      failures.push(error);
      if (error instanceof Fault) break;
    }
  }
  // Whichever says more than "nobody there" has the most to say.
  throw failures.find((error) => !absent.includes(codeOf(error))) ?? failures[0];
}

/** Listens on the host's first address, or as `localhost` on both; answers the port. */
export async function bind(servers: SocketServers, scheme: HostScheme, { host, port }: HostPort, address: Address): Promise<number> {
  const found = await resolveHost(scheme, host, address.insecure);
  const hosts = host === "localhost" ? found : found.slice(0, 1);
  const { backlog } = address;
  for (let round = 0; ; round++) {
    const first = await servers.add({ host: hosts[0]!, port, backlog });
    const bound = (first.address() as net.AddressInfo).port;
    try {
      for (const each of hosts.slice(1)) await servers.add({ host: each, port: bound, backlog });
      return bound;
    } catch (error) {
      // A machine without IPv6 is fine.
      if (["EADDRNOTAVAIL", "EAFNOSUPPORT"].includes(codeOf(error))) return bound;
      servers.close();
      // The port that was free on one address was taken on the other: another free one, unless one was asked for.
      if (port !== 0 || codeOf(error) !== "EADDRINUSE" || round === 100) throw error;
    }
  }
}

/** What is known of the other end of a socket. */
export function remoteOf(transport: string, socket: net.Socket): Remote {
  return { transport, address: writeHostPort(socket.remoteAddress ?? "", socket.remotePort ?? 0) };
}
