/** `fd:N`, `fd:IN,OUT` and `fd:NAME`: descriptors that this process was started with: sockets, listening sockets, pipes, terminals. */

import net from "node:net";

import type { Address } from "../wire/address.js";
import { Fault } from "../wire/error.js";
import { inputOf, isListening, isPackets, kindOf, outputOf, waysOf } from "./descriptor.js";
import type { Link, LinkListener, ListenerEvents, Transport } from "./link.js";
import { HttpGuard } from "../wire/http.js";
import { onlyLink } from "./only-link.js";
import { SocketServers } from "./socket.js";
import { StreamLink } from "./stream.js";

/** The transport `fd`. */
export const fd: Transport = {
  info: {
    scheme: "fd",
    form: "fd:N, fd:IN,OUT, fd:NAME",
    reaches: "whoever handed the descriptor over",
    goodFor: "a socket or pipe that a parent or a supervisor has opened already",
    notFor: "anything that nobody has opened",
    options: ["connections"],
    check: (target) => void readTarget(target),
  },

  async connect(address: Address): Promise<Link> {
    return openAll(numbers(address.target), address);
  },

  async listen(address: Address, events: ListenerEvents): Promise<LinkListener> {
    const fds = numbers(address.target);
    if (!fds.every((fd) => kindOf(fd) === "socket" && isListening(fd))) return onlyLink(address, events, openAll(fds, address));
    const servers = new SocketServers(`accepting on ${address.text}`, address.connections, (socket) => {
      // What a browser can reach has an address of the network.
      const guard = socket.remoteFamily === undefined || address.protocol === "panpipe" ? {} : { guard: new HttpGuard() };
      events.onLink(new StreamLink(socket, socket, { remote: { transport: "fd" }, ...guard }));
    });
    for (const fd of fds) {
      refusePackets(fd);
      await servers.add({ fd });
    }
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

/** The first descriptor of socket activation (sd_listen_fds(3)). */
const firstActivated = 3;

/** What holds the number of the socket that a parent gave its child beside stdio. */
const fromParent = "PANPIPE_FD";

/** Numbers as they are written, or the name that stands for them. */
function readTarget(target: string): number[] | string {
  if (/^[A-Za-z_]/.test(target)) return target;
  const parts = target.split(",");
  return parts.length > 2 ? [readNumber(target)] : parts.map(readNumber);
}

function readNumber(text: string): number {
  const number = /^\d{1,10}$/.test(text) ? Number(text) : Infinity;
  if (number > 2 ** 31 - 1) throw new Fault("invalid-address", `${JSON.stringify(text)} is no descriptor number, as in fd:3`);
  return number;
}

/** The numbers that a target stands for: several sockets of socket activation may share a name. */
function numbers(target: string): number[] {
  const read = readTarget(target);
  if (typeof read !== "string") return read;
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES = "", [fromParent]: given = "" } = process.env;
  if (read === fromParent) {
    if (!/^\d{1,9}$/.test(given)) throw new Fault("not-found", `${fromParent} holds no descriptor number`);
    return [Number(given)];
  }
  if (LISTEN_PID !== String(process.pid)) throw new Fault("not-found", "no descriptors were handed to this process: LISTEN_PID is not its number");
  const names = LISTEN_FDNAMES.split(":").slice(0, Number(LISTEN_FDS) || 0);
  const found = names.flatMap((name, place) => (name === read ? [firstActivated + place] : []));
  if (found.length === 0) throw new Fault("not-found", `none of the ${names.length} descriptors has this name; LISTEN_FDNAMES is ${JSON.stringify(LISTEN_FDNAMES)}`);
  return found;
}

function refusePackets(fd: number): void {
  if (isPackets(fd)) throw new Fault("unsupported", `descriptor ${fd} is a socket of packets, which Node alone cannot use`);
}

function openAll(fds: readonly number[], address: Address): Link {
  for (const fd of fds) {
    if (kindOf(fd) !== "socket") continue;
    refusePackets(fd);
    if (isListening(fd)) throw new Fault("unsupported", "the descriptor is a socket that listens: it accepts, and connects to nobody");
  }
  if (fds.length === 1) return open(fds[0]!);
  if (typeof readTarget(address.target) === "string") throw new Fault("unsupported", "several descriptors have this name, and not all of them listen");
  return new StreamLink(inputOf(fds[0]!), outputOf(fds[1]!), { remote: { transport: "fd" } });
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
