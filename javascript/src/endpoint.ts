/** An endpoint: a session of the panpipe protocol and the link that it speaks over. */

import { atEndOfTurn, later } from "#runtime";

import { Alarm } from "./alarm.js";
import type { Link } from "./link/link.js";
import type { Address } from "./wire/address.js";
import { Fault } from "./wire/error.js";
import { Session, type Events } from "./wire/panpipe/session.js";

/** Above this many unwritten bytes, nothing more is taken out of the session. */
const highWater = 1024 * 1024;

/** Pieces of long messages are cut when there is less than this, so that what comes meanwhile goes between them. */
const pieceWater = 64 * 1024;

/** What is queued beyond this is written before the turn ends, so that a long turn holds little. */
const flushAt = 64 * 1024;

/** When nothing more can be written, what comes in is read for so many milliseconds. */
const outputGrace = 1000;

const done = Promise.resolve();

/** Moves bytes between a session and its link, what a turn of the loop sends in one write. */
export class Endpoint {
  readonly session: Session;
  readonly #alarm: Alarm;
  #flushScheduled = false;
  #receiving = false;
  #awaited = 0;
  #held = false;
  #releaseScheduled = false;
  #closing: Promise<void> | null = null;
  #waiting: (() => void)[] = [];

  constructor(
    readonly link: Link,
    readonly address: Address,
    client: boolean,
    /** Whether the other end may be on another machine. */
    remote: boolean,
    events: Events,
  ) {
    const { packets } = link;
    const now = performance.now();
    const datagrams = packets?.alone === true;
    this.session = new Session(
      {
        client,
        max: address.max,
        calls: 1024,
        remote,
        largestPacket: packets?.largest ?? null,
        datagrams,
        token: link.token ?? null,
        ...(datagrams ? { firstId: 1000 * Date.now() } : {}),
        left: () => link.left,
      },
      events,
      now,
    );
    this.#alarm = new Alarm((at) => this.#expire(at));
    link.start({
      onData: (chunk) => {
        this.session.now = performance.now();
        this.#receiving = true;
        this.session.receive(chunk);
        if (link.batches !== true) this.#afterRead();
      },
      onRead: () => this.#afterRead(),
      onEnd: (how) => this.#end(() => this.session.finish(how)),
      onLost: (fault) => this.#end(() => this.session.lose(fault)),
      // What was sent may still be answered, and how the other end has ended is known better when its end comes.
      onOutputLost: (fault) => void later(() => this.#end(() => this.session.lose(fault)), outputGrace),
      onWritten: () => {
        this.#flush();
        this.release();
      },
      onRefused: (fault) => this.#end(() => this.session.refused(fault)),
    });
    this.settle();
  }

  /** Whether so much is unwritten that senders should wait. */
  get congested(): boolean {
    return this.session.queued > 0 || this.session.outgoing + this.link.pending > highWater;
  }

  /** Resolved once there is room for more. */
  room(): Promise<void> {
    if (!this.congested || this.session.over) return done;
    this.hold();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Tells the session the time; before anything is asked of it. */
  touch(): void {
    if (!this.#receiving) this.session.now = performance.now();
  }

  /** Writes what was asked of the session: at once when nothing else was on its way, else with all of this turn. */
  settle(atOnce = false): void {
    // What a chunk brings about is settled when all of it was read.
    if (this.#receiving) return;
    const { session } = this;
    if (session.outgoing > 0 || session.inPieces) {
      if ((atOnce && !this.#flushScheduled) || session.outgoing >= flushAt) this.#write();
      else this.#scheduleFlush();
    }
    if (session.over) void this.close();
    else this.#alarm.watch(session.nextDeadline);
    this.release();
  }

  /** As `settle`, for what nobody waits for: the first of a turn goes out at once, and what more this turn sends at its end. */
  settleFirst(): void {
    const first = !this.#flushScheduled && !this.#receiving;
    this.settle(true);
    if (first) this.#scheduleFlush();
  }

  /** One more is awaited. */
  hold(): void {
    this.#awaited++;
    this.#keep();
  }

  /** One is not awaited any more. */
  drop(): void {
    this.#awaited--;
    this.release();
  }

  /** Lets the process end, unless what just ended is followed by the next in the same turn. */
  release(): void {
    if (!this.#held || this.#releaseScheduled || this.#busy) return;
    this.#releaseScheduled = true;
    void done.then(this.#releaseNow);
  }

  /** Writes what is there, and closes. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  get #busy(): boolean {
    return this.#awaited > 0 || this.session.running > 0 || this.session.outgoing > 0 || this.link.pending > 0;
  }

  #keep(): void {
    if (this.#held || this.#closing !== null) return;
    this.#held = true;
    this.link.ref();
  }

  readonly #releaseNow = (): void => {
    this.#releaseScheduled = false;
    if (this.#busy || this.#closing !== null) return;
    this.#held = false;
    this.link.unref();
  };

  /** What was answered at once goes out at once, with nobody else to wait for. */
  #afterRead(): void {
    this.#receiving = false;
    this.settle(this.session.running === 0);
  }

  #scheduleFlush(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    this.#keep();
    atEndOfTurn(this.#endTurn);
  }

  readonly #endTurn = (): void => {
    this.#flushScheduled = false;
    this.#flush();
    this.release();
  };

  #write(): void {
    const { session, link } = this;
    while (link.pending <= (session.outgoing > 0 ? highWater : pieceWater)) {
      const parts = session.take();
      if (parts.length === 0) break;
      link.write(parts);
    }
    const { pending } = link;
    if (pending === 0) session.recycle();
    else this.#keep();
    session.unwritten(pending);
    if (this.#waiting.length > 0) this.#tellRoom();
  }

  /** Writes, where nobody looks at the time behind it. */
  #flush(): void {
    this.#write();
    this.#alarm.watch(this.session.nextDeadline);
  }

  #tellRoom(): void {
    if (this.congested && !this.session.over) return;
    for (const resolve of this.#waiting.splice(0)) {
      resolve();
      this.drop();
    }
  }

  #end(tell: () => void): void {
    this.touch();
    tell();
    this.settle();
  }

  #expire(now: number): number {
    this.session.now = now;
    this.session.expire();
    this.settle();
    return this.session.nextDeadline;
  }

  async #close(): Promise<void> {
    this.#alarm.clear();
    this.session.close(new Fault("closed", "this side closed the connection"));
    // Everything that is whole goes out, long messages too: nothing more is taken from anybody.
    for (let parts = this.session.take(); parts.length > 0; parts = this.session.take()) this.link.write(parts);
    this.#tellRoom();
    await this.link.close(this.address.timeout);
  }
}
