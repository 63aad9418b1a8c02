/** Calls: those that this end makes, and who waits for them. */

import { Alarm } from "./alarm.js";
import type { CallOptions } from "./call-options.js";
import type { Endpoint } from "./endpoint.js";
import { handling } from "./handling.js";
import { Lagged } from "./items.js";
import { Pending, type Caller, type Shape } from "./pending.js";
import { RemoteError } from "./remote-error.js";
import { milliseconds } from "./timeout.js";
import { Fault, PanpipeError, type Ran } from "./wire/error.js";
import { Call } from "./wire/panpipe/call.js";
import type { Failure } from "./wire/panpipe/failure.js";
import { ARGUMENTS, LAGGED, NAMED, RAW, STREAM, TOPIC } from "./wire/panpipe/frame.js";
import { Misfit } from "./wire/panpipe/misfit.js";
import { nameBytes } from "./wire/panpipe/names.js";
import { pack } from "./wire/panpipe/pack.js";
import { unpackOne, type Value } from "./wire/panpipe/unpack.js";
import type { Writer } from "./wire/panpipe/writer.js";

const flagsOf = { call: 0, stream: STREAM, subscription: STREAM | TOPIC } as const;
const gaveUp = new Fault("cancelled", "the caller gave up");

/** The calls of one peer, on whichever connection it has. */
export class Calls implements Caller {
  /** What new calls are made on; null while there is no connection and another is to come. */
  endpoint: Endpoint | null = null;
  /** Why nothing can be called any more. */
  over: Fault | null = null;
  // Calls that wait for a connection.
  readonly #parked = new Set<Pending>();
  readonly #alarm = new Alarm((now) => this.#expire(now));

  constructor(
    readonly address: string,
    readonly timeout: number,
    /** Whether another connection follows one that was lost. */
    readonly reconnects: boolean,
    /** Told when calls begin to wait for a connection, and when none does any more. */
    readonly parking: (some: boolean) => void,
  ) {}

  /** Makes a call, whose outcome is told to `resolve` or `reject`. */
  make(shape: Shape, method: string, args: readonly unknown[], options: CallOptions, resolve: (value: any) => void, reject: (error: unknown) => void): Pending {
    const now = performance.now();
    const asked = milliseconds(options.timeout, shape === "call" ? this.timeout : Infinity);
    const running = handling.getStore();
    // A handler that has answered may go on with other things, and a subscription is not for one call.
    const parent = running !== undefined && running !== null && running.call.waiting && shape !== "subscription" ? running : null;
    const deadline = parent === null ? now + asked : Math.min(now + asked, parent.call.deadline);
    const pending = new Pending(this, shape, method, args, options, deadline, parent, resolve, reject);
    if (options.signal?.aborted === true || parent?.call.stopping === true) this.#fail(pending, gaveUp, "no");
    else this.#start(pending);
    return pending;
  }

  /** Writes the arguments; throws a `Fault` for what cannot be sent. */
  write(out: Writer, args: readonly unknown[], named: CallOptions["named"], endpoint: Endpoint): void {
    const { session } = endpoint;
    try {
      if (args.length === 1 && named === undefined && args[0] instanceof Uint8Array) {
        const fault = session.commit(args[0]);
        if (fault !== null) throw fault;
        return;
      }
      for (let index = 0; index < args.length; index++) pack(out, args[index], `arguments[${index}]`);
      if (named !== undefined) pack(out, named, "named");
    } catch (error) {
      session.abandon();
      throw error instanceof Misfit ? new Fault("unsupported", error.text) : error;
    }
    const fault = session.commit();
    if (fault !== null) throw fault;
  }

