/** Topics: items that a service publishes to whoever subscribes. */

import type { Endpoint } from "./endpoint.js";
import { PanpipeError } from "./wire/error.js";
import { Fifo } from "./wire/fifo.js";
import type { Call } from "./wire/panpipe/call.js";
import { Aside } from "./wire/panpipe/aside.js";
import { LAGGED, RAW } from "./wire/panpipe/frame.js";
import { Misfit } from "./wire/panpipe/misfit.js";
import { pack } from "./wire/panpipe/pack.js";
import { Writer } from "./wire/panpipe/writer.js";

/** What happens when a subscriber does not keep up: what it is told it has missed, or that it ends, or that the publisher waits. */
export type Policy = "drop-oldest" | "drop-newest" | "disconnect" | "block";

/** The policies that there are. */
export const policies: readonly Policy[] = ["drop-oldest", "drop-newest", "disconnect", "block"];

/** What a topic is declared with. */
export interface TopicOptions {
  /** Whether a new subscriber gets the value that was published last. */
  retain?: boolean;
}

/** Items that may wait for one subscriber, and bytes of them. */
const mostItems = 1024;
const mostBytes = 1024 * 1024;

/** What an item costs beside its bytes. */
const itemCost = 64;

interface Item {
  payload: Uint8Array;
  flags: number;
}

// Nothing that writes a value calls back, so that all topics share the memory.
const out = new Writer();
const aside = new Aside();

const done = Promise.resolve();

/** One topic of a service. Made by `Service.topic`. */
export class Topic<T = unknown> {
  readonly #subscribers = new Set<Subscriber>();
  readonly #retain: boolean;
  #last: Item | null = null;

  /** Not for users: services make topics. */
  constructor(
    readonly name: string,
    options: TopicOptions,
  ) {
    this.#retain = options.retain === true;
  }

  /** How many subscribe. */
  get subscribers(): number {
    return this.#subscribers.size;
  }

  /** Publishes to all who subscribe; done at once, but for subscribers with the policy `block` that do not keep up. Throws `unsupported` for what is no value. */
  publish(value: T): Promise<void> {
    const raw = value instanceof Uint8Array;
    out.at = out.start = 0;
    try {
      if (!raw) pack(out, value, "item");
    } catch (error) {
      throw error instanceof Misfit ? new PanpipeError("unsupported", `publishing ${this.name}`, { text: error.text }) : error;
    }
    const item = { payload: aside.copy(raw ? value : out.bytes.subarray(0, out.at)), flags: raw ? RAW : 0 };
    if (this.#retain) this.#last = item;
    let waits: Promise<void>[] | null = null;
    for (const subscriber of this.#subscribers) {
      const wait = subscriber.push(item);
      if (wait !== null) (waits ??= []).push(wait);
    }
    return waits === null ? done : Promise.all(waits).then(() => {});
  }

  /** Not for users: one more subscribes. */
  subscribe(call: Call, endpoint: Endpoint, policy: Policy): Subscriber {
    const subscriber = new Subscriber(call, endpoint, policy, () => this.#subscribers.delete(subscriber));
    this.#subscribers.add(subscriber);
    endpoint.session.open(call);
    if (this.#last !== null) void subscriber.push(this.#last);
    return subscriber;
  }
}

/** One who subscribes to a topic: what waits for it. */
export class Subscriber {
  readonly #waiting = new Fifo<Item | { missed: number }>();
  #items = 0;
  #bytes = 0;
  // What was missed last, while nothing waits behind it.
  #last: { missed: number } | null = null;
  // What the publisher waits for.
  #blocked: (() => void)[] = [];

  constructor(
    readonly call: Call,
    readonly endpoint: Endpoint,
    readonly policy: Policy,
    readonly leave: () => void,
  ) {}

  /** Sends an item, or lets it wait; answers what a publisher is to wait for. */
  push(item: Item): Promise<void> | null {
    if (!this.call.waiting || this.call.stopping) return null;
    this.endpoint.touch();
    if (this.#waiting.size === 0 && this.endpoint.session.hasRoom(this.call)) {
      this.#send(item.payload, item.flags);
      this.endpoint.settleFirst();
      return null;
    }
    const full = this.#items >= mostItems || (this.#items > 0 && this.#bytes + item.payload.length > mostBytes);
    if (full && this.policy !== "block") return this.#overflow(item);
    this.#add(item);
    return full ? new Promise((resolve) => this.#blocked.push(resolve)) : null;
  }

  /** There is room for more. */
  drain(): void {
    const { session } = this.endpoint;
    for (let next = this.#waiting.peek(); next !== undefined && session.hasRoom(this.call); next = this.#waiting.peek()) {
      this.#waiting.shift();
      if ("missed" in next) this.#sendMissed(next.missed);
      else {
        this.#items--;
        this.#bytes -= next.payload.length + itemCost;
        this.#send(next.payload, next.flags);
      }
    }
    if (this.#items < mostItems && this.#bytes < mostBytes) this.#unblock();
  }

  /** It does not subscribe any more. */
  end(): void {
    this.leave();
    this.#waiting.removeAll(() => true);
    this.#unblock();
  }

  #overflow(item: Item): null {
    if (this.policy === "disconnect") {
      this.end();
      this.endpoint.session.fail(this.call, { code: "lagged", message: `more than ${mostItems} items or ${mostBytes} bytes waited` });
      this.endpoint.settle();
      return null;
    }
    if (this.policy === "drop-newest") {
      // Only what was missed last stands behind everything that waits.
      if (this.#last !== null) this.#last.missed++;
      else this.#waiting.push((this.#last = { missed: 1 }));
      return null;
    }
    const first = this.#waiting.peek()!;
    let { missed } = "missed" in first ? first : { missed: 0 };
    if ("missed" in first) this.#waiting.shift();
    while (this.#items >= mostItems || (this.#items > 0 && this.#bytes + item.payload.length > mostBytes)) {
      const dropped = this.#waiting.shift() as Item;
      this.#items--;
      this.#bytes -= dropped.payload.length + itemCost;
      missed++;
    }
    this.#waiting.unshift({ missed });
    this.#add(item);
    return null;
  }

  #add(item: Item): void {
    this.#last = null;
    this.#waiting.push(item);
    this.#items++;
    this.#bytes += item.payload.length + itemCost;
  }

  #unblock(): void {
    for (const resolve of this.#blocked.splice(0)) resolve();
  }

  #send(payload: Uint8Array, flags: number): void {
    const { session } = this.endpoint;
    session.beginItem(this.call, flags);
    if (session.commit(payload) !== null) this.#sendMissed(1);
  }

  #sendMissed(count: number): void {
    const { session } = this.endpoint;
    this.#last = null;
    pack(session.beginItem(this.call, LAGGED), count, "missed");
    session.commit();
  }
}
