/** Messages that arrive: CALL, SEND, REPLY, ERROR and ITEM, whole or in pieces; what they cost, and whether they may come. */

import { allocate, nothing } from "../bytes.js";
import { Fault } from "../error.js";
import { tooLarge } from "../framing/only.js";
import { Call, itemCost } from "./call.js";
import { unpackFailure, type Failure } from "./failure.js";
import * as f from "./frame.js";
import { Misfit } from "./misfit.js";
import { NameReader } from "./names.js";
import { messageCost } from "./outgoing.js";
import { mostInPieces } from "./pieces.js";
import { mostSubscriptions, type State } from "./state.js";

/** Pieces but the last carry at least so many bytes. */
const smallestPiece = 1024;

/** A message in pieces is gathered in steps of at least this many bytes: a claimed size alone must cost little. */
const step = 256 * 1024;

/** A message of which more pieces follow. */
interface Partial {
  kind: number;
  flags: number;
  id: number;
  method: string;
  deadline: number;
  /** What it costs of the window of the connection. */
  cost: number;
  total: number;
  have: number;
  /** Null when it was refused and is only skipped. */
  bytes: Uint8Array | null;
}

/** Reads the messages of one session. */
export class Messages {
  /** Whether calls are held back, because the other end reads no answers. */
  holds = false;
  readonly #names = new NameReader();
  readonly #partials = new Map<number, Partial>();
  // What would have been told of calls that are held back.
  #held: (() => void)[] = [];
  readonly #heldCalls = new Set<Call>();

  constructor(readonly state: State) {}

  /** Whether there are messages of which more pieces must come. */
  get inPieces(): boolean {
    return this.#partials.size > 0;
  }

