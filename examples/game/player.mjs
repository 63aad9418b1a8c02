// A player that plays by itself, in Node.js: prints once a second how it goes.
//
// node player.mjs [NAME] [ADDRESS]
import { Service, connect } from "panpipe";

const [name = "Node", address = "udp://localhost:9999?protocol=panpipe"] = process.argv.slice(2);
const [WIDTH, HEIGHT] = [48, 27];
const TICK = 1000 / 30; // milliseconds
const SILENCE = 2000; // milliseconds without a snapshot: the game has forgotten us, or begun anew
const ANSWER = 500; // how long we wait to be let in: a datagram that gets lost is not sent again
const AHEAD = 2; // tiles that it looks ahead, so that it goes straight on where it can

let newest = null;
let heard = 0;
let came = 0;
let first = null;

const eyes = new Service().method("snapshot", (bytes) => {
  const snapshot = decode(bytes);
  // One that was overtaken tells nothing new.
  if (newest !== null && snapshot.tick <= newest.tick) return;
  newest = snapshot;
  heard = Date.now();
  came++;
  first ??= snapshot.tick;
});

/** What is in a snapshot; README.md has the layout. */
function decode(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 8;
  const players = new Map();
  for (let rest = view.getUint8(7); rest > 0; rest--) {
    const flags = view.getUint8(at + 1);
    const [x, y] = [view.getUint16(at + 2) / 1000, view.getUint16(at + 4) / 1000];
    players.set(view.getUint8(at), { x, y, tiles: view.getUint16(at + 6), isDown: (flags & 2) !== 0, isReady: (flags & 8) !== 0 });
    at += 9 + view.getUint8(at + 8);
  }
  at += 1 + 2 * view.getUint8(at);
  const owner = (tile) => (view.getUint8(at + (tile >> 1)) >> (tile % 2 === 0 ? 4 : 0)) & 15;
  return { tick: view.getUint32(0), players, owner };
}

/** Goes to the tile that is not ours and is nearest to what lies ahead, and dashes at whom it meets. */
function choose({ players, owner }, you, [dx, dy]) {
  const own = players.get(you);
  if (own === undefined) return [0, 0, false];
  for (const [id, { x, y, isDown }] of players) {
    if (own.isReady && id !== you && !isDown && Math.hypot(x - own.x, y - own.y) < 3.5) return [x - own.x, y - own.y, true];
  }
  const length = Math.max(Math.hypot(dx, dy), 1);
  const ahead = { x: own.x + (dx / length) * AHEAD, y: own.y + (dy / length) * AHEAD };
  let nearest = { x: own.x, y: own.y, far: Infinity };
  for (let tile = 0; tile < WIDTH * HEIGHT; tile++) {
    const [x, y] = [(tile % WIDTH) + 0.5, Math.floor(tile / WIDTH) + 0.5];
    const far = Math.hypot(x - ahead.x, y - ahead.y);
    if (far < nearest.far && owner(tile) !== you) nearest = { x, y, far };
  }
  return [nearest.x - own.x, nearest.y - own.y, false];
}

function printScore(you) {
  const tiles = (id) => newest.players.get(id)?.tiles ?? 0;
  const all = [...newest.players.keys()];
  const sent = newest.tick - first + 1;
  const place = 1 + all.filter((id) => tiles(id) > tiles(you)).length;
  console.log(`${came} snapshots, ${Math.round((100 * (sent - came)) / sent)} % lost, ${tiles(you)} tiles, place ${place} of ${all.length}`);
  [came, first] = [0, newest.tick + 1];
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
for (;;) {
  let game = null;
  try {
    // A connection of its own each time: to a game that began anew we are strangers.
    game = await connect(address, { service: eyes });
    const { you, key } = await game.call("join", name, { timeout: ANSWER });
    heard = Date.now();
    newest = first = null;
    let wish = [0, 0, false];
    for (let number = 0; Date.now() - heard < SILENCE; number++) {
      if (newest !== null) wish = choose(newest, you, wish);
      // Everything each time: whichever message arrives says it all.
      await game.send("steer", key, number, ...wish);
      if (number % 30 === 29 && newest !== null) printScore(you);
      await pause(TICK);
    }
  } catch (error) {
    console.log(`${error.message}; trying again`);
    await pause(1000);
  } finally {
    await game?.close();
  }
}
