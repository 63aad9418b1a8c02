/** The module for browsers, in Chromium: one more peer of everything else. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";

import { WebSocketServer } from "ws";

import { Service, serve } from "panpipe";

import { portOf, startBrowser } from "./chromium.mjs";

const module = new URL("../dist/panpipe.js", import.meta.url).pathname;

/** A service with some of everything. */
function makeService() {
  const service = new Service();
  const seen = { cancelled: 0, calls: 0 };
  service.method("upper", (text) => (seen.calls++, text.toUpperCase()));
  service.method("echo", (value) => value);
  service.method("fail", () => {
    throw Object.assign(new TypeError("no good"), { data: { why: "because" } });
  });
  service.method("slow", async (context) => {
    await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
    seen.cancelled++;
  }, { context: true });
  service.method("countdown", async function* (from) {
    for (let n = from; n > 0; n--) yield n;
  });
  service.method("sum", async (context) => {
    let sum = 0;
    for await (const item of context.input) sum += item;
    return sum;
  }, { context: true });
  service.method("ask", (context) => context.peer.call("name"), { context: true });
  return { service, seen };
}

let browser;
let folder;
let served;
let server;
let topic;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "panpipe-page-"));
  copyFileSync(module, join(folder, "panpipe.js"));
  writeFileSync(join(folder, "index.html"), "<!doctype html><title>panpipe</title><p>here</p>");
  served = makeService();
  topic = served.service.topic("news");
  server = await serve(`ws://localhost:0?static=${folder}`, served.service);
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await server?.close();
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
});

/** Runs `body` in a fresh page of the server, with the module as `panpipe`, and answers what it returns. */
async function inPage(body, argument) {
  const { page, lines } = await browser.open(`http://localhost:${portOf(server.address)}/`);
  try {
    return await page.evaluate(
      async ([text, given]) => {
        const panpipe = await import("/panpipe.js");
        return new Function("panpipe", "given", `return (${text})(panpipe, given)`)(panpipe, given);
      },
      [String(body), argument],
    );
  } catch (error) {
    throw new Error(`${error.message}\n${lines.join("\n")}`);
  } finally {
    await page.close();
  }
}

test("the module has no more bytes than it is said to have", () => {
  const size = gzipSync(readFileSync(module), { level: 9 }).length;
  assert.ok(size <= 32 * 1024, `${size} bytes, compressed`);
});

test("a page calls, and gets every value as it was", async () => {
  const answers = await inPage(async ({ connect }) => {
    const peer = await connect();
    const values = [null, true, 1, -1.5, 2n ** 60n, "ä €", [1, [2]], { a: { b: 1 } }, new Date(1234), new Uint8Array([0, 255])];
    const answers = [await peer.call("upper", "Hello, server!")];
    for (const value of values) {
      const back = await peer.call("echo", value);
      answers.push(back instanceof Date ? +back === +value : back instanceof Uint8Array ? String(back) === String(value) : typeof back === "bigint" ? back === value : JSON.stringify(back) === JSON.stringify(value));
    }
    await peer.close();
    return answers;
  });
  assert.deepEqual(answers, ["HELLO, SERVER!", ...Array(10).fill(true)]);
});

test("many calls are in flight, and large messages arrive whole", async () => {
  const [calls, size] = await inPage(async ({ connect }) => {
    const peer = await connect("/");
    const replies = await Promise.all(Array.from({ length: 1000 }, (_, n) => peer.call("upper", `n${n}`)));
    const large = new Uint8Array(10 << 20).fill(7);
    const back = await peer.call("echo", large);
    await peer.close();
    return [replies.every((reply, n) => reply === `N${n}`), back.length === large.length && back.every((byte) => byte === 7)];
  });
  assert.deepEqual([calls, size], [true, true]);
});

test("streams go both ways", async () => {
  const [items, sum] = await inPage(async ({ connect }) => {
    const peer = await connect("/");
    const items = [];
    for await (const item of peer.stream("countdown", 3)) items.push(item);
    async function* numbers() {
      for (let n = 1; n <= 100; n++) yield n;
    }
    const sum = await peer.call("sum", { input: numbers() });
    await peer.close();
    return [items, sum];
  });
  assert.deepEqual([items, sum], [[3, 2, 1], 5050]);
});

