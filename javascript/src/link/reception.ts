/** Reception: what happens between accepting a socket and handing over a link. TLS, who speaks, the upgrade to WebSocket, tokens, files. */

import type net from "node:net";
import type { Duplex } from "node:stream";

import { warn } from "#runtime";

import type { Address } from "../wire/address.js";
import { Fault } from "../wire/error.js";
import { Fifo } from "../wire/fifo.js";
import { speakerOf, type Speaker } from "../wire/first-bytes.js";
import { HttpGuard } from "../wire/http.js";
import { readHello } from "../wire/panpipe/hello.js";
import { Session, type Events } from "../wire/panpipe/session.js";
import { isSecret } from "../wire/token.js";
import { defaultHosts, hostRules } from "../wire/websocket/authority.js";
import { BadHead } from "../wire/websocket/head.js";
import { judge, readRequest, type Policy } from "../wire/websocket/policy.js";
import { refusalText } from "../wire/websocket/refusal.js";
import { upgradeResponse } from "../wire/websocket/upgrade.js";
import { remoteOf } from "./dial.js";
import { FirstBytes, Patience } from "./first-bytes.js";
import type { HostPort } from "./host-port.js";
import type { Link, Remote, Speaks } from "./link.js";
import type { SecureListener } from "./secure.js";
import { StaticFolder, sendFile } from "./static.js";
import { StreamLink } from "./stream.js";
import { WebSocketLink, acceptOf } from "./web-socket.js";

/** Everything before a link is handed over takes at most so many milliseconds. */
const longest = 5000;

/** So many are received at a time; others wait. */
const mostArriving = 64;

/** Who has said nothing that decides for so many milliseconds is a person who types, where a framing is listed. */
const silence = 1000;

/** Somebody who reads a file must take some of it within so many milliseconds. */
const idle = 10_000;

/** Why a connection was not handed over is told at most once in so many milliseconds. */
const warnEvery = 1000;

/** What somebody who comes is asked. */
export interface Terms {
  address: Address;
  /** What speaks HTTP: everybody, those who begin like it, or nobody. */
  http: "all" | "some" | "none";
  secure: SecureListener | null;
  /** The secret to be known; null for none. */
  token: string | null;
}

/** Receives those who come to one listener. */
export class Reception {
  readonly #policy: Policy;
  readonly #files: StaticFolder | null;
  readonly #arriving = new Set<net.Socket>();
  readonly #waiting = new Fifo<net.Socket>();
  #closed = false;
  #warned = -Infinity;