  /** Begins the calls that were held back. */
  release(): void {
    this.holds = false;
    this.#heldCalls.clear();
    for (const tell of this.#held.splice(0)) tell();
  }

  /** A frame while messages are in pieces; whether it was the next piece of one. */
  piece({ kind, flags, name, id }: f.Head, bytes: Uint8Array, from: number, to: number): boolean {
    const partial = this.#partials.get(id);
    if (partial === undefined) {
      const begins = kind === f.CALL || kind === f.SEND || (kind === f.PING && id !== 0);
      if (begins) for (const each of this.#partials.values()) if (each.kind <= f.SEND) throw new Fault("bad-peer", `${f.article(kind)} between the pieces of ${f.article(each.kind)}`);
      return false;
    }
    if (kind !== partial.kind || (flags & ~f.MORE) !== 0 || name !== 0) throw new Fault("bad-peer", `no piece of ${f.article(partial.kind)} where one must come`);
    const more = flags !== 0;
    const have = partial.have + to - from;
    if (more && to - from < smallestPiece) throw new Fault("bad-peer", `a piece of ${to - from} bytes, and all but the last have ${smallestPiece}`);
    checkTotal(have, partial.total, more);
    if (partial.bytes !== null) gather(partial, bytes.subarray(from, to));
    partial.have = have;
    if (more) return true;
    this.#partials.delete(id);
    const { bytes: whole, method, deadline, cost } = partial;
    if (whole !== null) this.#deliver(kind, partial.flags, id, method, deadline, cost, whole, 0, have);
    return true;
  }

  /** A CALL or a SEND, whole or the first piece. */
  named(head: f.Head, bytes: Uint8Array, from: number, to: number): void {
    const { kind, flags, name } = head;
    const isCall = kind === f.CALL;
    let at = from + ((flags & f.MORE) !== 0 ? 4 : 0);
    if (to - at < (isCall ? 4 : 0)) throw new Fault("bad-peer", `${f.article(kind)} that is too short`);
    const timeout = isCall ? f.readU32(bytes, at) : 0;
    if (isCall) at += 4;
    const method = at + name > to ? null : this.#names.read(bytes, at, at + name);
    if (method === null) throw new Fault("bad-peer", `${f.article(kind)} without a right name`);
    this.#message(head, bytes, from, at + name, to, method, timeout === 0 ? Infinity : this.state.now + timeout);
  }

  /** A REPLY, an ERROR or an ITEM, whole or the first piece. */
  nameless(head: f.Head, bytes: Uint8Array, from: number, to: number): void {
    const at = from + ((head.flags & f.MORE) !== 0 ? 4 : 0);
    if (at > to) throw new Fault("bad-peer", `${f.article(head.kind)} in pieces without its size`);
    this.#message(head, bytes, from, at, to, "", Infinity);
  }

  /** Tells that the items of a caller are over. */
  tellEnd(call: Call): void {
    if (this.#heldCalls.has(call)) this.#held.push(() => call.waiting && this.state.events.end(call));
    else this.state.events.end(call);
  }

  /** The caller has given up. */
  stop(call: Call): void {
    const { state } = this;
    const fault = new Fault("cancelled", "the caller gave up");
    if (!this.#heldCalls.delete(call)) return state.stop(call, fault);
    state.answered(call);
    state.giveBack(call.cost);
    state.refuse(call.id, { code: fault.code, message: fault.text, ran: "no" });
  }

  /** A message whose payload begins at `from`, and its body at `bodyAt`. */
  #message(head: f.Head, bytes: Uint8Array, bodyAt: number, from: number, to: number, method: string, deadline: number): void {
    const { kind, flags, id, name } = head;
    const cost = kind <= f.SEND ? name + messageCost : 0;
    if ((flags & f.MORE) === 0) {
      if (this.#admit(kind, flags, id, cost, to - from)) this.#deliver(kind, flags, id, method, deadline, cost + to - from, bytes, from, to);
      return;
    }
    const total = f.readU32(bytes, bodyAt);
    const have = to - from;
    if (have < smallestPiece) throw new Fault("bad-peer", `a first piece of ${have} bytes, and all but the last have ${smallestPiece}`);
    checkTotal(have, total, true);
    if (this.#partials.size === mostInPieces) throw new Fault("bad-peer", `more than ${mostInPieces} messages in pieces`);
    const wanted = this.#admit(kind, flags, id, cost, total);
    const partial: Partial = { kind, flags: flags & ~f.MORE, id, method, deadline, cost: cost + total, total, have: 0, bytes: wanted ? nothing : null };
    if (wanted) gather(partial, bytes.subarray(from, to));
    partial.have = have;
    this.#partials.set(id, partial);
  }

  /** Checks a message that begins, and charges for it; whether it is wanted. */
  #admit(kind: number, flags: number, id: number, cost: number, size: number): boolean {
    if (kind <= f.SEND) return this.#admitNamed(kind, flags, id, cost + size, size);
    const mine = this.state.isOurs(id);
    if (kind === f.ITEM && !mine) return this.#admitArgument(flags, id, size);
    const call = this.state.ours.get(id);
    const what = f.kindNames[kind];
    if (call === undefined) {
      if (this.state.options.datagrams) {
        this.state.late++;
        return false;
      }
      throw new Fault("bad-peer", `${what} to the call ${id}, which waits for none`);
    }
    if (size > this.state.options.max) throw tooLarge(this.state.options.max, size);
    if (kind !== f.ITEM) return true;
    if (call.in === null) throw new Fault("bad-peer", `ITEM to the call ${id}, which wants no stream`);
    if ((flags & f.LAGGED) !== 0) {
      if (!call.subscribes) throw new Fault("bad-peer", `LAGGED to the call ${id}, which is no subscription`);
      return call.waiting;
    }
    if (call.in.window <= 0) throw new Fault("bad-peer", `an ITEM beyond the window of the call ${id}`);
    call.in.window -= size + itemCost;
    if (!call.waiting) this.state.late++;
    return call.waiting;
  }

  #admitNamed(kind: number, flags: number, id: number, cost: number, size: number): boolean {
    const { state } = this;
    const { options } = state;
    if (!state.takeId(kind, id)) return false;
    if (!options.datagrams) {
      if (state.theirWindow <= 0) throw new Fault("bad-peer", `${f.article(kind)} beyond the window of the connection`);
      state.theirWindow -= cost;
    }
    const tooMuch = size > options.max;
    if (kind === f.SEND) {
      if (tooMuch) throw tooLarge(options.max, size);
      if (state.leaving) state.giveBack(cost);
      return !state.leaving;
    }
    const limit = (flags & f.TOPIC) !== 0 ? mostSubscriptions : options.calls;
    const running = (flags & f.TOPIC) !== 0 ? state.theirsSubscribed : state.theirs.size - state.theirsSubscribed;
    if (running >= limit) throw new Fault("bad-peer", `more than ${limit} calls without an answer`);
    let refusal: Failure | null = null;
    if (tooMuch) refusal = { code: "too-large", message: tooLarge(options.max, size).text, ran: "no" };
    else if (state.leaving) refusal = { code: "refused", message: "this end takes no more calls", ran: "no" };
    else if (options.datagrams && (flags & (f.STREAM | f.ARGUMENTS | f.TOPIC)) !== 0) refusal = { code: "unsupported", message: "over datagrams there are no streams", ran: "no" };
    if (refusal === null) return true;
    state.refuse(id, refusal);
    state.giveBack(cost);
    return false;
  }

  /** An item from the caller. */
  #admitArgument(flags: number, id: number, size: number): boolean {
    const call = this.state.theirs.get(id);
    if (call === undefined) {
      this.state.checkTheirs(id, "ITEM");
      return false;
    }
    if (call.in === null || (flags & f.LAGGED) !== 0) throw new Fault("bad-peer", `ITEM of the call ${id}, which has no such stream`);
    if (call.in.ended) throw new Fault("bad-peer", `ITEM of the call ${id} after its END`);
    if (size > this.state.options.max) throw tooLarge(this.state.options.max, size);
    if (call.in.window <= 0) throw new Fault("bad-peer", `an ITEM beyond the window of the call ${id}`);
    call.in.window -= size + itemCost;
    return true;
  }

  /** A message is whole. */
  #deliver(kind: number, flags: number, id: number, method: string, deadline: number, cost: number, bytes: Uint8Array, from: number, to: number): void {
    const { state } = this;
    const { events } = state;
    if (kind === f.REPLY || kind === f.ERROR) return this.#answer(kind, flags, id, bytes, from, to);
    if (kind === f.SEND) return events.send({ method, flags, cost }, bytes, from, to);
    if (kind === f.CALL) {
      const call = new Call(false, method, flags, deadline);
      call.id = id;
      call.cost = cost;
      state.begun(call);
      if (!this.holds) return this.#begin(call, bytes, from, to);
      this.#heldCalls.add(call);
      this.#held.push(() => call.waiting && this.#begin(call, bytes, from, to));
      return;
    }
    const call = state.isOurs(id) ? state.ours.get(id) : state.theirs.get(id);
    if (call === undefined || !call.waiting) return;
    const taken = (flags & f.LAGGED) !== 0 ? 0 : to - from + itemCost;
    if (this.#heldCalls.has(call)) this.#held.push(() => call.waiting && events.item(call, flags, bytes, from, to, taken));
    else events.item(call, flags, bytes, from, to, taken);
  }

  #begin(call: Call, bytes: Uint8Array, from: number, to: number): void {
    this.state.giveBack(call.cost);
    this.state.events.call(call, bytes, from, to);
  }

  #answer(kind: number, flags: number, id: number, bytes: Uint8Array, from: number, to: number): void {
    const { state } = this;
    const call = state.ours.get(id)!;
    state.forget(call);
    if (!state.settle(call)) state.late++;
    else if (kind === f.REPLY) state.events.reply(call, flags, bytes, from, to);
    else {
      try {
        const failure = unpackFailure(bytes.subarray(from, to));
        state.events.error(call, new Fault(failure.code as Fault["code"], failure.message), failure.ran ?? "maybe", failure);
      } catch (error) {
        if (!(error instanceof Misfit)) throw error;
        state.events.error(call, new Fault("bad-peer", error.text), "maybe", null);
      }
    }
    if (state.outgoing.queued > 0) state.outgoing.pump(state.now);
  }
}

function checkTotal(have: number, total: number, more: boolean): void {
  if (more ? have >= total : have !== total) throw new Fault("bad-peer", `${have} bytes ${more ? "and more" : "in all"}, of a message of ${total}`);
}

function gather(partial: Partial, piece: Uint8Array): void {
  const { have, total } = partial;
  let bytes = partial.bytes!;
  if (have + piece.length > bytes.length) {
    const room = allocate(Math.min(total, Math.max(2 * (have + piece.length), step)));
    room.set(bytes.subarray(0, have));
    bytes = partial.bytes = room;
  }
  bytes.set(piece, have);
}
