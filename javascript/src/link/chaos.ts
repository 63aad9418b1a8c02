/** Chaos: a link that splits, joins and delays what arrives, as real ones do on bad days; the same each time for a seed. */

import { Fault } from "../wire/error.js";
import type { Chaos } from "../wire/option.js";
import type { Link, LinkEvents, OneWay, Remote } from "./link.js";

/** With more than so many bytes held back no more are taken from below. */
const mostHeld = 64 * 1024;

const mask = 2n ** 64n - 1n;

/** SplitMix64 (Steele, Lea, Flood 2014). */
class SplitMix {
  constructor(public state: bigint) {}

  below(limit: number): number {
    this.state = (this.state + 0x9e3779b97f4a7c15n) & mask;
    let mixed = this.state;
    mixed = ((mixed ^ (mixed >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
    mixed = ((mixed ^ (mixed >> 27n)) * 0x94d049bb133111ebn) & mask;
    return Number((mixed ^ (mixed >> 31n)) % BigInt(limit));
  }
}

/** Gives the bytes of `inner` in pieces of its own. */
export class ChaosLink implements Link {
  readonly remote: Remote;
  readonly oneWay: OneWay | undefined;
  readonly #random: SplitMix;
  #events: LinkEvents | null = null;
  #held: Buffer = Buffer.alloc(0);
  #end: ((events: LinkEvents) => void) | null = null;
  #paused = false;
  #scheduled = false;

  constructor(
    readonly inner: Link,
    readonly chaos: Chaos,
  ) {
    this.remote = inner.remote;
    this.oneWay = inner.oneWay;
    this.#random = new SplitMix(chaos.seed);
  }

  get pending(): number {
    return this.inner.pending;
  }

  get left(): number {
    return this.inner.left;
  }

  start(events: LinkEvents): void {
    this.#events = events;
    this.inner.start({
      ...events,
      onData: (chunk) => {
        this.#held = Buffer.concat([this.#held, chunk]);
        if (this.#held.length > mostHeld) this.inner.pause();
        this.#schedule();
      },
      onEnd: (how) => this.#ends((last) => last.onEnd(how)),
      onLost: (fault) => this.#ends((last) => last.onLost(fault)),
    });
  }

  write(parts: readonly Uint8Array[]): void {
    this.inner.write(parts);
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#schedule();
  }

  ref(): void {
    this.inner.ref();
  }

  unref(): void {
    this.inner.unref();
  }

  close(timeout: number): Promise<boolean> {
    this.#events = null;
    return this.inner.close(timeout);
  }

  destroy(): void {
    this.#events = null;
    this.inner.destroy();
  }

  #ends(tell: (events: LinkEvents) => void): void {
    this.#end = tell;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled || this.#paused || (this.#held.length === 0 && this.#end === null)) return;
    this.#scheduled = true;
    const turn = () => {
      this.#scheduled = false;
      this.#turn();
    };
    if (this.#random.below(8) === 0) setTimeout(turn, this.#random.below(3));
    else setImmediate(turn);
  }

  #turn(): void {
    const events = this.#events;
    if (this.#paused || events === null) return;
    if (this.#held.length > 0) {
      const piece = this.#held.subarray(0, this.#size());
      this.#held = this.#held.subarray(piece.length);
      if (this.#held.length <= mostHeld) this.inner.resume();
      events.onData(piece);
      if (this.chaos.cuts && this.#random.below(64) === 0) return this.#cut(events);
    } else if (this.#end !== null) {
      this.#events = null;
      return this.#end(events);
    }
    this.#schedule();
  }

  #size(): number {
    const most = [4, 64, 4096, mostHeld][this.#random.below(4)]!;
    return 1 + this.#random.below(most);
  }

  #cut(events: LinkEvents): void {
    this.#events = null;
    this.inner.destroy();
    events.onLost(new Fault("connection-lost", "chaos has cut the connection"));
  }
}
