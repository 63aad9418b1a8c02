/** `fd:N`: a descriptor inherited from the parent: a socket, a listening socket, one end of a pipe. */

import net from "node:net";

import type { Address } from "../wire/address.js";
import { Fault } from "../wire/error.js";
import { inputOf, isListening, kindOf, outputOf, waysOf } from "./descriptor.js";
import type { Link, LinkListener, ListenerEvents, Transport } from "./link.js";
import { onlyLink } from "./only-link.js";
import { SocketServers } from "./socket.js";
import { StreamLink } from "./stream.js";

/** The transport `fd`. */
export const fd: Transport = {
  info: {
    scheme: "fd",
    form: "fd:N",
    reaches: "whoever handed the descriptor over",
    goodFor: "a socket or pipe that a parent or a supervisor has opened already",
    notFor: "anything that nobody has opened",
    options: ["connections"],
    check: (target) => void readTarget(target),
  },

  async connect(address: Address): Promise<Link> {
    return open(readTarget(address.target));
  },

  async listen(address: Address, events: ListenerEvents): Promise<LinkListener> {
    const number = readTarget(address.target);
    if (kindOf(number) !== "socket" || !isListening(number)) return onlyLink(address, events, open(number));
    const servers = new SocketServers(`accepting on ${address.text}`, address.connections, (socket) => events.onLink(new StreamLink(socket, socket, { remote: { transport: "fd" } })));
    await servers.add({ fd: number });
    return {
      target: address.target,
      ref: () => servers.ref(),
      unref: () => servers.unref(),
      async close() {
        servers.close();
        events.onEnd();
      },
    };
  },
};

function readTarget(target: string): number {
  const number = /^\d{1,10}$/.test(target) ? Number(target) : Infinity;
  if (number > 2 ** 31 - 1) throw new Fault("invalid-address", `fd: needs a descriptor number, as in fd:3; ${JSON.stringify(target)} is none`);
  return number;
}

function open(number: number): Link {
  const kind = kindOf(number);
  const options = { remote: { transport: "fd" } };
  if (kind === "socket") {
    const socket = new net.Socket({ fd: number, readable: true, writable: true, allowHalfOpen: true });
    return new StreamLink(socket, socket, options);
  }
  const { reads, writes } = waysOf(number);
  if (kind === "pipe") {
    const pipe = new net.Socket({ fd: number, readable: reads, writable: writes, allowHalfOpen: true });
    return new StreamLink(pipe, pipe, options);
  }
  return new StreamLink(inputOf(number), outputOf(number), options);
}
