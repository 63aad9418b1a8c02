/**
 * What the Node contenders share: their two roles, and what a client times, counts and checks.
 * The roles and the lines that a client reads and prints are those of `bench/measure/src/contender.rs`.
 */

import { createInterface } from "node:readline";

const end = Buffer.from("the end!");
// The clock is looked at once in this many operations.
const every = 64;

/** Runs the role that the command line names; `more` are workloads beside those of calls and messages. */
export async function run(serve, connect, more = {}) {
  const [role, first, second] = process.argv.slice(2);
  if (role === "server") return serve(first, second);
  for await (const line of createInterface({ input: process.stdin })) {
    const [workload, ...numbers] = line.split(" ");
    const [size, count, warm, measured] = numbers.map(Number);
    const peer = await connect(workload === "stream" ? second : first, workload);
    const [operations, value] = await { ...workloads, ...more }[workload](peer, { size, count, warm, measured });
    await peer.close();
    console.log(JSON.stringify({ operations, value }));
  }
}

const workloads = { "round-trip": roundTrips, "in-flight": inFlight, stream };

/** The median, in microseconds, of calls one after another. */
async function roundTrips(peer, { size, warm, measured }) {
  const sent = message(size, 0);
  check(same(await peer.call(sent), sent));
  let last = performance.now();
  const warmUntil = last + warm;
  const until = warmUntil + measured;
  const times = [];
  let operations = 0;
  // A stall of the system may outlast the measurement; it is then measured.
  while (last < until || times.length === 0) {
    const reply = await peer.call(sent);
    const now = performance.now();
    if (reply.length !== size) check(false);
    if (last >= warmUntil) times.push(now - last);
    last = now;
    operations += 1;
  }
  check(same(await peer.call(sent), sent));
  times.sort((a, b) => a - b);
  return [operations, times[times.length >> 1] * 1e3];
}

/** Calls per second of `count` async functions, each of which calls again as soon as it is answered. */
async function inFlight(peer, task) {
  const rate = new Rate(task);
  const caller = async (number) => {
    const sent = message(task.size, number);
    check(same(await peer.call(sent), sent));
    while (rate.tick()) {
      const reply = await peer.call(sent);
      if (reply.length !== task.size) check(false);
    }
  };
  await Promise.all(Array.from({ length: task.count }, (_, number) => caller(number)));
  return rate.end();
}

/** Messages per second that a sink receives, until it has acknowledged the last. */
async function stream(peer, { size, warm, measured }) {
  const sent = message(size, 0);
  let operations = 0;
  let value = 0;
  for (const span of [warm, measured]) {
    const begun = performance.now();
    let count = 0;
    while (performance.now() - begun < span) {
      await peer.send(sent);
      count += 1;
    }
    check(Number((await peer.call(end)).readBigUInt64BE()) === count);
    value = (count * 1e3) / (performance.now() - begun);
    operations += count;
  }
  return [operations, value];
}

/** Counts messages of one size. */
export class Sink {
  #count = 0;
  #size = 0;

  /** The count when it is asked for, else `null`. */
  take(taken) {
    if (taken.length === end.length && taken.equals(end)) {
      const answer = Buffer.alloc(8);
      answer.writeBigUInt64BE(BigInt(this.#count));
      this.#count = 0;
      return answer;
    }
    if (this.#size === 0) {
      this.#size = taken.length;
      check(taken.equals(message(this.#size, 0)));
    }
    if (taken.length !== this.#size) check(false);
    this.#count += 1;
    return null;
  }
}

/** Counts operations per second. */
export class Rate {
  #warmUntil;
  #until;
  #atOnce;
  #marks = [];
  operations = 0;

  /** As many of the `count` that are under way at once have to end before any is counted, and twice as many are, however long it takes. */
  constructor({ warm, measured, count }) {
    this.#atOnce = count;
    this.#warmUntil = performance.now() + warm;
    this.#until = this.#warmUntil + measured;
  }

  /** An operation has ended; another one may begin if this says so. */
  tick() {
    this.operations += 1;
    if (this.operations % every === 0 && this.#marks.length < 2) {
      const now = performance.now();
      const least = this.#marks.length === 0 ? this.#atOnce : this.#marks[0][1] + 2 * this.#atOnce;
      if (this.operations >= least && now >= (this.#marks.length === 0 ? this.#warmUntil : this.#until)) this.#marks.push([now, this.operations]);
    }
    return this.#marks.length < 2;
  }

  /** What a workload answers. */
  end() {
    const [[begun, before], [ended, after]] = this.#marks;
    return [this.operations, ((after - before) * 1e3) / (ended - begun)];
  }
}

/** A message of `size` bytes that differs from those of other numbers. */
export function message(size, number) {
  return Buffer.from(Array.from({ length: size }, (_, place) => place * 7 + Math.floor(place / 251) + number));
}

/** Whether two are the same bytes. */
export function same(one, other) {
  return Buffer.compare(one, other) === 0;
}

export function check(holds) {
  if (!holds) throw new Error("what came is not what was sent");
}
