/** Answers: the calls of the other end, and the handlers that run for them. */

import { warn } from "#runtime";

import { Context } from "./context.js";
import type { Endpoint } from "./endpoint.js";
import { Running, handling } from "./handling.js";
import { Items, type Source } from "./items.js";
import type { Peer } from "./peer.js";
import { failureOf } from "./remote-error.js";
import type { Declared, Service } from "./service.js";
import { policies, type Policy } from "./topic.js";
import type { Fault } from "./wire/error.js";
import type { Call } from "./wire/panpipe/call.js";
import { ARGUMENTS, NAMED, RAW, STREAM, TOPIC } from "./wire/panpipe/frame.js";
import { Misfit } from "./wire/panpipe/misfit.js";
import { pack } from "./wire/panpipe/pack.js";
import type { Sent } from "./wire/panpipe/session.js";
import { unpackAll, unpackOne, type Value } from "./wire/panpipe/unpack.js";

/** Runs the handlers of one connection. */
export class Answers {
  readonly #subscribers = new Set<Call>();

  constructor(
    readonly peer: Peer,
    readonly endpoint: Endpoint,
    readonly service: Service | null,
  ) {}

  /** A call has come. */
  call(call: Call, bytes: Uint8Array, from: number, to: number): void {
    if (call.subscribes) return this.#subscribe(call, bytes, from, to);
    const declared = this.service?.find(call.method);
    if (declared === undefined) return this.#refuse(call, "not-found", `there is no method ${JSON.stringify(call.method)}`);
    if (declared.streams && (call.flags & STREAM) === 0) return this.#refuse(call, "invalid-arguments", `${call.method} answers with a stream, and the call takes none`);
    let args;
    try {
      args = argumentsOf(call.flags, declared, bytes, from, to);
    } catch (error) {
      if (!(error instanceof Misfit)) throw error;
      return this.#refuse(call, "invalid-arguments", error.text);
    }
    if (declared.context || (call.flags & ARGUMENTS) !== 0) this.#contextOf(call);
    if (declared.context) args.unshift((call.owner as Running).context);
    let result;
    try {
      result = handling.run(runningOf(call), declared.run, ...args);
    } catch (error) {
      return this.#fail(call, error);
    }
    if (typeof result === "object" && result !== null) {
      if (isThenable(result)) {
        void Promise.resolve(result).then(
          (value) => (isIterator(value) ? handling.run(runningOf(call), () => this.#stream(call, value)) : this.#reply(call, value)),
          (error) => this.#fail(call, error),
        );
        return;
      }
      if (isIterator(result)) return void handling.run(runningOf(call), () => this.#stream(call, result));
    }
    this.#reply(call, result);
  }

  /** A one-way message has come. */
  send(send: Sent, bytes: Uint8Array, from: number, to: number): void {
    const failed = (error: unknown) => this.#warn(`the handler of the one-way message ${send.method} failed`, error);
    let result: unknown;
    try {
      if ((send.flags & TOPIC) !== 0) result = this.#publish(send, bytes, from, to);
      else {
        const declared = this.service?.find(send.method);
        if (declared === undefined) throw new Error(`there is no method ${JSON.stringify(send.method)}`);
        const args = argumentsOf(send.flags, declared, bytes, from, to);
        if (declared.context) args.unshift(new Context(this.peer, send.method, null, new Items(null)));
        result = handling.run(null, declared.run, ...args);
      }
    } catch (error) {
      failed(error instanceof Misfit ? new Error(error.text) : error);
    }
    if (isThenable(result)) void Promise.resolve(result).catch(failed).then(() => this.#done(send));
    else this.endpoint.session.done(send);
  }

  /** An argument has come. */
  item(call: Call, flags: number, bytes: Uint8Array, from: number, to: number, cost: number): void {
    const { input } = this.#contextOf(call);
    if (input!.over) return;
    try {
      input!.push((flags & RAW) !== 0 ? bytes.subarray(from, to) : unpackOne(bytes, from, to, "item"), cost);
    } catch (error) {
      if (!(error instanceof Misfit)) throw error;
      input!.fail(new Error(`reading an argument of ${call.method}: ${error.text}`));
    }
  }

  /** The arguments are over. */
  end(call: Call): void {
    this.#contextOf(call).input!.finish(undefined);
  }

  /** A handler is to stop. */
  cancelled(call: Call, fault: Fault): void {
    const running = call.owner as Running | null;
    if (running === null) return;
    running.stop();
    running.context?.stop(fault);
    if (running.input !== null && !running.input.over) running.input.fail(running.context!.signal.reason);
    if (running.subscriber !== null) this.#unsubscribe(call);
    this.room(call);
  }

  /** There is room for more items. */
  room(call: Call): void {
    const running = call.owner as Running | null;
    running?.subscriber?.drain();
    const wake = running?.wake;
    if (wake === undefined || wake === null) return;
    running!.wake = null;
    wake();
  }

  /** Ends the subscriptions of the other end. */
  endSubscriptions(): void {
    for (const call of [...this.#subscribers]) this.#unsubscribe(call);
  }

  #subscribe(call: Call, bytes: Uint8Array, from: number, to: number): void {
    const topic = this.service?.findTopic(call.method);
    if (topic === undefined) return this.#refuse(call, "not-found", `there is no topic ${JSON.stringify(call.method)}`);
    if ((call.flags & STREAM) === 0) return this.#refuse(call, "invalid-arguments", "a subscription is a stream");
    let policy: Policy;
    try {
      policy = policyOf(unpackOne(bytes, from, to, "settings"));
    } catch (error) {
      if (!(error instanceof Misfit)) throw error;
      return this.#refuse(call, "invalid-arguments", error.text);
    }
    this.#subscribers.add(call);
    runningOf(call).subscriber = topic.subscribe(call, this.endpoint, policy);
  }

  #unsubscribe(call: Call): void {
    this.#subscribers.delete(call);
    (call.owner as Running).subscriber!.end();
    if (call.waiting) this.#reply(call, null, true);
  }

  #publish(send: Sent, bytes: Uint8Array, from: number, to: number): Promise<void> {
    const topic = this.service?.findTopic(send.method);
    if (topic === undefined) throw new Error(`there is no topic ${JSON.stringify(send.method)}`);
    return topic.publish((send.flags & RAW) !== 0 ? bytes.subarray(from, to) : unpackOne(bytes, from, to, "item"));
  }

  #contextOf(call: Call): Running {
    const running = runningOf(call);
    if (running.context !== null) return running;
    const source: Source = { taken: (cost) => this.#taken(call, cost), waits: () => {}, stop: () => {} };
    running.input = new Items(call.in === null ? null : source);
    running.context = new Context(this.peer, call.method, call, running.input);
    return running;
  }

  #taken(call: Call, cost: number): void {
    this.endpoint.touch();
    this.endpoint.session.taken(call, cost);
    this.endpoint.settle();
  }

  /** Sends what an iterator gives, as fast as the other end takes it. */
  async #stream(call: Call, iterator: Iterator<unknown> | AsyncIterator<unknown>): Promise<void> {
    const { session } = this.endpoint;
    if ((call.flags & STREAM) === 0) return this.#refuse(call, "invalid-arguments", `${call.method} answers with a stream, and the call takes none`);
    const running = runningOf(call);
    try {
      for (;;) {
        while (call.waiting && !call.stopping && !session.hasRoom(call)) await new Promise<void>((resolve) => (running.wake = resolve));
        if (!call.waiting || call.stopping) {
          await iterator.return?.();
          return this.#reply(call, null);
        }
        const step = iterator.next();
        const { done, value } = isThenable(step) ? await step : step;
        if (done === true) return this.#reply(call, value);
        if (call.waiting && !call.stopping) this.#item(call, value);
      }
    } catch (error) {
      this.#fail(call, error instanceof Misfit ? new TypeError(error.text) : error);
      void (async () => iterator.return?.())().catch(() => {});
    }
  }

  #item(call: Call, value: unknown): void {
    const { endpoint } = this;
    const { session } = endpoint;
    endpoint.touch();
    const raw = value instanceof Uint8Array;
    const out = session.beginItem(call, raw ? RAW : 0);
    try {
      if (!raw) pack(out, value, "item");
    } catch (error) {
      session.abandon();
      throw error;
    }
    const fault = session.commit(raw ? value : undefined);
    endpoint.settle();
    if (fault !== null) throw fault.during(`streaming from ${call.method}`, this.peer.address);
  }

