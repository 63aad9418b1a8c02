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

/** So many are received at a time, readers of files among them; others wait until one of them goes, or gives way. */
const mostArriving = 64;

/** Somebody is here for so many milliseconds before it gives way to others. */
const patient = 1000;

/** Who has said nothing that decides for so many milliseconds is a person who types, where a framing is listed. */
const silence = 1000;

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
  // In the order in which they came.
  readonly #arriving = new Set<Arrival>();
  readonly #waiting = new Fifo<net.Socket>();
  // When the next one would give way.
  #timer: NodeJS.Timeout | undefined;
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
    if (this.#closed) return void socket.destroy();
    this.#waiting.push(socket);
    this.#takeIn();
  }

  /** Whoever has not been handed over is not any more. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const { socket } of this.#arriving) socket.destroy();
    for (const socket of this.#waiting.removeAll(() => true)) socket.destroy();
  }

  /** Takes in who waits, as far as there are places, or those who have one give way. */
  #takeIn(): void {
    clearTimeout(this.#timer);
    while (this.#arriving.size < mostArriving) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      if (!next.destroyed) void this.#arrive(next);
    }
    const leaving = [...this.#arriving].filter(({ gaveWay }) => gaveWay).length;
    for (let wanted = this.#waiting.size - leaving; wanted > 0; wanted--) {
      const first = this.#firstToGo();
      if (first === undefined) return;
      const left = first.givesWayFrom - performance.now();
      if (left > 0) {
        this.#timer = setTimeout(() => this.#takeIn(), Math.ceil(left)).unref();
        return;
      }
      this.#sendAway(first);
    }
  }

  /** Who gives way first: those who have their answer before the others, and who came first. Age alone decides, for whoever wants to stay can always send another byte. */
  #firstToGo(): Arrival | undefined {
    const all = [...this.#arriving].filter(({ gaveWay }) => !gaveWay);
    return all.find(({ answered }) => answered) ?? all[0];
  }

  /** Closes it as if its time were over, with what there is to say to it. */
  #sendAway(arrival: Arrival): void {
    arrival.gaveWay = true;
    arrival.patience.end(late());
    setImmediate(() => {
      // Who said nothing may have been handed over for a peer of plain messages.
      if (this.#arriving.has(arrival)) arrival.socket.destroy();
    });
  }

  async #arrive(socket: net.Socket): Promise<void> {
    const arrival = new Arrival(socket, remoteOf(this.terms.address.scheme, socket));
    const timer = setTimeout(() => arrival.patience.end(late()), longest).unref();
    this.#arriving.add(arrival);
    try {
      const { secure } = this.terms;
      if (secure === null) return await this.#receive(arrival);
      const { stream, stranger } = await secure.greet(socket, arrival.patience);
      arrival.read(stream);
      await (stranger === null ? this.#receive(arrival) : this.#refuse(arrival, stranger));
    } catch (error) {
      socket.destroy();
      if (!(error instanceof Fault)) throw error;
      this.#warn(error);
    } finally {
      clearTimeout(timer);
      this.#arriving.delete(arrival);
      this.#takeIn();
    }
  }

  async #receive(arrival: Arrival): Promise<void> {
    const { address, http, token } = this.terms;
    const { accepts, protocol } = address;
    if (http === "all") return this.#serveHttp(arrival);
    if (accepts === null && token === null) return this.#handOver(arrival, protocol);
    const speaker = await this.#speakerOf(arrival);
    if (speaker === "http" && http === "some") return this.#serveHttp(arrival);
    const panpipe = this.#policy.panpipe && (speaker === "panpipe" || !this.#policy.plain);
    if (panpipe) return this.#admitPeer(arrival);
    if (speaker === "panpipe") return this.#turnAway(arrival, new Fault("unsupported", "plain messages are served here, and not the panpipe protocol"));
    this.#handOver(arrival, "plain");
  }

  /** Tells somebody who has not proved who it is, in its own words where it has some. */
  async #refuse(arrival: Arrival, fault: Fault): Promise<void> {
    const { address, http } = this.terms;
    this.#warn(fault);
    const { accepts, protocol } = address;
    const speaker = http === "all" ? "http" : accepts === null ? protocol : await this.#speakerOf(arrival);
    if (speaker === "http" && http !== "none") return this.#say(arrival, refusalText(401, fault.text, false, this.#allow));
    if (speaker === "panpipe") return this.#turnAway(arrival, fault);
    arrival.socket.destroy();
  }

  /** Who speaks; where plain messages are served, who is silent is a peer of theirs. */
  #speakerOf({ first, patience }: Arrival): Promise<Speaker> {
    return first.until((bytes, ended) => speakerOf(bytes) ?? (ended ? "other" : null), patience, this.#policy.plain ? { after: silence, answer: "other" } : null);
  }

  /** A peer of the panpipe protocol, or who is taken for one and told that it is none. */
  async #admitPeer(arrival: Arrival): Promise<void> {
    const { token } = this.terms;
    if (token !== null) {
      let fault: Fault | null;
      try {
        const shown = (await arrival.first.until(readHello, arrival.patience)).token;
        fault = shown !== null && isSecret(token, shown) ? null : new Fault("unauthenticated", shown === null ? "a token is needed, and none was given" : "the token is not the right one");
      } catch (error) {
        if (!(error instanceof Fault) || error.code === "connection-lost") throw error;
        fault = error;
      }
      if (fault !== null) {
        this.#warn(fault);
        return this.#turnAway(arrival, fault);
      }
    }
    this.#handOver(arrival, "panpipe");
  }

  async #serveHttp(arrival: Arrival): Promise<void> {
    let request;
    try {
      request = await arrival.first.until(readRequest, arrival.patience);
    } catch (error) {
      const late = error instanceof Fault && error.code === "deadline-exceeded";
      if (!late && !(error instanceof BadHead)) throw error;
      const { status, why } = late ? { status: 408, why: "the request did not come in time" } : (error as BadHead);
      return this.#say(arrival, refusalText(status, why, false, this.#allow));
    }
    const answer = judge(this.#policy, request);
    if (answer.do === "refuse") return this.#say(arrival, refusalText(answer.status, answer.why, answer.headOnly, this.#allow));
    if (answer.do === "file") return this.#serveFile(arrival, answer.path, answer.headOnly);
    arrival.stream.write(upgradeResponse(acceptOf(answer.key), answer.selected));
    const { address } = this.terms;
    const first = arrival.first.bytes.subarray(request.size);
    const carries = answer.panpipe ? "frames" : address.textMode ? "text" : "binary";
    this.#give(arrival, new WebSocketLink(arrival.stream, { client: false, max: address.max, carries, remote: arrival.remote, first, speaks: answer.panpipe ? "panpipe" : "plain" }));
  }

  /** The file is sent in its own time, which is longer. */
  async #serveFile(arrival: Arrival, path: string, headOnly: boolean): Promise<void> {
    const served = this.#files!.open(path);
    if (served === null) return this.#say(arrival, refusalText(404, "no such file", headOnly, this.#allow));
    await sendFile(arrival.stream, served, headOnly);
    return this.#say(arrival, "");
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
  #give(arrival: Arrival, link: Link): void {
    this.#arriving.delete(arrival);
    if (this.#closed) link.destroy();
    else this.onLink(link);
  }

  /** Sends this, and closes once the other end can have read it. Done when it is closed. */
  #say(arrival: Arrival, text: string | Uint8Array): Promise<void> {
    const { stream, remote } = arrival;
    arrival.answered = true;
    const link = new StreamLink(stream, stream, { remote });
    link.write([typeof text === "string" ? Buffer.from(text) : text]);
    void link.close(longest);
    this.#takeIn();
    return new Promise((resolve) => {
      if (stream.closed) resolve();
      else stream.once("close", resolve);
    });
  }

  /** Tells in the words of the panpipe protocol why it is not talked to. */
  #turnAway(arrival: Arrival, fault: Fault): Promise<void> {
    const { max } = this.terms.address;
    const session = new Session({ client: false, max, calls: 1024, remote: true, largestPacket: null, datagrams: false, left: () => Infinity }, nobody, performance.now());
    session.turnAway(fault);
    return this.#say(arrival, Buffer.concat(session.take()));
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
  readonly patience = new Patience();
  readonly came = performance.now();
  stream: Duplex;
  first: FirstBytes;
  /** Whether it only has to read what it was told. */
  answered = false;
  gaveWay = false;

  constructor(
    readonly socket: net.Socket,
    readonly remote: Remote,
  ) {
    this.stream = socket;
    this.first = new FirstBytes(socket);
  }

  /** Reads it over this stream from here on. */
  read(stream: Duplex): void {
    this.stream = stream;
    this.first = new FirstBytes(stream);
  }

  /** From when on it gives way where others find no place: who has its answer has all that it came for. */
  get givesWayFrom(): number {
    return this.answered ? this.came : this.came + patient;
  }
}

function late(): Fault {
  return new Fault("deadline-exceeded", "it did not say in time what it wants");
}

/** A session that is only turned away has nobody to tell. */
const nobody = Object.fromEntries(["call", "send", "item", "end", "open", "reply", "error", "cancelled", "room", "flushed", "idle", "draining", "ended"].map((name) => [name, () => {}])) as unknown as Events;