  /** There is another connection: what waited goes out. */
  resume(endpoint: Endpoint): void {
    this.endpoint = endpoint;
    const waiting = [...this.#parked];
    this.#parked.clear();
    for (const pending of waiting) if (pending.waiting) this.#start(pending);
    if (waiting.length > 0) this.parking(this.#parked.size > 0);
  }

  /** There will be no other connection. */
  end(fault: Fault): void {
    this.over ??= fault;
    this.#alarm.clear();
    const waiting = [...this.#parked];
    this.#parked.clear();
    for (const pending of waiting) this.#fail(pending, fault, this.#ranOf(pending));
    if (waiting.length > 0) this.parking(false);
  }

  giveUp(pending: Pending, fault: Fault = gaveUp): void {
    const { call } = pending;
    if (this.#parked.delete(pending)) {
      this.#fail(pending, fault, this.#ranOf(pending));
      if (this.#parked.size === 0) this.parking(false);
    } else if (call === null) this.#fail(pending, fault, "no");
    else {
      const endpoint = call.endpoint as Endpoint;
      endpoint.touch();
      endpoint.session.giveUp(call, fault);
      endpoint.settle();
    }
  }

  taken(pending: Pending, cost: number): void {
    const { call } = pending;
    if (cost === 0 || call === null) return;
    const endpoint = call.endpoint as Endpoint;
    endpoint.touch();
    endpoint.session.taken(call, cost);
    endpoint.settle();
  }

  waits(pending: Pending, more: boolean): void {
    const endpoint = pending.call?.endpoint as Endpoint | undefined;
    if (more) endpoint?.hold();
    else endpoint?.drop();
  }

  /** A reply has come. */
  reply(call: Call, flags: number, bytes: Uint8Array, from: number, to: number): void {
    const pending = this.#over(call);
    // What a server that closes ends is subscribed to again.
    if (pending.shape === "subscription" && this.#again(call)) return this.#park(pending);
    let value: Value;
    try {
      value = (flags & RAW) !== 0 ? bytes.subarray(from, to) : unpackOne(bytes, from, to, "reply");
    } catch (error) {
      if (!(error instanceof Misfit)) throw error;
      return this.#fail(pending, new Fault("bad-peer", error.text), "maybe");
    }
    pending.succeed(value);
  }

  /** A call has failed; `failure` is what the other end answered. */
  error(call: Call, fault: Fault, ran: Ran, failure: Failure | null): void {
    const pending = this.#over(call);
    const lost = failure === null && ["connection-lost", "refused"].includes(fault.code);
    if (lost && this.#again(call) && (ran === "no" || pending.options.idempotent === true || pending.shape === "subscription")) this.#park(pending);
    else if (failure === null) this.#fail(pending, fault, ran);
    else pending.fail(new RemoteError(failure, this.#doing(pending), this.address, ran));
  }

  /** An item has come. */
  item(call: Call, flags: number, bytes: Uint8Array, from: number, to: number, cost: number): void {
    const pending = call.owner as Pending;
    try {
      const value = (flags & RAW) !== 0 ? bytes.subarray(from, to) : unpackOne(bytes, from, to, "item");
      if ((flags & LAGGED) !== 0 && typeof value !== "number") throw new Misfit("item", "a count of missed items that is none");
      pending.items!.push((flags & LAGGED) !== 0 ? new Lagged(value as number) : value, cost);
    } catch (error) {
      if (!(error instanceof Misfit)) throw error;
      (call.endpoint as Endpoint).session.giveUp(call, new Fault("bad-peer", error.text));
    }
  }

  /** A subscription stands. */
  open(call: Call): void {
    const pending = call.owner as Pending;
    if (!pending.opened) (call.endpoint as Endpoint).drop();
    pending.open();
  }

  /** There is room for more arguments. */
  room(call: Call): void {
    const pending = call.owner as Pending;
    const { wake } = pending;
    pending.wake = null;
    wake?.();
  }

  #start(pending: Pending): void {
    const { endpoint, over } = this;
    const { options, shape } = pending;
    if (over !== null) return this.#fail(pending, over, "no");
    if (endpoint === null || (this.reconnects && (endpoint.session.draining || endpoint.session.over))) return this.#park(pending);
    const { session } = endpoint;
    if (session.draining) return this.#fail(pending, new Fault("refused", "the other end takes no more calls"), "no");
    if (session.over) return this.#fail(pending, session.failure ?? new Fault("connection-lost", "the peer closed"), "no");
    if (session.full) return this.#fail(pending, new Fault("busy", "too many calls wait for the other end"), "no");
    endpoint.touch();
    const { input, named } = options;
    let flags: number = flagsOf[shape];
    if (input !== undefined) flags |= ARGUMENTS;
    if (named !== undefined) flags |= NAMED;
    else if (pending.args.length === 1 && pending.args[0] instanceof Uint8Array) flags |= RAW;
    try {
      const call = new Call(true, pending.method, flags, pending.deadline);
      call.owner = pending;
      call.endpoint = endpoint;
      this.write(session.beginCall(call, nameBytes(pending.method)), pending.args, named, endpoint);
      pending.call = call;
      session.watch(call);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      return this.#fail(pending, error, "no");
    }
    // A stream keeps the process alive while an item of it is awaited.
    if (shape === "call" || (shape === "subscription" && !pending.opened)) endpoint.hold();
    endpoint.settle(session.calling === 1);
    if (input !== undefined) void this.#sendInput(pending, pending.call, input);
  }

  /** Sends the stream of arguments, as fast as the other end takes it. */
  async #sendInput(pending: Pending, call: Call, input: AsyncIterable<unknown> | Iterable<unknown>): Promise<void> {
    const endpoint = call.endpoint as Endpoint;
    const { session } = endpoint;
    try {
      for await (const value of input) {
        while (call.waiting && !session.hasRoom(call)) await new Promise<void>((resolve) => (pending.wake = resolve));
        if (!call.waiting) return;
        endpoint.touch();
        const raw = value instanceof Uint8Array;
        const out = session.beginItem(call, raw ? RAW : 0);
        try {
          if (!raw) pack(out, value, "input");
        } catch (error) {
          session.abandon();
          throw error;
        }
        const fault = session.commit(raw ? value : undefined);
        if (fault !== null) throw fault;
        endpoint.settle();
      }
      if (!call.waiting) return;
      endpoint.touch();
      session.end(call);
      endpoint.settle();
    } catch (error) {
      if (!pending.waiting) return;
      const why = error instanceof Misfit || error instanceof Fault ? error.text : "the stream of arguments failed";
      const cause = error instanceof Error ? error : undefined;
      pending.fail(new PanpipeError("cancelled", this.#doing(pending), { address: this.address, ran: "maybe", text: cause === undefined ? why : `${why}: ${cause.message}`, cause }));
      this.giveUp(pending);
    }
  }

  /** The call has ended on its connection. */
  #over(call: Call): Pending {
    const pending = call.owner as Pending;
    const { shape } = pending;
    if (shape === "call" || (shape === "subscription" && !pending.opened)) (call.endpoint as Endpoint).drop();
    // The session may remember the call for a while, and should not keep with it what was waited for.
    if (shape === "call") call.owner = null;
    return pending;
  }

  /** Whether there will be another connection for what this one leaves. */
  #again(call: Call): boolean {
    const { session } = call.endpoint as Endpoint;
    return this.reconnects && this.over === null && (session.over || session.draining);
  }

  #park(pending: Pending): void {
    if (!pending.waiting) return;
    pending.items?.forgetCosts();
    this.#parked.add(pending);
    this.#alarm.watch(pending.deadline);
    this.parking(true);
  }

  #expire(now: number): number {
    let next = Infinity;
    for (const pending of this.#parked) {
      if (pending.deadline <= now) this.giveUp(pending, new Fault("deadline-exceeded", "the timeout passed while there was no connection"));
      else next = Math.min(next, pending.deadline);
    }
    return next;
  }

  #ranOf(pending: Pending): Ran {
    return pending.call !== null && pending.call.id !== 0 ? "maybe" : "no";
  }

  #fail(pending: Pending, fault: Fault, ran: Ran): void {
    pending.fail(fault.during(this.#doing(pending), this.address, ran));
  }

  #doing({ shape, method }: Pending): string {
    return `${shape === "call" ? "calling" : shape === "stream" ? "streaming from" : "subscribing to"} ${short(method)} on ${this.address}`;
  }
}

/** A name as errors show it: what is none may be long. */
export function short(name: string): string {
  return typeof name === "string" && name.length <= 255 ? name : `${String(name).slice(0, 32)}…`;
}
