/** `mem:NAME`: links inside one process, and the pair that they are made of. For tests, and for parts of one program that may move apart later. */

import type { Address } from "../wire/address.js";
import { writtenTarget } from "../wire/address.js";
import { Fault } from "../wire/error.js";
import type { Chaos } from "../wire/option.js";
import { ChaosLink } from "./chaos.js";
import type { Link, LinkEvents, LinkListener, ListenerEvents, OneWay, Remote, Transport } from "./link.js";

const listeners = new Map<string, ListenerEvents>();

/** The transport `mem`. */
export const mem: Transport = {
  info: {
    scheme: "mem",
    form: "mem:NAME",
    reaches: "this process",
    goodFor: "tests, and parts of one program that may become two",
    notFor: "another process",
    options: ["chaos"],
    check(target) {
      if (target === "") throw new Fault("invalid-address", "mem: needs a name, as in mem:test");
    },
  },

  async connect(address: Address): Promise<Link> {
    const listener = listeners.get(address.target);
    if (listener === undefined) throw new Fault("refused", "nobody in this process listens there");
    const [ours, theirs] = memPair("mem");
    listener.onLink(theirs);
    return withChaos(ours, address.chaos, 0);
  },

  async listen(address: Address, events: ListenerEvents): Promise<LinkListener> {
    if (listeners.has(address.target)) throw new Fault("address-in-use", "somebody in this process listens there");
    let count = 0;
    listeners.set(address.target, { ...events, onLink: (link) => events.onLink(withChaos(link, address.chaos, ++count)) });
    return {
      target: writtenTarget(address),
      ref() {},
      unref() {},
      async close() {
        listeners.delete(address.target);
        events.onEnd();
      },
    };
  },
};

/** Two links, each the other's peer; with `oneWay` the first reads and the second writes. */
export function memPair(transport: string, oneWay = false): [Link, Link] {
  const a = new MemLink({ transport }, oneWay ? { way: "reads", why: "this end only reads" } : undefined);
  const b = new MemLink({ transport }, oneWay ? { way: "writes", why: "this end only writes" } : undefined);
  a.join(b);
  b.join(a);
  return [a, b];
}

/** The link with the chaos that its address asks for; each end, and each link of a listener, has its own. */
export function withChaos(link: Link, chaos: Chaos | null, number: number): Link {
  return chaos === null ? link : new ChaosLink(link, { ...chaos, seed: chaos.seed + BigInt(number) });
}

class MemLink implements Link {
  /** Bytes of ours that the other end has not taken. */
  pending = 0;
  #other: MemLink | null = null;
  #events: LinkEvents | null = null;
  #incoming: Uint8Array[] = [];
  #ending = false;
  #paused = false;
  #scheduled = false;
  #closed = false;
  #alive: NodeJS.Timeout | null = null;
  #onEmpty: (() => void) | null = null;

  constructor(
    readonly remote: Remote,
    readonly oneWay: OneWay | undefined,
  ) {}

  join(other: MemLink): void {
    this.#other = other;
  }

  start(events: LinkEvents): void {
    this.#events = events;
    this.#schedule();
  }

  write(parts: readonly Uint8Array[]): void {
    // Copied, because our caller's memory is its own again once this returns.
    const bytes = Buffer.concat(parts);
    if (this.#ending || this.#closed || this.#other!.#closed) return;
    this.pending += bytes.length;
    this.#other!.#incoming.push(bytes);
    this.#other!.#schedule();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#schedule();
  }

  ref(): void {
    // There is no handle that could keep the process alive, so a timer that never fires does.
    this.#alive ??= setInterval(() => {}, 2 ** 30);
  }

  unref(): void {
    if (this.#alive !== null) clearInterval(this.#alive);
    this.#alive = null;
  }

  /** All of it: the other end has it at once. */
  get left(): number {
    return Infinity;
  }

  async close(timeout: number): Promise<boolean> {
    this.#ending = true;
    this.#other!.#schedule();
    this.#drop();
    if (this.pending > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(timeout, 2 ** 31 - 1));
        this.#onEmpty = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.unref();
    return this.pending === 0;
  }

  destroy(): void {
    this.#closed = true;
    this.#drop();
    this.unref();
    this.#other!.#schedule();
  }

  #drop(): void {
    this.#events = null;
    for (const bytes of this.#incoming.splice(0)) this.#other!.#taken(bytes.length);
  }

  #taken(count: number): void {
    this.pending -= count;
    this.#events?.onWritten();
    if (this.pending === 0) this.#onEmpty?.();
  }

  // Never within the writer's own turn: a link that answers at once would let two ends starve the event loop.
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#deliver();
    });
  }

  #deliver(): void {
    const other = this.#other!;
    while (!this.#paused && this.#events !== null && this.#incoming.length > 0) {
      const bytes = this.#incoming.shift()!;
      this.#events.onData(bytes);
      other.#taken(bytes.length);
    }
    if (this.#events === null && (this.#closed || this.#ending)) this.#drop();
    if (this.#incoming.length > 0 || this.#events === null) return;
    const events = this.#events;
    if (other.#closed) {
      this.#events = null;
      events.onLost(new Fault("connection-lost", "the other end was destroyed"));
    } else if (other.#ending && !this.#sawEnd) {
      this.#sawEnd = true;
      events.onEnd();
    }
  }

  #sawEnd = false;
}
