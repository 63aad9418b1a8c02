/** What a page of another origin can do to a listener on this machine, from a real browser: to one in Rust, in Python and in Node. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";

import { connect } from "panpipe";

import { portOf, servePage, startBrowser } from "./chromium.mjs";
import { panpipe } from "./running.mjs";

const root = new URL("../../", import.meta.url).pathname;

const python = `
import sys, panpipe
address, log = sys.argv[1:]

def run(given: bytes) -> str:
    with open(log, "a") as file:
        file.write("ran\\n")
    return "ran"

service = panpipe.Service()
service.method(run)
listener = panpipe.listen(address)
print("listening on", listener.address, file=sys.stderr, flush=True)
panpipe.serve(listener, run if "lines" in address else service)
`;

const node = `
import { appendFileSync } from "node:fs";
import { Service, serve } from ${panpipe};
const [address, log] = process.argv.slice(1);
const run = () => (appendFileSync(log, "ran\\n"), "ran");
const server = await serve(address, address.includes("lines") ? run : new Service().method("run", run));
console.error("listening on " + server.address);
`;

/** Servers that note in a file whenever anything runs: the method `run`, or the handler of plain messages. */
const languages = {
  rust: (address, log) => [`${root}target/release/panpipe`, "serve", address, "--", "sh", "-c", 'cat && echo ran >> "$0"', log],
  python: (address, log) => [`${root}.venv/bin/python`, "-c", python, address, log],
  node: (address, log) => [process.execPath, "--input-type=module", "-e", node, address, log],
};

let browser;
let page;
let evil;
let folder;
const children = [];

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "panpipe-attack-"));
  writeFileSync(join(folder, "index.html"), "<!doctype html><p>a secret</p>");
  evil = await servePage("<!doctype html><title>evil</title><p>hello</p>");
  // Every name leads to this machine, as an attacker's name server would have it.
  browser = await startBrowser(["--host-resolver-rules=MAP evil.example 127.0.0.1"]);
  ({ page } = await browser.open(`http://127.0.0.1:${evil.port}/`));
});

after(async () => {
  await browser?.close();
  evil?.close();
  for (const child of children) child.kill("SIGKILL");
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
});

/** Starts a server in one of the languages; `ran` tells what it has noted. */
async function start(language, address) {
  const log = join(folder, `.ran-${children.length}`);
  const [program, ...args] = languages[language](address, log);
  const child = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"] });
  children.push(child);
  const lines = createInterface({ input: child.stderr });
  const said = [];
  lines.on("line", (line) => said.push(line));
  while (!said.at(-1)?.startsWith("listening on ")) {
    const more = await Promise.race([once(lines, "line"), once(lines, "close").then(() => null)]);
    if (more === null) throw new Error(`${program} has ended: ${said.join("\n")}`);
  }
  const real = said.at(-1).slice("listening on ".length);
  return { address: real, port: portOf(real), ran: () => (existsSync(log) ? readFileSync(log, "utf8") : "") };
}

/** How a WebSocket fares that a page opens: `open`, or the code of its end. */
function dial(page, url) {
  return page.evaluate(
    (url) =>
      new Promise((resolve) => {
        const socket = new WebSocket(url, "panpipe");
        socket.onopen = () => (socket.close(), resolve("open"));
        socket.onclose = ({ code }) => resolve(code);
      }),
    url,
  );
}

/** What a page does, and what must come of it; `serves` starts a server. */
const attacks = {
  async "a page of another origin is not let in, unless it is listed"(serves) {
    const closed = await serves("ws://localhost:0");
    const other = await serves("ws://localhost:0?origin=https://app.example");
    const listed = await serves(`ws://localhost:0?origin=http://127.0.0.1:${evil.port}`);
    for (const host of ["localhost", "127.0.0.1", "[::1]"]) assert.equal(await dial(page, `ws://${host}:${closed.port}/`), 1006, host);
    assert.equal(await dial(page, `ws://localhost:${other.port}/`), 1006);
    assert.equal(await dial(page, `ws://localhost:${listed.port}/`), "open");
  },

  async "a frame without an origin is not let in"(serves) {
    const { port } = await serves(`ws://localhost:0?origin=http://127.0.0.1:${evil.port}`);
    const told = await page.evaluate(
      (url) =>
        new Promise((resolve) => {
          const frame = document.createElement("iframe");
          frame.sandbox = "allow-scripts";
          addEventListener("message", ({ data }) => resolve(data), { once: true });
          frame.srcdoc = `<script>const socket = new WebSocket(${JSON.stringify(url)}, "panpipe"); socket.onopen = () => parent.postMessage("open", "*"); socket.onclose = ({ code }) => parent.postMessage(code, "*");</script>`;
          document.body.append(frame);
        }),
      `ws://localhost:${port}/`,
    );
    assert.equal(told, 1006);
  },

  async "requests of a page run nothing and tell it nothing"(serves) {
    const addresses = [
      `ws://localhost:0?static=${folder}`,
      "tcp://localhost:0",
      "tcp://localhost:0?accept=panpipe,ws",
      "tcp://localhost:0?framing=lines",
      "tcp://localhost:0?accept=lines,ws",
    ];
    for (const address of addresses) {
      const { port } = await serves(address);
      const url = `http://localhost:${port}/`;
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
        form.remove();
        frame.remove();
        return [
          await read({}),
          await read({ method: "POST", body: "run\nrun\n" }),
          await read({ method: "POST", body: new Blob([new Uint8Array(64)]), mode: "no-cors" }),
          await read({ mode: "no-cors" }),
        ];
      }, url);
      for (const answer of told) assert.ok(answer === "nothing" || (answer[0] === "opaque" && answer[1] === ""), `${address}: ${JSON.stringify(told)}`);
    }
  },

  async "a name that was rebound to this machine gets neither the page nor the WebSocket"(serves) {
    const { port } = await serves(`ws://localhost:0?static=${folder}`);
    const rebound = await browser.open(`http://localhost:${port}/`);
    try {
      const own = await rebound.page.goto(`http://localhost:${port}/`);
      assert.equal(own.status(), 200);
      const other = await rebound.page.goto(`http://evil.example:${port}/`);
      assert.equal(other.status(), 403);
      assert.ok(!(await other.text()).includes("secret"));
      // The page that came under that name is of the same origin as the port is to it: nothing but the server can refuse.
      assert.equal(await dial(rebound.page, `ws://evil.example:${port}/`), 1006);
    } finally {
      await rebound.page.close();
    }
  },
};

/** Calls as whoever is let in does. */
async function call(address) {
  const target = address.split("?")[0];
  const isPlain = address.includes("lines");
  const peer = await connect(isPlain ? `${target}?framing=lines` : target);
  await (isPlain ? peer.call("a message") : peer.call("run", new Uint8Array(1)));
  await peer.close();
}

for (const language of Object.keys(languages)) {
  for (const [name, attack] of Object.entries(attacks)) {
    test(`${language}: ${name}`, async () => {
      const servers = [];
      await attack(async (address) => {
        servers.push(await start(language, address));
        return servers.at(-1);
      });
      for (const { address, ran } of servers) {
        assert.equal(ran(), "", address);
        await call(address);
        assert.equal(ran(), "ran\n", `what runs at ${address} is noted`);
      }
    });
  }
}
