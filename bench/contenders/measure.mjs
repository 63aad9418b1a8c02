/**
 * What the Node contenders share: their two roles, and what a client times, counts and checks.
 * The roles and the lines that a client reads and prints are those of `bench/measure/src/contender.rs`.
 */

import { createInterface } from "node:readline";

const end = Buffer.from("the end!");
// The clock is looked at once in this many operations.
const every = 64;

/** Runs the role that the command line names. */
export async function run(serve, connect) {
  const [role, first, second] = process.argv.slice(2);
  if (role === "server") return serve(first, second);
  for await (const line of createInterface({ input: process.stdin })) {
    const [workload, ...numbers] = line.split(" ");
    const [size, count, warm, measured] = numbers.map(Number);
    const peer = await connect(workload === "stream" ? second : first, workload);
    const [operations, value] = await workloads[workload](peer, { size, count, warm, measured });
    await peer.close();
    console.log(JSON.stringify({ operations, value }));
  }
}

const workloads = { "round-trip": roundTrips, "in-flight": inFlight, stream };

/** The median, in microseconds, of calls one after another. */
async function roundTrips(peer, { size, warm, measured }) {
  const sent = message(size, 0);
  check((await peer.call(sent)).equals(sent));
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
  check((await peer.call(sent)).equals(sent));
  times.sort((a, b) => a - b);
  return [operations, times[times.length >> 1] * 1e3];
}

/** Calls per second of `count` async functions, each of which calls again as soon as it is answered. */
async function inFlight(peer, { size, count, warm, measured }) {
  const warmUntil = performance.now() + warm;
  const until = warmUntil + measured;
  const marks = [];
  let operations = 0;
  const caller = async (number) => {
    const sent = message(size, number);
    check((await peer.call(sent)).equals(sent));
    while (marks.length < 2) {
      const reply = await peer.call(sent);
      if (reply.length !== size) check(false);
      operations += 1;
      if (operations % every === 0) {
        const now = performance.now();
        if (now >= (marks.length === 0 ? warmUntil : until)) marks.push([now, operations]);
      }
    }
  };
  await Promise.all(Array.from({ length: count }, (_, number) => caller(number)));
  const [[begun, before], [ended, after]] = marks;
  return [operations + count, ((after - before) * 1e3) / (ended - begun)];
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

/** A message of `size` bytes that differs from those of other numbers. */
function message(size, number) {
  return Buffer.from(Array.from({ length: size }, (_, place) => place * 7 + Math.floor(place / 251) + number));
}

function check(holds) {
  if (!holds) throw new Error("what came is not what was sent");
}
