// Snapshots: what is in the bytes, and what the arena looked like between two of them.

export const WIDTH = 48;
export const HEIGHT = 27;
export const TICK = 1000 / 30; // milliseconds

const KEPT = 30;
// How far behind the newest snapshot is shown: two that are lost in a row do not show.
const BEHIND = 3.5; // ticks
const JUMP = 4; // tiles: further than that nobody glides in a tick, but was put there

const utf8 = new TextDecoder();

/** What is in a snapshot; README.md has the layout. */
export function decode(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 8;
  const players = new Map();
  for (let rest = view.getUint8(7); rest > 0; rest--) {
    const [id, flags, length] = [view.getUint8(at), view.getUint8(at + 1), view.getUint8(at + 8)];
    players.set(id, {
      id,
      name: utf8.decode(bytes.subarray(at + 9, at + 9 + length)),
      x: view.getUint16(at + 2) / 1000,
      y: view.getUint16(at + 4) / 1000,
      tiles: view.getUint16(at + 6),
      isDashing: (flags & 1) !== 0,
      isDown: (flags & 2) !== 0,
      isBot: (flags & 4) !== 0,
      isReady: (flags & 8) !== 0,
    });
    at += 9 + length;
  }
  const bombs = [];
  for (let rest = view.getUint8(at++); rest > 0; rest--, at += 2) bombs.push([view.getUint8(at), view.getUint8(at + 1)]);
  const floor = new Uint8Array(WIDTH * HEIGHT);
  for (let tile = 0; tile < floor.length; tile += 2, at++) {
    floor[tile] = view.getUint8(at) >> 4;
    floor[tile + 1] = view.getUint8(at) & 15;
  }
  return { tick: view.getUint32(0), isPause: view.getUint8(4) !== 0, left: view.getUint16(5), players, bombs, floor };
}

/** The newest snapshots, and how many did not come. */
export class Snapshots {
  #kept = [];
  // When tick 0 would have come, by the snapshot that was fastest on its way.
  #zero = Infinity;

  get newest() {
    return this.#kept.at(-1) ?? null;
  }

  /** Takes one in; whether it is news. */
  add(snapshot, now) {
    if (this.newest !== null && snapshot.tick <= this.newest.tick) return false;
    snapshot.came = now;
    this.#kept.push(snapshot);
    if (this.#kept.length > KEPT * 4) this.#kept.shift();
    // A clock that runs a little differently is followed, slowly.
    this.#zero = Math.min(this.#zero + 0.05, now - snapshot.tick * TICK);
    return true;
  }

  clear() {
    this.#kept = [];
    this.#zero = Infinity;
  }

  /** What of the last second came, and what part of the last three did not. */
  count(now) {
    const since = (milliseconds) => this.#kept.filter(({ came }) => now - came < milliseconds);
    const some = since(3000);
    const sent = some.length === 0 ? 0 : some.at(-1).tick - some[0].tick + 1;
    return { ticks: since(1000).length, loss: sent === 0 ? 0 : 1 - some.length / sent };
  }

  /** Of the ticks up to the newest, the oldest first, which came. */
  arrivals(count) {
    if (this.newest === null) return [];
    const came = new Set(this.#kept.map(({ tick }) => tick));
    const first = this.#kept[0].tick;
    return Array.from({ length: count }, (_, index) => this.newest.tick - count + 1 + index)
      .filter((tick) => tick >= first)
      .map((tick) => came.has(tick));
  }

  /** The snapshot that is to be seen now, in which everybody stands where they were between it and the next. */
  at(now) {
    const tick = (now - this.#zero) / TICK - BEHIND;
    const after = this.#kept.findIndex((snapshot) => snapshot.tick > tick);
    if (after === 0) return this.#kept[0];
    if (after < 0) return this.newest;
    const [one, other] = [this.#kept[after - 1], this.#kept[after]];
    const part = (tick - one.tick) / (other.tick - one.tick);
    const players = new Map();
    for (const [id, from] of one.players) {
      const to = other.players.get(id);
      if (to === undefined) continue;
      const glides = Math.hypot(to.x - from.x, to.y - from.y) < JUMP * (other.tick - one.tick) && !from.isDown;
      const between = (a, b) => (glides ? a + (b - a) * part : b);
      players.set(id, { ...from, x: between(from.x, to.x), y: between(from.y, to.y), dx: to.x - from.x, dy: to.y - from.y });
    }
    return { ...one, players };
  }
}
