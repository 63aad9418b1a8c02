/** `udp://HOST:PORT`: datagrams, each of them a message that arrives whole, or twice, or never. */

import dgram from "node:dgram";

import type { Address } from "../wire/address.js";
import { Fault } from "../wire/error.js";
import type { Packets } from "../wire/packets.js";
import { classify, codeOf } from "./classify.js";
import { DatagramLink } from "./datagram.js";
import { readHostPort, resolveHost, writeHostPort, type HostScheme } from "./host-port.js";
import type { Limits, Link, LinkListener, ListenerEvents, Transport } from "./link.js";
import { Mailbox, Room } from "./mailbox.js";
import { Senders } from "./senders.js";
import { within } from "./socket.js";

/** What fits through nearly every network in one piece, and what fits into a datagram at all (RFC 768). */
const usual = 1200;
const largest = 65_507;

const scheme: HostScheme = { scheme: "udp", encrypted: false, port: null };

/** The transport `udp`. */
export const udp: Transport = {
  info: {
    scheme: "udp",
    form: "udp://HOST:PORT",
    reaches: "other machines",
    goodFor: "small messages where a lost one does not matter; many senders, one receiver",
    notFor: "messages beyond 1,200 bytes, order, certainty",
    options: ["insecure", "group", "broadcast"],
    packets: true,
    plain: true,
    check(target, { insecure, group, broadcast }) {
      readHostPort(scheme, target, insecure);
      if (group !== "" && broadcast) throw new Fault("invalid-address", "group and broadcast=true exclude each other: one goes to those who have joined, the other to all");
    },
  },

  async connect(address: Address, limits: Limits): Promise<Link> {
    const { host, port } = readHostPort(scheme, address.target, address.insecure);
    if (port === 0) throw new Fault("invalid-address", "port 0 is for listening: nobody can be reached there");
    // Nobody says whether somebody is there, so that the first address has to do.
    const [numeric] = await within(limits, resolveHost(scheme, host, address.insecure));
    const { text, group, broadcast } = address;
    const link = new UdpLink({ host: numeric!, port, group, broadcast }, packetsOf(address), new Mailbox(new Room(text)));
    await within(limits, link.open());
    return link;
  },

  async listen(address: Address, events: ListenerEvents): Promise<LinkListener> {
    const { host, port } = readHostPort(scheme, address.target, address.insecure);
    const hosts = await resolveHost(scheme, host, address.insecure);
    const { group, broadcast } = address;
    const sockets = await bindAll(host === "localhost" && group === "" ? hosts : hosts.slice(0, 1), port, group);
    if (broadcast) sockets.forEach((socket) => socket.setBroadcast(true));
    const bound = sockets[0]!.address().port;
    const senders = new Senders(address.text, sockets, packetsOf(address), events);
    return {
      target: `//${writeHostPort(host, bound)}`,
      ref: () => senders.ref(),
      unref: () => senders.unref(),
      async close() {
        senders.close();
        events.onEnd();
      },
    };
  },
};

function packetsOf(address: Address): Packets {
  return { largest: "max" in address.options ? Math.min(address.max, largest) : usual, empty: true, alone: true, lossy: true, many: address.group !== "" || address.broadcast };
}

function create(host: string, reuseAddr = false): dgram.Socket {
  const v6 = host.includes(":");
  // Every host is numeric here; Node would ask its resolver about each datagram.
  const lookup = (name: string, _: unknown, done: (error: null, address: string, family: number) => void) => done(null, name, v6 ? 6 : 4);
  return dgram.createSocket({ type: v6 ? "udp6" : "udp4", ipv6Only: v6, reuseAddr, lookup: lookup as never });
}

function bind(socket: dgram.Socket, address: string, port: number): Promise<void> {
  return settled(socket, (done) => socket.bind({ address, port, exclusive: true }, done));
}

function settled(socket: dgram.Socket, act: (done: (error?: Error) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    act((error) => {
      socket.off("error", reject);
      if (error) reject(error);
      else resolve();
    });
  });
}

/** Binds all hosts to the same port. The socket of a group has the group's address, and so hears nothing else. */
async function bindAll(hosts: readonly string[], port: number, group: string): Promise<dgram.Socket[]> {
  for (let round = 0; ; round++) {
    const sockets: dgram.Socket[] = [];
    try {
      for (const host of hosts) {
        const socket = create(group || host, group !== "");
        try {
          await bind(socket, group || host, sockets[0]?.address().port ?? port);
          if (group !== "") socket.addMembership(group, host);
          sockets.push(socket);
        } catch (error) {
          socket.close();
          // A machine without IPv6 is fine.
          if (sockets.length === 0 || !["EADDRNOTAVAIL", "EAFNOSUPPORT"].includes(codeOf(error))) throw error;
        }
      }
      return sockets;
    } catch (error) {
      sockets.forEach((socket) => socket.close());
      // The port that was free on one address was taken on the other: another free one, unless one was asked for.
      if (sockets.length === 0 || port !== 0 || codeOf(error) !== "EADDRINUSE" || round === 100) throw error;
    }
  }
}

interface Place {
  host: string;
  port: number;
  group: string;
  broadcast: boolean;
}

/** A socket that sends to one place. */
class UdpLink extends DatagramLink {
  #socket: dgram.Socket | null = null;
  // What waits for a socket: all that is sent while it moves to another port.
  #waiting: Uint8Array[] = [];
  #held = false;

  constructor(
    readonly place: Place,
    packets: Packets,
    mailbox: Mailbox,
  ) {
    super({ transport: "udp", address: writeHostPort(place.group || place.host, place.port) }, packets, mailbox);
  }

  /** Takes a socket; where many may answer, one that is connected to nobody. */
  async open(): Promise<void> {
    const { host, port, group, broadcast } = this.place;
    const socket = create(host);
    try {
      if (!this.packets.many) await settled(socket, (done) => socket.connect(port, host, done));
      else await bind(socket, group === "" ? (host.startsWith("127.") ? "127.0.0.1" : "0.0.0.0") : host, 0);
      if (broadcast) socket.setBroadcast(true);
      if (group !== "") socket.setMulticastInterface(host);
    } catch (error) {
      socket.close();
      throw error;
    }
    if (this.closed) return void socket.close();
    if (!this.#held) socket.unref();
    socket.on("error", (error) => this.events?.onRefused(classify(error)));
    socket.on("message", (packet) => this.mailbox.push(packet));
    this.#socket = socket;
    for (const packet of this.#waiting.splice(0)) this.send(packet);
  }

  ref(): void {
    this.#held = true;
    this.#socket?.ref();
  }

  unref(): void {
    this.#held = false;
    this.#socket?.unref();
  }

  renew(): void {
    if (this.closed || this.#socket === null) return;
    this.#socket.close();
    this.#socket = null;
    this.open().catch((error) => {
      this.events?.onLost(classify(error));
      for (const packet of this.#waiting.splice(0)) this.sent(packet, null);
    });
  }

  protected send(packet: Uint8Array, again = false): void {
    const { port, group, host } = this.place;
    const socket = this.#socket;
    if (socket === null) return void this.#waiting.push(packet);
    const done = (error: Error | null) => {
      // An error of a datagram before this one, which the system tells at the next and does not send that.
      if (error !== null && codeOf(error) === "ECONNREFUSED" && !again && !this.closed) this.send(packet, true);
      else this.sent(packet, error);
    };
    if (this.packets.many) socket.send(packet, port, group || host, done);
    else socket.send(packet, done);
  }

  protected release(): void {
    this.#socket?.close();
    this.#socket = null;
  }
}
