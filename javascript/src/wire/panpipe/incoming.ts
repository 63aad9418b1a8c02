/** The receiving half of a session: what each frame does, and which break the connection. Held by `vectors/protocol/bad.json`. */

import { Fault } from "../error.js";
import { Inbox } from "../inbox.js";
import { unpackFailure, type Failure } from "./failure.js";
import * as f from "./frame.js";
import { Misfit } from "./misfit.js";
import { Messages } from "./messages.js";
import { fewestCalls, type State } from "./state.js";
import { unpackValue } from "./unpack.js";

/** Most that a window may be. */
const largestWindow = 2 ** 31;

/** Frames that carry nothing between two that do, and CANCELs of answered calls between two other frames. */
const mostIdle = 1024;

/** PINGs whose PONGs were not taken yet. */
const mostPings = 64;

/** Reads the frames of one session. */
export class Incoming {
  /** PONGs that were not taken. */
  pongs = 0;
  readonly messages: Messages;
  #idle = 0;
  #cancels = 0;
  readonly #inbox = new Inbox(new f.FrameDecoder());
  readonly #head: f.Head = { kind: 0, flags: 0, name: 0, id: 0 };

  constructor(readonly state: State) {
    this.messages = new Messages(state);
  }

  /** Whether what has arrived ends inside a frame or a message. */
  get inside(): boolean {
    return this.#inbox.size > 0 || this.messages.inPieces;
  }

  /** Takes bytes of a byte link. */
  receive(chunk: Uint8Array): void {
    const { state } = this;
    this.#inbox.push(chunk);
    try {
      while (!state.over) {
        const bytes = this.#inbox.find();
        if (bytes === null) return;
        const { from, to } = this.#inbox.decoder;
        f.readHead(bytes, from, this.#head);
        this.#frame(bytes, from + f.headSize, to);
      }
    } catch (error) {
      this.#broken(error);
    }
  }

  /** Takes a packet; answers whether it was a frame, which of datagrams it need not be. */
  receivePacket(packet: Uint8Array): boolean {
    try {
      if (!this.state.greeted) f.checkHello(packet, 0, Math.min(packet.length, f.headSize + f.magic.length + 1));
      if (packet.length < f.headSize || f.readU32(packet, 0) !== packet.length - f.headSize) throw new Fault("bad-peer", "a packet that is not one frame");
      f.readHead(packet, 0, this.#head);
      this.#frame(packet, f.headSize, packet.length);
      return true;
    } catch (error) {
      if (!(error instanceof Fault) || !this.state.options.datagrams) this.#broken(error);
      return false;
    }
  }

  #broken(error: unknown): void {
    if (!(error instanceof Fault)) throw error;
    this.state.break(error);
  }

  #frame(bytes: Uint8Array, from: number, to: number): void {
    const { kind, id } = this.#head;
    if (!this.state.greeted) return this.#hello(bytes, from, to);
    if (this.messages.inPieces && this.messages.piece(this.#head, bytes, from, to)) {
      this.#idle = this.#cancels = 0;
      return;
    }
    if (kind !== f.CANCEL) this.#cancels = 0;
    // PING and CREDIT count themselves when they carry nothing.
    if (kind >= f.ignoredFrom) return this.#carriesNothing(`a frame of the unknown kind ${kind}`);
    if (kind <= f.OPEN && kind !== f.PING && kind !== f.PONG && kind !== f.CREDIT) this.#idle = 0;
    switch (kind) {
      case f.CALL:
      case f.SEND:
        return this.messages.named(this.#head, bytes, from, to);
      case f.REPLY:
      case f.ERROR:
      case f.ITEM:
        return this.messages.nameless(this.#head, bytes, from, to);
      case f.END:
        this.#empty(from, to);
        return this.#end(id);
      case f.CREDIT:
        if (to - from !== 4) throw new Fault("bad-peer", `a CREDIT of ${to - from} bytes`);
        return this.#credit(id, f.readU32(bytes, from));
      case f.CANCEL:
        this.#empty(from, to);
        return this.#cancel(id);
      case f.PING:
        this.#empty(from, to);
        return this.#ping(id);
      case f.PONG:
        this.#empty(from, to);
        return this.#pong(id);
      case f.OPEN:
        this.#empty(from, to);
        return this.#open(id);
      case f.GOODBYE:
        return this.#goodbye(bytes, from, to);
      default:
        throw new Fault("bad-peer", "a second HELLO");
    }
  }

  #hello(bytes: Uint8Array, from: number, to: number): void {
    const settings = read(bytes.subarray(from + f.magic.length + 1, to), "the settings of the HELLO");
    const map = settings as { max?: unknown; calls?: unknown; quiet?: unknown };
    if (Object.prototype.toString.call(settings) !== "[object Object]") throw new Fault("bad-peer", "the settings of the HELLO are no map");
    const { max = this.state.outgoing.max, calls = fewestCalls, quiet = false } = map;
    if (typeof max !== "number" || !Number.isSafeInteger(max) || max < 0) throw new Fault("bad-peer", "the max of the HELLO is no size");
    if (typeof calls !== "number" || !Number.isSafeInteger(calls) || calls < fewestCalls) throw new Fault("bad-peer", `the calls of the HELLO are no number of at least ${fewestCalls}`);
    if (typeof quiet !== "boolean") throw new Fault("bad-peer", "the quiet of the HELLO is no bool");
    const { state } = this;
    state.quiet = quiet;
    state.outgoing.max = max;
    state.theirCalls = calls;
    state.greet();
    state.outgoing.pump(state.now);
  }

  #end(id: number): void {
    const call = this.state.theirs.get(id);
    if (call === undefined) return this.state.checkTheirs(id, "END");
    if (call.in === null || call.in.ended) throw new Fault("bad-peer", `END of the call ${id}, which has no open stream`);
    call.in.ended = true;
    this.messages.tellEnd(call);
  }

  #credit(id: number, amount: number): void {
    const { state } = this;
    if (amount === 0) return this.#carriesNothing("a CREDIT of 0");
    this.#idle = 0;
    if (id === 0) {
      state.outgoing.window += amount;
      if (state.outgoing.window > largestWindow) throw new Fault("bad-peer", "a window of the connection above 2^31");
      return state.outgoing.pump(state.now);
    }
    const mine = this.state.isOurs(id);
    const call = mine ? state.ours.get(id) : state.theirs.get(id);
    if (call === undefined) return mine ? this.state.checkOurs(id, "CREDIT") : this.state.checkTheirs(id, "CREDIT");
    if (call.out === null) return;
    call.out.window += amount;
    if (call.out.window > largestWindow) throw new Fault("bad-peer", `a window of the call ${id} above 2^31`);
    state.outgoing.pumpItems(call);
    if (call.waiting && call.out.window > 0 && call.out.waiting.size === 0) state.events.room(call);
  }