  /** Throws what the folder of files throws. */
  constructor(
    readonly terms: Terms,
    place: HostPort,
    readonly onLink: (link: Link) => void,
  ) {
    const { address, secure, token } = terms;
    const { accepts, protocol, hosts, origins } = address;
    this.#files = address.static === "" ? null : new StaticFolder(address.static);
    this.#policy = {
      path: place.path === "" ? "/" : place.path,
      port: place.port,
      secure: secure !== null,
      hosts: [...defaultHosts(place.host), ...hostRules(hosts)],
      origins,
      token,
      panpipe: accepts === null ? protocol === "panpipe" : accepts.panpipe,
      plain: accepts === null ? protocol === "plain" : accepts.framing !== null,
      files: this.#files !== null,
    };
  }

  /** The port that was bound. */
  set port(port: number) {
    this.#policy.port = port;
  }

  /** Takes a socket that was accepted. */
  admit(socket: net.Socket): void {
    socket.setNoDelay(true);
    socket.unref();
    // It may break while nobody reads it.
    socket.on("error", () => {});
    if (this.#closed) socket.destroy();
    else if (this.#arriving.size < mostArriving) void this.#arrive(socket);
    else this.#waiting.push(socket);
  }

  /** Whoever has not been handed over is not any more. */
  close(): void {
    this.#closed = true;
    for (const socket of this.#arriving) socket.destroy();
    for (const socket of this.#waiting.removeAll(() => true)) socket.destroy();
  }

  async #arrive(socket: net.Socket): Promise<void> {
    const patience = new Patience();
    const timer = setTimeout(() => patience.end(new Fault("deadline-exceeded", "it did not say in time what it wants")), longest).unref();
    this.#arriving.add(socket);
    try {
      const { secure } = this.terms;
      const stream = secure === null ? socket : await secure.greet(socket, patience);
      await this.#receive(new Arrival(socket, stream, remoteOf(this.terms.address.scheme, socket)), patience);
    } catch (error) {
      socket.destroy();
      if (!(error instanceof Fault)) throw error;
      this.#warn(error);
    } finally {
      clearTimeout(timer);
      this.#arriving.delete(socket);
      let next = this.#waiting.shift();
      while (next !== undefined && next.destroyed) next = this.#waiting.shift();
      if (next !== undefined) void this.#arrive(next);
    }
  }

  async #receive(arrival: Arrival, patience: Patience): Promise<void> {
    const { address, http, token } = this.terms;
    const { accepts, protocol } = address;
    if (http === "all") return this.#serveHttp(arrival, patience);
    if (accepts === null && token === null) return this.#handOver(arrival, protocol);
    const speaker = await this.#speakerOf(arrival, patience);
    if (speaker === "http" && http === "some") return this.#serveHttp(arrival, patience);
    const panpipe = this.#policy.panpipe && (speaker === "panpipe" || !this.#policy.plain);
    if (panpipe) return this.#admitPeer(arrival, patience);
    if (speaker === "panpipe") return arrival.turnAway(address, new Fault("unsupported", "plain messages are served here, and not the panpipe protocol"));
    this.#handOver(arrival, "plain");
  }

  /** Who speaks; where plain messages are served, who is silent is a peer of theirs. */
  #speakerOf(arrival: Arrival, patience: Patience): Promise<Speaker> {
    return arrival.first.until((bytes, ended) => speakerOf(bytes) ?? (ended ? "other" : null), patience, this.#policy.plain ? { after: silence, answer: "other" } : null);
  }

  /** A peer of the panpipe protocol, or who is taken for one and told that it is none. */
  async #admitPeer(arrival: Arrival, patience: Patience): Promise<void> {
    const { address, token } = this.terms;
    if (token !== null) {
      let fault: Fault | null;
      try {
        const shown = (await arrival.first.until(readHello, patience)).token;
        fault = shown !== null && isSecret(token, shown) ? null : new Fault("unauthenticated", shown === null ? "a token is needed, and none was given" : "the token is not the right one");
      } catch (error) {
        if (!(error instanceof Fault) || error.code === "connection-lost") throw error;
        fault = error;
      }
      if (fault !== null) {
        this.#warn(fault);
        return arrival.turnAway(address, fault);
      }
    }
    this.#handOver(arrival, "panpipe");
  }

  async #serveHttp(arrival: Arrival, patience: Patience): Promise<void> {
    let request;
    try {
      request = await arrival.first.until(readRequest, patience);
    } catch (error) {
      const late = error instanceof Fault && error.code === "deadline-exceeded";
      if (!late && !(error instanceof BadHead)) throw error;
      const { status, why } = late ? { status: 408, why: "the request did not come in time" } : (error as BadHead);
      return arrival.say(refusalText(status, why, false, this.#allow));
    }
    const answer = judge(this.#policy, request);
    if (answer.do === "refuse") return arrival.say(refusalText(answer.status, answer.why, answer.headOnly, this.#allow));
    if (answer.do === "file") return this.#serveFile(arrival, answer.path, answer.headOnly);
    arrival.stream.write(upgradeResponse(acceptOf(answer.key), answer.selected));
    const { address } = this.terms;
    const first = arrival.first.bytes.subarray(request.size);
    const carries = answer.panpipe ? "frames" : address.textMode ? "text" : "binary";
    this.#give(arrival, new WebSocketLink(arrival.stream, { client: false, max: address.max, carries, remote: arrival.remote, first, speaks: answer.panpipe ? "panpipe" : "plain" }));
  }

  /** The file is sent in its own time, which is not the reception's. */
  #serveFile(arrival: Arrival, path: string, headOnly: boolean): void {
    const served = this.#files!.open(path);
    if (served === null) return arrival.say(refusalText(404, "no such file", headOnly, this.#allow));
    const { stream } = arrival;
    (stream as net.Socket).setTimeout(idle, () => stream.destroy());
    void sendFile(stream, served, headOnly).then(() => arrival.say(""));
  }

  #handOver(arrival: Arrival, speaks: Speaks): void {
    const { stream, first, remote } = arrival;
    const { bytes } = first;
    const { address } = this.terms;
    // The first bytes of the panpipe protocol tell by themselves, and the other side is told in its words.
    const guard = speaks === "panpipe" ? {} : { guard: new HttpGuard() };
    this.#give(arrival, new StreamLink(stream, stream, { remote, first: bytes, ...(address.accepts === null ? {} : { speaks }), ...guard }));
  }

  /** From here on it is its user's, who may close the listener at once. */
  #give({ socket }: Arrival, link: Link): void {
    this.#arriving.delete(socket);
    if (this.#closed) link.destroy();
    else this.onLink(link);
  }

  get #allow(): string {
    return this.#files === null ? "GET" : "GET, HEAD";
  }

  #warn(fault: Fault): void {
    // Who leaves again, or looks whether somebody listens, does no harm.
    if (fault.code === "connection-lost" || this.#closed) return;
    const now = performance.now();
    if (now < this.#warned + warnEvery) return;
    this.#warned = now;
    warn(fault.during(`receiving a connection on ${this.terms.address.text}`, "").message, "PanpipePeerWarning");
  }
}

/** Somebody who has come. */
class Arrival {
  readonly first: FirstBytes;

  constructor(
    readonly socket: net.Socket,
    readonly stream: Duplex,
    readonly remote: Remote,
  ) {
    this.first = new FirstBytes(stream);
  }

  /** Sends this, and closes once the other end can have read it. */
  say(text: string | Uint8Array): void {
    const link = new StreamLink(this.stream, this.stream, { remote: this.remote });
    link.write([typeof text === "string" ? Buffer.from(text) : text]);
    void link.close(longest);
  }

  /** Tells in the words of the panpipe protocol why it is not talked to. */
  turnAway(address: Address, fault: Fault): void {
    const session = new Session({ client: false, max: address.max, calls: 1024, remote: true, largestPacket: null, datagrams: false, left: () => Infinity }, nobody, performance.now());
    session.turnAway(fault);
    this.say(Buffer.concat(session.take()));
  }
}

/** A session that is only turned away has nobody to tell. */
const nobody = Object.fromEntries(["call", "send", "item", "end", "open", "reply", "error", "cancelled", "room", "flushed", "idle", "draining", "ended"].map((name) => [name, () => {}])) as unknown as Events;