  /** Sends the reply; `always` also to who has given up. */
  #reply(call: Call, value: unknown, always = false): void {
    if (!call.waiting) return;
    const { endpoint } = this;
    const { session } = endpoint;
    endpoint.touch();
    if (call.stopping && !always) session.fail(call, { code: call.deadline <= performance.now() ? "deadline-exceeded" : "cancelled", message: "the handler was told to stop" });
    else {
      const raw = value instanceof Uint8Array;
      const out = session.beginReply(call, raw ? RAW : 0);
      try {
        if (!raw) pack(out, value, "reply");
        const fault = session.commit(raw ? value : undefined);
        if (fault !== null) session.fail(call, { code: fault.code, message: fault.text });
      } catch (error) {
        session.abandon();
        if (!(error instanceof Misfit)) throw error;
        session.fail(call, { code: "unsupported", message: error.text });
      }
    }
    (call.owner as Running | null)?.input?.stop();
    endpoint.settle();
  }

  #fail(call: Call, error: unknown): void {
    if (!call.waiting) return;
    this.endpoint.touch();
    this.endpoint.session.fail(call, failureOf(error));
    (call.owner as Running | null)?.input?.stop();
    this.endpoint.settle();
  }

  /** Answers without a handler. */
  #refuse(call: Call, code: string, message: string): void {
    this.endpoint.session.fail(call, { code, message, ran: "no" });
    this.endpoint.settle();
  }

  #done(send: Sent): void {
    this.endpoint.touch();
    this.endpoint.session.done(send);
    this.endpoint.settle();
  }

  #warn(what: string, error: unknown): void {
    const why = error instanceof Error ? (error.stack ?? error.message) : String(error);
    warn(`${what} on ${this.peer.address}: ${why}`, "PanpipeHandlerError");
  }
}

