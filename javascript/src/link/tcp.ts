/** `tcp://HOST:PORT`: TCP sockets, on the loopback interface unless `insecure=true` says otherwise. */

import dns from "node:dns/promises";
import net from "node:net";

import type { Address } from "../wire/address.js";
import { Fault } from "../wire/error.js";
import { isLoopback, isNumeric } from "../wire/host.js";
import { HttpGuard } from "../wire/http.js";
import type { Options } from "../wire/option.js";
import { codeOf } from "./classify.js";
import type { Limits, Link, LinkListener, ListenerEvents, Transport } from "./link.js";
import { SocketServers, connectSocket, within } from "./socket.js";
import { StreamLink } from "./stream.js";

// Known without a resolver, which in Node would start threads.
const localhost = ["127.0.0.1", "::1"];

const absent = ["ECONNREFUSED", "EADDRNOTAVAIL", "EAFNOSUPPORT", "ENETUNREACH"];

/** The transport `tcp`. */
export const tcp: Transport = {
  info: {
    scheme: "tcp",
    form: "tcp://HOST:PORT",
    reaches: "other machines",
    goodFor: "programs on different machines; anything that speaks sockets",
    notFor: "secrets across a network (no encryption)",
    options: ["backlog", "connections", "insecure"],
    check: (target, options) => void readTarget(target, options),
  },

  async connect(address: Address, limits: Limits): Promise<Link> {
    const { host, port } = readTarget(address.target, address);
    if (port === 0) throw new Fault("invalid-address", "port 0 is for listening: nobody can be reached there");
    const deadline = performance.now() + limits.timeout;
    const failures: unknown[] = [];
    for (const numeric of await within(limits, resolve(host, address.insecure))) {
      try {
        return link(await connectSocket({ host: numeric, port }, { ...limits, timeout: deadline - performance.now() }));
      } catch (error) {
        failures.push(error);
        if (error instanceof Fault) break;
      }
    }
    // Whichever says more than "nobody there" has the most to say.
    throw failures.find((error) => !absent.includes(codeOf(error))) ?? failures[0];
  },

  async listen(address: Address, events: ListenerEvents): Promise<LinkListener> {
    const { host, port } = readTarget(address.target, address);
    const hosts = await resolve(host, address.insecure);
    const servers = new SocketServers(`accepting on ${address.text}`, address.connections, (socket) => events.onLink(link(socket, new HttpGuard())));
    const bound = await bind(servers, host === "localhost" ? hosts : hosts.slice(0, 1), port, address.backlog);
    return {
      target: `//${host.includes(":") ? `[${host}]` : host}:${bound}`,
      ref: () => servers.ref(),
      unref: () => servers.unref(),
      async close() {
        servers.close();
        events.onEnd();
      },
    };
  },
};

function link(socket: net.Socket, guard?: HttpGuard): Link {
  // Messages are small and each is flushed; Nagle's algorithm would only delay them.
  socket.setNoDelay(true);
  const address = `${socket.remoteFamily === "IPv6" ? `[${socket.remoteAddress}]` : socket.remoteAddress}:${socket.remotePort}`;
  return new StreamLink(socket, socket, { remote: { transport: "tcp", address }, ...(guard === undefined ? {} : { guard }) });
}

function readTarget(target: string, options: Options): { host: string; port: number } {
  if (!target.startsWith("//")) throw new Fault("invalid-address", "a TCP address is tcp://HOST:PORT");
  const text = target.slice(2);
  const parts = /^(?:\[([^\]]*)\]|([^[\]:]*))(?::([^:]*))?$/.exec(text);
  if (parts === null) throw new Fault("invalid-address", "an IPv6 address stands in brackets, as in tcp://[::1]:9999");
  const port = parts[3] ?? "";
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65535) {
    throw new Fault("invalid-address", `the port must be a number from 0 to 65535, as in tcp://localhost:9999; this one is ${JSON.stringify(port)}`);
  }
  const host = parts[1] ?? (parts[2] === "" ? "localhost" : parts[2]!);
  if (parts[1] !== undefined && (!isNumeric(host) || !host.includes(":"))) {
    throw new Fault("invalid-address", `${JSON.stringify(host)} is no IPv6 address, and only those stand in brackets`);
  }
  if (parts[1] === undefined && !/^[A-Za-z0-9._-]+$/.test(host)) throw new Fault("invalid-address", `${JSON.stringify(host)} is no host name`);
  if (isNumeric(host)) allow(host, options.insecure);
  return { host, port: Number(port) };
}

/** The numeric addresses of a host, each of them allowed. */
async function resolve(host: string, insecure: boolean): Promise<string[]> {
  if (host === "localhost") return localhost;
  if (isNumeric(host)) return [host];
  const found = await dns.lookup(host, { all: true });
  for (const { address } of found) allow(address, insecure);
  return found.map(({ address }) => address);
}

function allow(host: string, insecure: boolean): void {
  if (!insecure && !isLoopback(host)) {
    throw new Fault("invalid-address", `${host} is not this machine, and TCP is not encrypted; insecure=true allows it all the same`);
  }
}

/** Listens on all hosts with the same port; answers the port. */
async function bind(servers: SocketServers, hosts: readonly string[], port: number, backlog: number): Promise<number> {
  for (let round = 0; ; round++) {
    const first = await servers.add({ host: hosts[0]!, port, backlog });
    const bound = (first.address() as net.AddressInfo).port;
    try {
      for (const host of hosts.slice(1)) await servers.add({ host, port: bound, backlog });
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