  #cancel(id: number): void {
    const call = this.state.theirs.get(id);
    if (call !== undefined) {
      this.#cancels = 0;
      return this.messages.stop(call);
    }
    this.state.checkTheirs(id, "CANCEL");
    if (++this.#cancels > mostIdle) throw new Fault("bad-peer", `more than ${mostIdle} times CANCEL of calls that were answered`);
  }

  #ping(id: number): void {
    if (id === 0) this.#carriesNothing("a PING without an id");
    else if (!this.state.takeId(f.PING, id)) return;
    else this.#idle = 0;
    if (id !== 0 && ++this.pongs > mostPings) throw new Fault("bad-peer", `more than ${mostPings} PINGs without a PONG`);
    this.state.outgoing.control(f.PONG, id);
  }

  #pong(id: number): void {
    if (id === 0) return this.#carriesNothing("a PONG without an id");
    this.#idle = 0;
    const { outgoing, events, options } = this.state;
    const flush = outgoing.pings.get(id);
    if (!outgoing.pings.delete(id)) {
      if (options.datagrams) return;
      throw new Fault("bad-peer", `PONG to the PING ${id}, which waits for none`);
    }
    events.flushed(flush, null);
    outgoing.pump(this.state.now);
  }

  #open(id: number): void {
    const call = this.state.ours.get(id);
    if (call === undefined || !call.subscribes || call.opened) throw new Fault("bad-peer", `OPEN of ${id}, which is no subscription that waits for it`);
    call.opened = true;
    if (call.waiting) this.state.events.open(call);
  }

  #goodbye(bytes: Uint8Array, from: number, to: number): void {
    const { state } = this;
    if (this.#head.id !== 0) throw new Fault("bad-peer", "a GOODBYE with an id");
    if (from < to) {
      const { code, message, ran } = readFailure(bytes.subarray(from, to));
      const why = new Fault(code as Fault["code"], `the other end said goodbye: ${message}`);
      // Who refused to talk at all has run nothing of what was sent.
      if (ran === "no") return state.end(why, why, true);
      return state.end(why, new Fault("connection-lost", `the other end said goodbye: ${code}: ${message}`));
    }
    if (state.draining) return;
    state.drain();
  }

  #empty(from: number, to: number): void {
    if (from !== to) throw new Fault("bad-peer", `${f.article(this.#head.kind)} with a body`);
  }

  #carriesNothing(what: string): void {
    if (++this.#idle > mostIdle) throw new Fault("bad-peer", `${what}, after ${mostIdle} frames that carry nothing`);
  }
}

function read(bytes: Uint8Array, what: string): unknown {
  try {
    return unpackValue(bytes, what);
  } catch (error) {
    throw error instanceof Misfit ? new Fault("bad-peer", error.text) : error;
  }
}

function readFailure(payload: Uint8Array): Failure {
  try {
    return unpackFailure(payload);
  } catch (error) {
    if (!(error instanceof Misfit)) throw error;
    return { code: "bad-peer", message: error.text };
  }
}
