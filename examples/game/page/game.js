// The game's page: it steers, is sent snapshots, and shows what the arena looked like a moment ago.
import { Service, connect } from "./panpipe.js";

import { COLOURS, Stage, drawStrip } from "./draw.js";
import { Snapshots, TICK, decode } from "./snapshot.js";

const SILENCE = 2000; // milliseconds without a snapshot: the game has forgotten us, or begun anew
const ANSWER = 2000;
const PINGS = 1000;
const FIRST_WAIT = 500; // milliseconds until the next try; twice that after each, up to
const LONGEST_WAIT = 8000;
const STICK = 48; // pixels from where a finger came down to full speed

const byId = (id) => document.getElementById(id);
const [status, clock, news, ranking, canvas, strip, door, join, name, reason, dashButton] = [
  "status", "clock", "news", "ranking", "stage", "strip", "door", "join", "name", "reason", "dash",
].map(byId);
const stage = new Stage(canvas);
const snapshots = new Snapshots();
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

let you = null; // our number, while we play
let heard = 0;
let watched = null; // the connection of one who only watches

const eyes = new Service().method("snapshot", (bytes) => {
  const now = performance.now();
  if (snapshots.add(decode(bytes), now)) heard = now;
});

// --- the game ---

/** Plays, and comes back whenever the connection is lost, until the game refuses one who never played. */
async function stay(wanted) {
  let known = false;
  for (let wait = FIRST_WAIT; ; wait = Math.min(2 * wait, LONGEST_WAIT)) {
    let peer = null;
    let why = "the game has gone silent";
    try {
      tell("wait", known ? "Connecting again…" : "Joining…");
      peer = await connect("/", { service: eyes });
      const welcome = await peer.call("join", wanted, { timeout: ANSWER });
      if (!known) entered(wanted);
      known = true;
      wait = FIRST_WAIT;
      await play(peer, welcome);
    } catch (error) {
      why = error.remoteMessage ?? error.message;
      if (!known) return why;
    } finally {
      you = null;
      await peer?.close();
    }
    status.title = why;
    tell("wait", "Connection lost; trying again");
    await pause(wait);
    status.title = "";
  }
}

/** Steers thirty times a second, until no snapshots come. */
async function play(peer, welcome) {
  snapshots.clear();
  ({ you } = welcome);
  heard = performance.now();
  tell("good", "Connected");
  let pinged = 0;
  for (let number = 0; performance.now() - heard < SILENCE; number++) {
    // Everything each time: whichever message arrives says it all.
    await peer.send("steer", welcome.key, number, ...wish());
    if (performance.now() - pinged > PINGS) {
      pinged = performance.now();
      void measure(peer);
    }
    await pause(TICK);
  }
}

/** Shows the game to one who has not joined yet. */
async function watch() {
  while (door.open) {
    try {
      watched = await connect("/", { service: eyes });
      await watched.call("watch");
      await watched.closed;
    } catch {
      // Whoever joins is told what is wrong.
    }
    await pause(LONGEST_WAIT);
  }
}

async function measure(peer) {
  const begun = performance.now();
  // A connection that is lost is told to whoever plays.
  const answered = await peer.call("ping", { timeout: ANSWER }).catch(() => null);
  if (answered !== null) byId("ping").textContent = `${Math.round(performance.now() - begun)} ms`;
}

// --- what is pressed and touched ---

const directions = {
  ArrowLeft: [-1, 0], KeyA: [-1, 0], ArrowRight: [1, 0], KeyD: [1, 0],
  ArrowUp: [0, -1], KeyW: [0, -1], ArrowDown: [0, 1], KeyS: [0, 1],
};
const pressed = new Set();
let stick = null; // the finger that steers: where it came down, and where it is
let dashing = false; // a finger says so
let dashUntil = 0; // a short press counts, too

/** Where to go, and whether to dash. */
function wish() {
  let [dx, dy] = [0, 0];
  for (const key of pressed) [dx, dy] = [dx + (directions[key]?.[0] ?? 0), dy + (directions[key]?.[1] ?? 0)];
  if (stick !== null) [dx, dy] = [(stick.to.x - stick.from.x) / STICK, (stick.to.y - stick.from.y) / STICK];
  return [dx, dy, dashing || pressed.has("Space") || performance.now() < dashUntil];
}

