// examples/game in Chromium: a page plays with programs, while a tenth of what the server says and hears is lost.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import { Service, connect } from "panpipe";

import { startBrowser } from "./chromium.mjs";
import { endAll, start } from "./example.mjs";

let browser;
before(async () => (browser = await startBrowser()));
afterEach(endAll);
after(() => browser?.close());

async function openGame(...options) {
  const server = start("paint-server", "--loss", "0.1", "--seed", "7", ...options);
  const port = /localhost:(\d+)/.exec(await server.until(/^game: open/))[1];
  const address = /udp:\S+/.exec(await server.until(/^game: programs/))[0];
  return { server, port, address };
}

/** A page in which somebody plays. */
async function enter(port, name) {
  const { page, lines } = await browser.open(`http://localhost:${port}/`);
  await page.getByLabel("Your name").fill(name);
  await page.keyboard.press("Enter");
  await page.locator("#status", { hasText: "Connected" }).waitFor();
  return { page, lines };
}

/** Where everybody is, by name, in each snapshot of some milliseconds. */
async function watch(port, milliseconds) {
  const seen = [];
  const eyes = new Service().method("snapshot", (bytes) => void seen.push(places(bytes)));
  const peer = await connect(`tcp://localhost:${port}`, { service: eyes });
  await peer.call("watch");
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
  await peer.close();
  return seen;
}

function places(bytes) {
  const buffer = Buffer.from(bytes);
  const found = new Map();
  let at = 8;
  for (let rest = buffer[7]; rest > 0; rest--) {
    const length = buffer[at + 8];
    found.set(String(buffer.subarray(at + 9, at + 9 + length)), { x: buffer.readUInt16BE(at + 2) / 1000, y: buffer.readUInt16BE(at + 4) / 1000 });
    at += 9 + length;
  }
  return { tick: buffer.readUInt32BE(0), found };
}

test("a page and players in three languages move at thirty ticks a second though a tenth is lost", async () => {
  const { port, address } = await openGame("--port", "0", "--bots", "1");
  const players = [start("paint-player", "Rust", address), start("game/player.mjs", "Node", address), start("game/player.py", "Python", address)];
  await Promise.all(players.map((player) => player.until(/snapshots/)));
  const { page, lines } = await enter(port, "Page");
  const watching = watch(port, 3000);
  for (const key of ["ArrowRight", "s", "ArrowLeft", "w"]) {
    await page.keyboard.down(key);
    await page.waitForTimeout(300);
    await page.keyboard.press("Space");
    await page.waitForTimeout(300);
    await page.keyboard.up(key);
  }
  const seen = await watching;
  const ticked = seen.at(-1).tick - seen[0].tick;
  assert.ok(ticked >= 75 && ticked <= 105, `${ticked} ticks in 3 s`);
  // Over a stream nothing is lost; but ticks that a busy machine makes up for come as one.
  assert.ok(seen.length > ticked * 0.7, `${seen.length} snapshots of ${ticked} ticks`);
  for (const name of ["Page", "Rust", "Node", "Python"]) {
    const places = seen.map(({ found }) => found.get(name)).filter((place) => place !== undefined);
    // A busy machine may let somebody be silent for too long; they come back.
    assert.ok(places.length > seen.length / 2, `${name} was there in ${places.length} of ${seen.length}`);
    const way = places.slice(1).reduce((sum, { x, y }, index) => sum + Math.hypot(x - places[index].x, y - places[index].y), 0);
    assert.ok(way > 5, `${name} has gone ${way} tiles in 3 s`);
  }

  // The page shows who plays, and how its connection is.
  const names = await page.locator("#ranking bdi").allTextContents();
  assert.deepEqual(names.filter((name) => name !== "Blot").sort(), ["Node", "Page", "Python", "Rust"]);
  const shown = async (id) => Number.parseInt(await page.locator(id).textContent(), 10);
  const [ping, ticks, loss] = [await shown("#ping"), await shown("#ticks"), await shown("#loss")];
  assert.ok(ping >= 0 && ping < 1000, `a ping of ${ping} ms`);
  assert.ok(ticks >= 18 && ticks <= 32, `${ticks} ticks a second`);
  assert.ok(loss >= 2 && loss <= 25, `${loss} % lost`);
  assert.deepEqual(lines, []);
});

test("a finger steers as keys do", async () => {
  const { port } = await openGame("--port", "0", "--bots", "0");
  const { page } = await enter(port, "Finger");
  const box = await page.locator("#stage").boundingBox();
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  await page.mouse.move(x, y);
  await page.mouse.down();
  await page.mouse.move(x + 60, y, { steps: 4 });
  const before = (await watch(port, 300)).at(-1).found.get("Finger");
  await page.mouse.move(x - 60, y, { steps: 4 });
  const between = (await watch(port, 600)).at(-1).found.get("Finger");
  await page.mouse.up();
  assert.ok(between.x < before.x - 1 || between.x < 1, `from ${before.x} to ${between.x}`);
});

test("a page watches before it plays, and comes back to a game that begins anew", async () => {
  const { server, port } = await openGame("--port", "0", "--bots", "3");
  const { page, lines } = await browser.open(`http://localhost:${port}/`);
  await page.locator("#ranking li").nth(2).waitFor();
  assert.equal(await page.locator("#status").textContent(), "Not playing yet");
  await page.getByLabel("Your name").fill("Page");
  await page.keyboard.press("Enter");
  await page.locator("#ranking .you", { hasText: "Page" }).waitFor();
  assert.deepEqual(lines, []);
  server.child.kill("SIGKILL");
  await page.locator("#status", { hasText: "Connection lost" }).waitFor();
  await openGame("--port", port, "--bots", "0");
  await page.locator("#status", { hasText: "Connected" }).waitFor();
  await page.locator("#ranking .you", { hasText: "Page" }).waitFor();
  await page.locator("#ranking li").nth(1).waitFor({ state: "detached" });
});