function runningOf(call: Call): Running {
  return (call.owner ??= new Running(call)) as Running;
}

/** The arguments as the handler takes them; throws a `Misfit` for what does not fit. */
function argumentsOf(flags: number, { params }: Declared, bytes: Uint8Array, from: number, to: number): unknown[] {
  const args: unknown[] = (flags & RAW) !== 0 ? [bytes.subarray(from, to)] : unpackAll(bytes, from, to, "arguments");
  const named = (flags & NAMED) !== 0 ? args.pop() : undefined;
  if ((flags & NAMED) !== 0 && (Object.prototype.toString.call(named) !== "[object Object]")) throw new Misfit("arguments", "named arguments are a map with text keys");
  if (params === null) return named === undefined ? args : [...args, named];
  if (args.length > params.length) throw new Misfit("arguments", `${args.length} of them, and there are ${params.length} parameters`);
  for (const [name, value] of Object.entries(named ?? {})) {
    const at = params.findIndex((each) => each.name === name);
    if (at < 0) throw new Misfit("arguments", `there is no parameter ${JSON.stringify(name)}`);
    if (at in args) throw new Misfit("arguments", `the parameter ${JSON.stringify(name)} is given twice`);
    args[at] = value;
  }
  params.forEach(({ name, required }, at) => {
    if (required && !(at in args)) throw new Misfit("arguments", `the parameter ${JSON.stringify(name)} is missing`);
  });
  return args;
}

function policyOf(settings: Value): Policy {
  if (settings === null) return policies[0]!;
  const given = (settings as { policy?: unknown }).policy ?? policies[0]!;
  const policy = policies.find((each) => each === given);
  if (policy === undefined) throw new Misfit("settings.policy", `there is no policy ${JSON.stringify(given)}; known: ${policies.join(", ")}`);
  return policy;
}

function isThenable(value: unknown): value is PromiseLike<any> {
  return typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";
}

/** A generator, or what acts like one; an array is a value. */
function isIterator(value: unknown): value is Iterator<unknown> | AsyncIterator<unknown> {
  return typeof value === "object" && value !== null && typeof (value as { next?: unknown }).next === "function" && (Symbol.asyncIterator in value || Symbol.iterator in value);
}