const isPlayed = (code) => code in directions || code === "Space";
const dashOnce = () => (dashUntil = performance.now() + 150);

addEventListener("keydown", (event) => {
  if (door.open || !isPlayed(event.code) || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  pressed.add(event.code);
  if (event.code === "Space" && !event.repeat) dashOnce();
});
addEventListener("keyup", (event) => pressed.delete(event.code));
addEventListener("blur", () => pressed.clear());

const place = (event) => ({ x: event.offsetX, y: event.offsetY });
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  if (stick === null) stick = { id: event.pointerId, from: place(event), to: place(event) };
  else dashOnce();
});
canvas.addEventListener("pointermove", (event) => {
  if (stick?.id === event.pointerId) stick.to = place(event);
});
for (const end of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(end, (event) => {
    if (stick?.id === event.pointerId) stick = null;
  });
  dashButton.addEventListener(end, () => (dashing = false));
}
dashButton.addEventListener("pointerdown", () => {
  dashing = true;
  dashOnce();
});

join.addEventListener("submit", (event) => {
  event.preventDefault();
  void enter(name.value.trim());
});
door.addEventListener("cancel", (event) => event.preventDefault());

async function enter(wanted) {
  const button = join.querySelector("button");
  button.disabled = true;
  reason.textContent = "";
  reason.textContent = await stay(wanted);
  button.disabled = false;
  tell("quiet", "Not playing yet");
  if (!door.open) door.showModal();
}

function entered(wanted) {
  door.close();
  void watched?.close();
  canvas.focus();
  try {
    sessionStorage.setItem("name", wanted);
  } catch {
    // The browser remembers nothing, then.
  }
}

// --- what is seen ---

let wasPause = false;

function show(now) {
  requestAnimationFrame(show);
  if (snapshots.newest === null) return;
  const snapshot = snapshots.at(now);
  stage.draw(snapshot, you, now, stick);
  if (snapshot.isPause && !wasPause) tellWinner(snapshot);
  if (!snapshot.isPause && wasPause) news.textContent = "";
  wasPause = snapshot.isPause;
}

function tellWinner({ players }) {
  const [first] = ranked(players);
  if (first === undefined) return;
  news.textContent = `${first.id === you ? "You win" : `${first.name} wins`} with ${first.tiles} tiles`;
  stage.celebrate(first.id);
}

const ranked = (players) => [...players.values()].sort((one, other) => other.tiles - one.tiles);

function showFacts() {
  const { newest } = snapshots;
  if (newest === null) return;
  const seconds = Math.ceil(newest.left / 30);
  clock.textContent = newest.isPause ? `Next in ${seconds}` : `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  clock.dataset.hurry = String(!newest.isPause && seconds <= 10);
  const { ticks, loss } = snapshots.count(performance.now());
  byId("ticks").textContent = String(ticks);
  byId("loss").textContent = `${Math.round(100 * loss)} %`;
  const { color } = getComputedStyle(byId("reason"));
  drawStrip(strip, snapshots.arrivals(60), { came: getComputedStyle(status).color, lost: color });
  showRanking(newest.players);
}

/** Names are text, never markup. */
function showRanking(players) {
  const all = ranked(players);
  const most = Math.max(...all.map(({ tiles }) => tiles), 1);
  while (ranking.childElementCount > all.length) ranking.lastElementChild.remove();
  while (ranking.childElementCount < all.length) {
    const item = document.createElement("li");
    item.append(document.createElement("bdi"), document.createElement("b"));
    ranking.append(item);
  }
  all.forEach(({ id, name, tiles, isBot }, index) => {
    const item = ranking.children[index];
    item.className = id === you ? "you" : isBot ? "bot" : "";
    item.style.setProperty("--colour", COLOURS[id]);
    item.style.setProperty("--part", `${(100 * tiles) / most}%`);
    item.children[0].textContent = name;
    item.children[1].textContent = String(tiles);
  });
}

/** Says how the connection is; a screen reader reads it out. */
function tell(tone, words) {
  status.dataset.tone = tone;
  if (status.textContent !== words) status.textContent = words;
}

requestAnimationFrame(show);
setInterval(showFacts, 200);

try {
  name.value = sessionStorage.getItem("name") ?? "";
} catch {
  // The browser remembers nothing, then.
}
if (name.value === "") {
  door.showModal();
  void watch();
} else void enter(name.value);
