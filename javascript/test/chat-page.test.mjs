// examples/chat in Chromium, beside its terminals.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import { startBrowser } from "./chromium.mjs";
import { endAll, start } from "./example.mjs";

let browser;
before(async () => (browser = await startBrowser()));
afterEach(endAll);
after(() => browser?.close());

/** Opens a room; its port. */
async function openRoom(port = "0") {
  const server = start("chat/server.py", port);
  const line = await server.until(/^chat: open/);
  return { server, port: /localhost:(\d+)/.exec(line)[1] };
}

/** A page in which somebody has joined the room. */
async function enter(port, name) {
  const { page, lines } = await browser.open(`http://localhost:${port}/`);
  await page.getByLabel("Your name").fill(name);
  await page.keyboard.press("Enter");
  await page.locator("#status", { hasText: "Connected" }).waitFor();
  return {
    page,
    lines,
    async say(text) {
      // The message has the focus from the beginning.
      await page.keyboard.type(text);
      await page.keyboard.press("Enter");
    },
    hears: (text) => page.locator("#messages .text").getByText(text, { exact: true }).waitFor(),
    texts: () => page.locator("#messages .text").allTextContents(),
    people: () => page.locator("#people bdi").allTextContents(),
  };
}

test("two pages, a terminal in Node and one in Python are in one room", async () => {
  const { port } = await openRoom();
  const address = `tcp://localhost:${port}`;
  const ann = await enter(port, "Ann");
  const bob = await enter(port, "Bob");
  const cid = start("chat/terminal.mjs", "Cid", address);
  await cid.until(/^\* here: Ann, Bob, Cid$/);
  const dan = start("chat/terminal.py", "Dan", address);
  await dan.until(/^\* here: Ann, Bob, Cid, Dan$/);

  await ann.say("one from a page");
  for (const page of [ann, bob]) await page.hears("one from a page");
  for (const terminal of [cid, dan]) await terminal.until(/^Ann: one from a page$/);
  cid.type("two from Node");
  for (const page of [ann, bob]) await page.hears("two from Node");
  await dan.until(/^Cid: two from Node$/);
  dan.type("three from Python");
  for (const page of [ann, bob]) await page.hears("three from Python");
  await cid.until(/^Dan: three from Python$/);
  await bob.say("four");
  await ann.hears("four");

  const all = ["one from a page", "two from Node", "three from Python", "four"];
  assert.deepEqual(await ann.texts(), all);
  const eve = await enter(port, "Eve");
  await eve.hears("four");
  assert.deepEqual(await eve.texts(), all);
  assert.deepEqual(await eve.people(), ["Ann", "Bob", "Cid", "Dan", "Eve"]);

  cid.child.kill("SIGKILL");
  await ann.page.locator(".note", { hasText: "Cid left" }).waitFor();
  assert.deepEqual(await ann.people(), ["Ann", "Bob", "Dan", "Eve"]);
  for (const { lines } of [ann, bob, eve]) assert.deepEqual(lines, []);
});

test("what others write is text, whatever it is", async () => {
  const { port } = await openRoom();
  const ann = await enter(port, '<b title="x">Ann');
  const bob = start("chat/terminal.mjs", "<script>bob()</script>", `tcp://localhost:${port}`);
  await bob.until(/^\* here/);
  const markup = "<img src=x onerror=alert(1)> &amp; <script>alert(2)</script>";
  bob.type(markup);
  await ann.hears(markup);
  assert.deepEqual(await ann.people(), ['<b title="x">Ann', "<script>bob()</script>"]);
  assert.equal(await ann.page.locator("#messages img, #messages script, #messages b, #people b").count(), 0);
  // What the page's own policy stopped would be told here.
  assert.deepEqual(ann.lines, []);
});

test("a name that is taken is refused at the door, and too much text by the page and the room", async () => {
  const { port } = await openRoom();
  const ann = await enter(port, "Ann");
  const { page } = await browser.open(`http://localhost:${port}/`);
  await page.getByLabel("Your name").fill("Ann");
  await page.keyboard.press("Enter");
  await page.locator("#reason", { hasText: "somebody here is called Ann" }).waitFor();
  await page.getByLabel("Your name").fill("Bob");
  await page.keyboard.press("Enter");
  await page.locator("#status", { hasText: "Connected" }).waitFor();
  await ann.page.locator(".note", { hasText: "Bob joined" }).waitFor();
  await ann.page.locator("#text").evaluate((text) => {
    text.removeAttribute("maxlength");
    text.value = "x".repeat(2001);
  });
  await ann.page.keyboard.press("Enter");
  await ann.page.locator("#refused", { hasText: "1 to 2000 characters, and not 2001" }).waitFor();
  assert.deepEqual(await ann.texts(), []);
});

test("a page comes back to its room by itself, and says so meanwhile", async () => {
  const { server, port } = await openRoom();
  const ann = await enter(port, "Ann");
  await ann.say("before");
  await ann.hears("before");
  server.child.kill("SIGKILL");
  await ann.page.locator("#status", { hasText: "Connection lost" }).waitFor();
  assert.deepEqual(await ann.people(), []);
  await openRoom(port);
  await ann.page.locator("#status", { hasText: "Connected" }).waitFor();
  await ann.say("after");
  await ann.hears("after");
  assert.deepEqual(await ann.texts(), ["before", "after"]);
  // A reload remembers the name.
  await ann.page.reload();
  await ann.hears("after");
  assert.deepEqual(await ann.people(), ["Ann"]);
});
