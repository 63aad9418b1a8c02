/** `tcp://HOST:PORT`: TCP sockets, on the loopback interface unless `insecure=true` says otherwise. */

import net from "node:net";

import type { Address } from "../wire/address.js";
import { Fault } from "../wire/error.js";
import { HttpGuard } from "../wire/http.js";
import { codeOf } from "./classify.js";
import { readHostPort, resolveHost, writeHostPort } from "./host-port.js";
import type { Limits, Link, LinkListener, ListenerEvents, Transport } from "./link.js";
import { SocketServers, connectSocket, within } from "./socket.js";
import { StreamLink } from "./stream.js";

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
    check: (target, options) => void readHostPort("tcp", target, options.insecure),
  },

  async connect(address: Address, limits: Limits): Promise<Link> {
    const { host, port } = readHostPort("tcp", address.target, address.insecure);
    if (port === 0) throw new Fault("invalid-address", "port 0 is for listening: nobody can be reached there");
    const deadline = performance.now() + limits.timeout;
    const failures: unknown[] = [];
    for (const numeric of await within(limits, resolveHost("tcp", host, address.insecure))) {
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
    const { host, port } = readHostPort("tcp", address.target, address.insecure);
    const hosts = await resolveHost("tcp", host, address.insecure);
    const servers = new SocketServers(`accepting on ${address.text}`, address.connections, (socket) => {
      // The first bytes of the panpipe protocol tell by themselves, and the other side is told in its words.
      events.onLink(link(socket, address.protocol === "panpipe" ? undefined : new HttpGuard()));
    });
    const bound = await bind(servers, host === "localhost" ? hosts : hosts.slice(0, 1), port, address.backlog);
    return {
      target: `//${writeHostPort(host, bound)}`,
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
  const address = writeHostPort(socket.remoteAddress ?? "", socket.remotePort ?? 0);
  return new StreamLink(socket, socket, { remote: { transport: "tcp", address }, ...(guard === undefined ? {} : { guard }) });
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