test("a page subscribes, and the end of its subscription is told", async () => {
  const published = (async () => {
    for (let n = 0; topic.subscribers === 0; n++) {
      assert.ok(n < 1000, "nobody subscribes");
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    for (let n = 0; n < 3; n++) await topic.publish(n);
  })();
  const items = await inPage(async ({ connect }) => {
    const peer = await connect("/");
    const items = [];
    for await (const item of await peer.subscribe("news")) {
      items.push(item);
      if (items.length === 3) break;
    }
    await peer.close();
    return items;
  });
  await published;
  assert.deepEqual(items, [0, 1, 2]);
});

test("an error has its fields, and giving up reaches the handler", async () => {
  const { cancelled } = served.seen;
  const told = await inPage(async ({ connect, PanpipeError, RemoteError }) => {
    const peer = await connect("/");
    const error = await peer.call("fail").catch((error) => error);
    const missing = await peer.call("nothing").catch((error) => error);
    const control = new AbortController();
    const given = peer.call("slow", { signal: control.signal }).catch((error) => error);
    await peer.call("upper", "before");
    control.abort();
    const cancelled = await given;
    const late = await peer.call("slow", { timeout: 50 }).catch((error) => error);
    await peer.flush();
    await peer.call("upper", "after");
    await peer.close();
    return [error instanceof RemoteError && error instanceof PanpipeError, error.code, error.message.includes("no good"), missing.code, cancelled.code, late.code];
  });
  assert.deepEqual(told, [true, "remote", true, "not-found", "cancelled", "deadline-exceeded"]);
  assert.equal(served.seen.cancelled, cancelled + 2);
});

test("a page has a service, which the server calls", async () => {
  const name = await inPage(async ({ connect, Service }) => {
    const service = new Service();
    service.method("name", () => "page");
    const peer = await connect("/", { service });
    const name = await peer.call("ask");
    await peer.close();
    return name;
  });
  assert.equal(name, "page");
});

test("what cannot be connected to is told apart as far as a browser tells", async () => {
  const codes = await inPage(async ({ connect }) => {
    const code = (address, options) => connect(address, options).then(() => "connected", (error) => error.code);
    return [
      await code("tcp://localhost:1"),
      await code("ws://localhost:1?framing=lines"),
      await code("ws:"),
      await code("/nowhere"),
      await code("/", { token: "short" }),
      await code("/", { signal: AbortSignal.abort() }),
    ];
  });
  assert.deepEqual(codes, ["unsupported", "unsupported", "invalid-address", "refused", "invalid-address", "cancelled"]);
});

test("a page with the token is let in, and no other", async () => {
  const file = join(folder, "..", `panpipe-token-${process.pid}`);
  const guarded = await serve(`ws://localhost:0?static=${folder}&token=new:${file}`, makeService().service);
  try {
    const { page } = await browser.open(`http://localhost:${portOf(guarded.address)}/`);
    const token = readFileSync(file, "utf8").trim();
    const told = await page.evaluate(async (token) => {
      const { connect } = await import("/panpipe.js");
      const code = (options) => connect("/", options).then((peer) => peer.call("upper", "in"), (error) => error.code);
      return [await code({ token }), await code({}), await code({ token: "x".repeat(24) })];
    }, token);
    assert.deepEqual(told, ["IN", "refused", "refused"]);
    await page.close();
  } finally {
    await guarded.close();
    rmSync(file, { force: true });
  }
});

test("plain messages are text or bytes, and keep their boundaries", async () => {
  const plain = await serve(`ws://localhost:0?protocol=plain&static=${folder}`, (message) => Buffer.from(message).reverse());
  const text = await serve("ws://localhost:0?protocol=plain&text=true&origin=http://localhost:" + portOf(plain.address), (message) => message.toUpperCase());
  try {
    const { page } = await browser.open(`http://localhost:${portOf(plain.address)}/`);
    const told = await page.evaluate(async (other) => {
      const { connect } = await import("/panpipe.js");
      const bytes = await connect("/?protocol=plain");
      const replies = await Promise.all(["abc", "", "x".repeat(100_000)].map((message) => bytes.call(message)));
      await bytes.close();
      const strings = await connect(other);
      const reply = await strings.call("grüße");
      await strings.close();
      return [replies.map((reply) => reply.length), new TextDecoder().decode(replies[0]), reply];
    }, `ws://localhost:${portOf(text.address)}?protocol=plain&text=true`);
    assert.deepEqual(told, [[3, 0, 100_000], "cba", "GRÜSSE"]);
    await page.close();
  } finally {
    await plain.close();
    await text.close();
  }
});

test("a page that lost its server finds it again", async () => {
  const first = await serve(`ws://localhost:0?static=${folder}`, makeService().service);
  const port = portOf(first.address);
  const { page } = await browser.open(`http://localhost:${port}/`);
  try {
    await page.evaluate(async () => {
      const { connect } = await import("/panpipe.js");
      globalThis.states = [];
      globalThis.peer = await connect("/?reconnect=true");
      globalThis.peer.onState = (state) => globalThis.states.push(state);
      return globalThis.peer.call("upper", "once");
    });
    await first.close();
    await page.waitForFunction(() => globalThis.states.includes("reconnecting"));
    const waiting = page.evaluate(() => globalThis.peer.call("upper", "again", { timeout: 20_000 }));
    const second = await serve(`ws://localhost:${port}?static=${folder}`, makeService().service);
    assert.equal(await waiting, "AGAIN");
    assert.deepEqual(await page.evaluate(() => globalThis.states), ["reconnecting", "connected"]);
    await second.close();
  } finally {
    await page.close();
  }
});

test("a page tells apart how a server closes", async () => {
  const bare = new WebSocketServer({ host: "127.0.0.1", port: 0 });
  await once(bare, "listening");
  bare.on("connection", (socket) => {
    socket.on("error", () => {});
    socket.on("message", (data) => (String(data) === "cut" ? socket.terminate() : socket.close(Number(data), "because")));
  });
  try {
    const ends = await inPage(async ({ connect }, port) => {
      const ends = [];
      for (const how of ["1000", "1001", "1011", "4001", "cut"]) {
        const connection = await connect(`ws://127.0.0.1:${port}?protocol=plain`);
        await connection.send(how);
        ends.push(await connection.recv().then((message) => String(message), (error) => `${error.code}: ${error.message}`));
        await connection.close();
      }
      return ends;
    }, bare.address().port);
    assert.deepEqual(ends.slice(0, 2), ["null", "null"]);
    assert.match(ends[2], /^connection-lost: .*1011.*because/);
    assert.match(ends[3], /^connection-lost: .*4001.*because/);
    assert.match(ends[4], /^connection-lost: .*without a Close/);
  } finally {
    bare.close();
  }
});

test("closing waits for no server that does not read", async () => {
  const bare = new WebSocketServer({ host: "127.0.0.1", port: 0 });
  await once(bare, "listening");
  bare.on("connection", (socket) => socket.pause());
  try {
    const took = await inPage(async ({ connect }, port) => {
      const connection = await connect(`ws://127.0.0.1:${port}?protocol=plain&timeout=30s`);
      await connection.send("unread");
      const begun = performance.now();
      await connection.close();
      return performance.now() - begun;
    }, bare.address().port);
    assert.ok(took < 10_000, `${took} ms`);
  } finally {
    bare.clients.forEach((socket) => socket.terminate());
    bare.close();
  }
});

test("what a page cannot take ends its connection, and says why", async () => {
  const bare = new WebSocketServer({ host: "127.0.0.1", port: 0 });
  await once(bare, "listening");
  bare.on("connection", (socket, { headers }) => {
    socket.on("error", () => {});
    // Text where frames are binary; and to a plain peer more than it takes, though it was never asked for.
    if (headers["sec-websocket-protocol"] === "panpipe") {
      socket.send(Buffer.from("000000090100000000000000000000007061" + "6e706970650180", "hex"));
      socket.send("\0\0\0\0\n" + "\0".repeat(11)); // a PING, if it were binary
    }
    else for (let n = 0; n < 40_000; n++) socket.send(Buffer.alloc(1000));
  });
  try {
    const [text, much, received] = await inPage(async ({ connect }, port) => {
      const peer = await connect(`ws://127.0.0.1:${port}`);
      const text = (await peer.closed).code;
      const connection = await connect(`ws://127.0.0.1:${port}?protocol=plain&max=1KiB`);
      // It has come before anybody wants it.
      await new Promise((resolve) => setTimeout(resolve, 3000));
      for (let received = 0; ; received++) {
        const message = await connection.recv().catch((error) => error);
        if (message === null || message instanceof Error) return [text, message?.code, received];
      }
    }, bare.address().port);
    assert.equal(text, "bad-peer");
    assert.equal(much, "busy");
    assert.ok(received < 40_000, `${received} were kept`);
  } finally {
    bare.close();
  }
});
