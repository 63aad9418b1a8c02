/** What a page of another origin can do to a listener on this machine, from a real browser. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { Service, serve } from "panpipe";

import { portOf, servePage, startBrowser } from "./chromium.mjs";

let browser;
let page;
let evil;
let calls = 0;

before(async () => {
  evil = await servePage("<!doctype html><title>evil</title><p>hello</p>");
  // Every name leads to this machine, as an attacker's name server would have it.
  browser = await startBrowser(["--host-resolver-rules=MAP evil.example 127.0.0.1"]);
  ({ page } = await browser.open(`http://127.0.0.1:${evil.port}/`));
});

after(async () => {
  await browser?.close();
  evil?.close();
});

function makeService() {
  const service = new Service();
  service.method("run", () => ++calls);
  return service;
}

/** How a WebSocket of the page fares: `open`, or the code of its end. */
function dial(url, protocols = ["panpipe"]) {
  return page.evaluate(
    ([url, protocols]) =>
      new Promise((resolve) => {
        const socket = new WebSocket(url, protocols);
        socket.onopen = () => (socket.close(), resolve("open"));
        socket.onclose = ({ code }) => resolve(code);
      }),
    [url, protocols],
  );
}

test("a page of another origin is not let in, unless it is listed", async () => {
  const origin = `http://127.0.0.1:${evil.port}`;
  const closed = await serve("ws://localhost:0", makeService());
  const other = await serve("ws://localhost:0?origin=https://app.example", makeService());
  const listed = await serve(`ws://localhost:0?origin=${origin}`, makeService());
  try {
    for (const host of ["localhost", "127.0.0.1", "[::1]"]) {
      assert.equal(await dial(`ws://${host}:${portOf(closed.address)}/`), 1006, host);
    }
    assert.equal(await dial(`ws://localhost:${portOf(other.address)}/`), 1006);
    assert.equal(await dial(`ws://localhost:${portOf(listed.address)}/`), "open");
  } finally {
    await Promise.all([closed, other, listed].map((server) => server.close()));
  }
});

test("a frame without an origin is not let in", async () => {
  const server = await serve(`ws://localhost:0?origin=http://127.0.0.1:${evil.port}`, makeService());
  try {
    const told = await page.evaluate(
      (url) =>
        new Promise((resolve) => {
          const frame = document.createElement("iframe");
          frame.sandbox = "allow-scripts";
          addEventListener("message", ({ data }) => resolve(data), { once: true });
          frame.srcdoc = `<script>const socket = new WebSocket(${JSON.stringify(url)}, "panpipe"); socket.onopen = () => parent.postMessage("open", "*"); socket.onclose = ({ code }) => parent.postMessage(code, "*");</script>`;
          document.body.append(frame);
        }),
      `ws://localhost:${portOf(server.address)}/`,
    );
    assert.equal(told, 1006);
  } finally {
    await server.close();
  }
});

test("requests of a page run nothing and tell it nothing", async () => {
  const folder = mkdtempSync(join(tmpdir(), "panpipe-attack-"));
  writeFileSync(join(folder, "index.html"), "a secret");
  const before = calls;
  const servers = [
    await serve(`ws://localhost:0?static=${folder}`, makeService()),
    await serve("tcp://localhost:0", makeService()),
    await serve("tcp://localhost:0?accept=panpipe,ws", makeService()),
    await serve("tcp://localhost:0?framing=lines", () => (calls++, "ran")),
    await serve("tcp://localhost:0?accept=lines,ws", () => (calls++, "ran")),
  ];
  try {
    for (const server of servers) {
      const url = `http://localhost:${portOf(server.address)}/`;
      const told = await page.evaluate(async (url) => {
        const read = async (options) => {
          try {
            const response = await fetch(url, options);
            return [response.type, await response.text()];
          } catch {
            return "nothing";
          }
        };
        const form = document.createElement("form");
        form.method = "post";
        form.enctype = "text/plain";
        form.action = url;
        form.target = "nowhere";
        const input = document.createElement("input");
        input.name = "run";
        input.value = "\nrun\n";
        form.append(input);
        const frame = document.createElement("iframe");
        frame.name = "nowhere";
        document.body.append(form, frame);
        // A frame whose server says nothing that a browser understands may never say that it was loaded.
        const sent = new Promise((resolve) => ((frame.onload = resolve), setTimeout(resolve, 500)));
        form.submit();
        await sent;
        return [
          await read({}),
          await read({ method: "POST", body: "run\nrun\n" }),
          await read({ method: "POST", body: new Blob([new Uint8Array(64)]), mode: "no-cors" }),
          await read({ mode: "no-cors" }),
        ];
      }, url);
      for (const answer of told) assert.ok(answer === "nothing" || (answer[0] === "opaque" && answer[1] === ""), `${server.address}: ${JSON.stringify(told)}`);
    }
    assert.equal(calls, before);
  } finally {
    await Promise.all(servers.map((server) => server.close()));
    rmSync(folder, { recursive: true, force: true });
  }
});

test("a name that was rebound to this machine gets neither the page nor the WebSocket", async () => {
  const folder = mkdtempSync(join(tmpdir(), "panpipe-attack-"));
  writeFileSync(join(folder, "index.html"), "<!doctype html><p>a secret</p>");
  const server = await serve(`ws://localhost:0?static=${folder}`, makeService());
  const port = portOf(server.address);
  const rebound = await browser.open(`http://localhost:${port}/`);
  try {
    const own = await rebound.page.goto(`http://localhost:${port}/`);
    assert.equal(own.status(), 200);
    const other = await rebound.page.goto(`http://evil.example:${port}/`);
    assert.equal(other.status(), 403);
    assert.ok(!(await other.text()).includes("secret"));
    // The page that came under that name is of the same origin as the port is to it: nothing but the server can refuse.
    const told = await rebound.page.evaluate(
      (url) =>
        new Promise((resolve) => {
          const socket = new WebSocket(url, "panpipe");
          socket.onopen = () => resolve("open");
          socket.onclose = ({ code }) => resolve(code);
        }),
      `ws://evil.example:${port}/`,
    );
    assert.equal(told, 1006);
  } finally {
    await rebound.page.close();
    await server.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
