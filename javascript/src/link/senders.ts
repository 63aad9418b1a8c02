/** Sockets that many send to: a link for each sender, which the sockets know by its address. */

import type dgram from "node:dgram";

import { Fault } from "../wire/error.js";
import type { Packets } from "../wire/packets.js";
import { DatagramLink } from "./datagram.js";
import { writeHostPort } from "./host-port.js";
import type { ListenerEvents } from "./link.js";
import { Mailbox, Room } from "./mailbox.js";

/** Senders at once. Datagrams know no close: for one more the sender that was heard least recently is let go. */
const mostSenders = 1024;

/** The senders of one listener. The sockets live while it or one of its links does. */
export class Senders {
  // From the one that was heard least recently.
  readonly #links = new Map<string, SenderLink>();
  readonly #held = new Set<object>();
  readonly #room: Room;
  #open = true;
  #closed = false;

  constructor(
    text: string,
    readonly sockets: readonly dgram.Socket[],
    readonly packets: Packets,
    readonly events: ListenerEvents,
  ) {
    this.#room = new Room(text);
    for (const socket of sockets) {
      socket.on("message", (packet, { address, port }) => this.#arrived(socket, packet, address, port));
      // Of a datagram that could not be sent, which its own callback tells too.
      socket.on("error", () => {});
    }
  }

  ref(by: object = this): void {
    this.#held.add(by);
    if (this.#held.size === 1) this.sockets.forEach((socket) => socket.ref());
  }

  unref(by: object = this): void {
    this.#held.delete(by);
    if (this.#held.size === 0) this.sockets.forEach((socket) => socket.unref());
  }

  /** Takes no new senders. */
  close(): void {
    this.#open = false;
    this.unref();
    this.#closeSockets();
  }

  /** Forgets a link; the next datagram of its sender makes another. */
  remove(link: SenderLink): void {
    this.unref(link);
    if (this.#links.get(link.key) === link) this.#links.delete(link.key);
    this.#closeSockets();
  }

  #arrived(socket: dgram.Socket, packet: Buffer, address: string, port: number): void {
    const key = `${port} ${address}`;
    let link = this.#links.get(key);
    if (link === undefined) {
      if (!this.#open) return;
      if (this.#links.size >= mostSenders) this.#letGo();
      link = new SenderLink(this, socket, key, address, port, new Mailbox(this.#room));
      this.#links.set(key, link);
      this.events.onLink(link);
    } else {
      this.#links.delete(key);
      this.#links.set(key, link);
    }
    link.mailbox.push(packet);
  }

  #letGo(): void {
    const [oldest] = this.#links.values();
    this.#links.delete(oldest!.key);
    this.events.onGone(oldest!);
    oldest!.lose(new Fault("connection-lost", `there are more than ${mostSenders} senders, and this one was heard least recently`));
  }

  #closeSockets(): void {
    if (this.#open || this.#closed || this.#links.size > 0) return;
    this.#closed = true;
    for (const socket of this.sockets) socket.close();
  }
}

/** One sender, and what came from it. */
class SenderLink extends DatagramLink {
  #lost = false;

  constructor(
    readonly senders: Senders,
    readonly socket: dgram.Socket,
    readonly key: string,
    readonly host: string,
    readonly port: number,
    mailbox: Mailbox,
  ) {
    super({ transport: "udp", address: writeHostPort(host, port) }, senders.packets, mailbox);
  }

  /** Ends it: it is let go. */
  lose(fault: Fault): void {
    this.#lost = true;
    this.mailbox.lose(fault);
  }

  ref(): void {
    if (!this.closed) this.senders.ref(this);
  }

  unref(): void {
    this.senders.unref(this);
  }

  protected send(packet: Uint8Array): void {
    // The sockets of one that was let go may be closed.
    if (this.#lost) return process.nextTick(() => this.sent(packet, null));
    this.socket.send(packet, this.port, this.host, (error) => this.sent(packet, error));
  }

  protected release(): void {
    this.senders.remove(this);
  }
}
