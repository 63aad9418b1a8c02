// Peers and services as a user meets them, over every transport that has connections.

import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import net from "node:net";
import test from "node:test";

import { Lagged, PanpipeError, RemoteError, Service, connect, listen, options, pair, serve, spawn } from "panpipe";
import { path, until } from "./place.mjs";
import { panpipe, run } from "./running.mjs";

const places = { tcp: () => "tcp://localhost:0", unix: () => `unix:${path()}`, mem: () => `mem:${path()}` };
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const idle = (signal) => new Promise((resolve) => signal.addEventListener("abort", resolve));

function example() {
  const seen = { running: 0, stopped: 0, produced: 0, sent: [] };
  const service = new Service("example", "1.2.3")
    .method("upper", (text) => text.toUpperCase(), { params: [{ name: "text", schema: { type: "string" } }], result: { type: "string" }, doc: "Shouts." })
    .method("echo", (...args) => args)
    .method("later", async (ms, value) => (await pause(ms), value))
    .method("countdown", async function* (n) {
      for (; n > 0; n--) yield n;
      return "lift-off";
    })
    .method("endless", async function* () {
      try {
        for (; ; seen.produced++) yield Buffer.alloc(1000);
      } finally {
        seen.stopped++;
      }
    })
    .method("wait", async (context) => {
      seen.running++;
      await idle(context.signal);
      seen.running--;
      seen.stopped++;
    }, { context: true })
    .method("sum", async (context) => {
      let sum = 0;
      for await (const item of context.input) sum += item;
      return sum;
    }, { context: true })
    .method("first", async (context) => (await context.input.next()).value, { context: true })
    .method("double", async function* (context) {
      for await (const item of context.input) yield 2 * item;
    }, { context: true })
    .method("back", (context, method, ...args) => context.peer.call(method, ...args), { context: true })
    .method("left", (context) => context.left, { context: true })
    .method("boom", () => {
      throw Object.assign(new TypeError("no", { cause: new RangeError("deep") }), { data: { why: [1, null] } });
    })
    .method("strange", () => ({ when: [Symbol("x")] }))
    .method("note", (what) => void seen.sent.push(what));
  return { service, seen };
}

for (const [name, place] of Object.entries(places)) {
  const both = async (own) => {
    const { service, seen } = example();
    const server = await serve(place(), service);
    const peer = await connect(server.address, own === undefined ? {} : { service: own });
    return { server, peer, seen, service, close: async () => (await peer.close(), await server.close()) };
  };

  test(`${name}: the issue's example works as written`, async () => {
    const { peer, service, close } = await both();
    const topic = service.topic("weather");
    const { signal } = new AbortController();
    assert.equal(await peer.call("upper", "Hello, server!", { timeout: 1000, signal }), "HELLO, SERVER!");
    const numbers = [];
    for await (const n of peer.stream("countdown", 3)) numbers.push(n);
    assert.deepEqual(numbers, [3, 2, 1]);
    const news = await peer.subscribe("weather");
    await topic.publish("sun");
    for await (const item of news) {
      assert.equal(item, "sun");
      break;
    }
    await until(() => topic.subscribers === 0, "leaving reaches the topic");
    await close();
  });

  test(`${name}: values arrive as they were sent, whatever their size`, async () => {
    const { peer, close } = await both();
    const values = [null, true, -5, 2 ** 53, 2n ** 63n, 1.5, "grüße", [1, [2]], { a: { b: null } }, new Map([[1, "x"]]), new Date(1234), "x".repeat(1_000_000)];
    assert.deepEqual(await peer.call("echo", ...values), values);
    assert.deepEqual(await peer.call("echo"), []);
    const large = Buffer.alloc(3_000_000, "abc");
    const [back] = await peer.call("echo", large);
    assert.ok(large.equals(back));
    assert.deepEqual(await Promise.all([1, 2, 3].map((n) => peer.call("later", 30 - n, n))), [1, 2, 3]);
    await close();
  });

  test(`${name}: a handler calls back, and both ends call at once`, async () => {
    const own = new Service().method("mine", (x) => x + 1);
    const { peer, close } = await both(own);
    const results = await Promise.all(Array.from({ length: 100 }, (_, n) => peer.call("back", "mine", n)));
    assert.deepEqual(results, Array.from({ length: 100 }, (_, n) => n + 1));
    await close();
  });

  test(`${name}: arguments stream, also while the answer does`, async () => {
    const { peer, close } = await both();
    async function* numbers(n) {
      for (let i = 0; i < n; i++) yield i;
    }
    assert.equal(await peer.call("sum", { input: numbers(20_000) }), 199_990_000);
    assert.equal(await peer.call("first", { input: numbers(1_000_000) }), 0);
    const doubled = [];
    for await (const n of peer.stream("double", { input: [1, 2, 3] })) doubled.push(n);
    assert.deepEqual(doubled, [2, 4, 6]);
    async function* broken() {
      yield 1;
      throw new Error("out of numbers");
    }
    await assert.rejects(peer.call("sum", { input: broken() }), { code: "cancelled", message: /out of numbers/ });
    await close();
  });

  test(`${name}: a slow consumer stops its producer and nobody else, and leaving stops it for good`, async () => {
    const { peer, seen, close } = await both();
    const stream = peer.stream("endless");
    await stream.next();
    await pause(50);
    assert.ok(seen.produced < 1000, `${seen.produced} items of 1,000 bytes for one that was taken`);
    const { produced } = seen;
    assert.equal(await peer.call("upper", "quick"), "QUICK");
    await pause(20);
    assert.equal(seen.produced, produced);
    for (let taken = 0; taken < 2000; taken++) await stream.next();
    assert.ok(seen.produced > 1900);
    await stream.return();
    await until(() => seen.stopped === 1, "leaving stops the generator");
    await close();
  });

  test(`${name}: deadlines and cancellation reach the handler`, async () => {
    const { peer, seen, close } = await both();
    const error = await peer.call("wait", { timeout: 30 }).catch((reason) => reason);
    assert.deepEqual([error.code, error.ran], ["deadline-exceeded", "maybe"]);
    await until(() => seen.stopped === 1, "the deadline stops the handler");
    const controller = new AbortController();
    const calling = assert.rejects(peer.call("wait", { signal: controller.signal }), { code: "cancelled", ran: "maybe" });
    await until(() => seen.running === 1, "it runs");
    controller.abort();
    await calling;
    await until(() => seen.stopped === 2, "the signal stops the handler");
    await assert.rejects(peer.call("upper", "x", { signal: controller.signal }), { code: "cancelled", ran: "no" });
    assert.ok((await peer.call("left", { timeout: 500 })) <= 500);
    // Both ends have the same deadline: what the handler's side said of it is not late where it came first.
    const late = error.message.includes("the timeout passed") ? 2 : 1;
    await until(() => peer.lateReplies === late, `${late} late answers are counted`);
    await close();
  });

  test(`${name}: 10,000 calls are cancelled, and then others are answered`, async () => {
    const { peer, seen, close } = await both();
    const controller = new AbortController();
    const calls = Array.from({ length: 10_000 }, () => peer.call("wait", { signal: controller.signal }).catch(({ code }) => code));
    await until(() => seen.running === 1024, "as many run as may");
    controller.abort();
    assert.deepEqual(new Set(await Promise.all(calls)), new Set(["cancelled"]));
    assert.equal(await peer.call("upper", "still"), "STILL");
    await until(() => seen.running === 0, "all have stopped");
    assert.equal(seen.stopped, 1024);
    await close();
  });

  test(`${name}: errors travel whole, and the connection lives`, async () => {
    const { peer, close } = await both();
    await assert.rejects(peer.call("boom"), (error) => {
      assert.ok(error instanceof RemoteError && error instanceof PanpipeError);
      assert.deepEqual([error.code, error.ran, error.type, error.data, error.via], ["remote", "maybe", "TypeError", { why: [1, null] }, []]);
      assert.match(error.message, /^calling boom on .*: remote: TypeError: no$/);
      assert.match(error.traceback, /TypeError: no\n {4}at /);
      assert.deepEqual([error.cause.type, error.cause.remoteMessage], ["RangeError", "deep"]);
      return true;
    });
    await assert.rejects(peer.call("nothing"), { name: "RemoteError", code: "not-found", ran: "no" });
    await assert.rejects(peer.call("upper"), { code: "invalid-arguments", ran: "no", message: /"text" is missing/ });
    await assert.rejects(peer.call("upper", "a", "b"), { code: "invalid-arguments" });
    await assert.rejects(peer.call("upper", { named: { texts: 1 } }), { code: "invalid-arguments", message: /"texts"/ });
    await assert.rejects(peer.call("countdown", 1), { code: "invalid-arguments", message: /stream/ });
    await assert.rejects(peer.call("strange"), { code: "unsupported", message: /reply\.when\[0\]: a symbol/ });
    await assert.rejects(peer.call("echo", 1, { user: [() => {}] }), { code: "unsupported", ran: "no", message: /arguments\[1\]\.user\[0\]: a function/ });
    await assert.rejects(peer.call("a\nb"), { code: "unsupported" });
    await assert.rejects(peer.subscribe("nothing"), { code: "not-found" });
    await assert.rejects(peer.stream("boom").next(), { code: "remote" });
    assert.equal(await peer.call("upper", "alive"), "ALIVE");
    await close();
  });

  test(`${name}: the last argument is options when it can be nothing else`, async () => {
    const { peer, close } = await both();
    assert.deepEqual(await peer.call("echo", { timeout: 1000 }), []);
    assert.deepEqual(await peer.call("echo", { timeout: 1000 }, options()), [{ timeout: 1000 }]);
    assert.deepEqual(await peer.call("echo", { timeout: 1000, colour: "red" }), [{ timeout: 1000, colour: "red" }]);
    assert.deepEqual(await peer.call("echo", {}), [{}]);
    assert.equal(await peer.call("upper", { named: { text: "named" } }), "NAMED");
    assert.deepEqual(await peer.call("echo", 1, { named: { a: 2 } }), [1, { a: 2 }]);
    await close();
  });

  test(`${name}: one-way messages arrive in order, and flush says that they were read`, async () => {
    const { peer, seen, close } = await both();
    for (let n = 0; n < 1000; n++) void peer.send("note", n);
    await peer.flush();
    assert.deepEqual(seen.sent, Array.from({ length: 1000 }, (_, n) => n));
    await close();
  });

  test(`${name}: closing a server finishes what runs and refuses what comes`, async () => {
    const { server, peer } = await both();
    const running = peer.call("later", 100, "done");
    await peer.call("upper", "x");
    const closing = server.close();
    await until(async () => (await peer.call("upper", "x").catch(({ code, ran }) => `${code} ${ran}`)) === "refused no", "new calls are refused");
    assert.equal(await running, "done");
    await closing;
    await until(() => peer.state === "closed", "the end arrives");
    assert.equal(await peer.closed, null);
    await assert.rejects(peer.call("upper", "x"), { code: "connection-lost", ran: "no" });
    await peer.close();
  });

  test(`${name}: closing a server ends a handler that does not end, after the grace`, async () => {
    const { server, peer, seen } = await both();
    const running = assert.rejects(peer.call("wait"), { code: "connection-lost", ran: "maybe" });
    await until(() => seen.running === 1, "it runs");
    await server.close({ grace: 50 });
    await running;
    await until(() => seen.running === 0, "it was told to stop");
    await peer.close();
  });

  test(`${name}: closing this end ends what waits with closed`, async () => {
    const { server, peer, seen } = await both();
    const waiting = assert.rejects(peer.call("wait"), { code: "closed", ran: "maybe" });
    const streaming = assert.rejects(peer.stream("wait").next(), { code: "closed" });
    await until(() => seen.running === 2, "both run");
    await peer.close();
    await Promise.all([waiting, streaming]);
    await until(() => seen.running === 0, "the handlers were told");
    await assert.rejects(peer.call("upper", "x"), { code: "closed", ran: "no" });
    await assert.rejects(peer.send("note", 1), { code: "closed" });
    await assert.rejects(peer.flush(), { code: "closed" });
    await server.close();
  });

  test(`${name}: what a slow subscriber missed is told in its place`, async () => {
    const { peer, service, close } = await both();
    const topic = service.topic("fast");
    for (const policy of ["drop-oldest", "drop-newest"]) {
      const items = await peer.subscribe("fast", { policy });
      for (let n = 0; n < 10_000; n++) await topic.publish({ n, filling: "x".repeat(300) });
      topic.publish({ last: true });
      let next = 0;
      let missed = 0;
      for await (const item of items) {
        if (item.last) break;
        if (item instanceof Lagged) {
          missed += item.count;
          next += item.count;
        } else assert.equal(item.n, next++, policy);
        if (policy === "drop-newest" && next >= 10_000) break;
      }
      assert.ok(missed > 5000, `${missed} missed`);
      assert.ok(next >= 10_000);
    }
    await close();
  });

  test(`${name}: a subscriber that must keep up is ended, and one that blocks makes the publisher wait`, async () => {
    const { peer, service, close } = await both();
    const topic = service.topic("fast");
    const strict = await peer.subscribe("fast", { policy: "disconnect" });
    for (let n = 0; n < 10_000; n++) void topic.publish("x".repeat(300));
    await assert.rejects(async () => {
      for await (const _ of strict);
    }, { code: "lagged" });
    const patient = await peer.subscribe("fast", { policy: "block" });
    let published = 0;
    const publishing = (async () => {
      for (; published < 5000; published++) await topic.publish(`${published} ${"x".repeat(300)}`);
    })();
    await pause(50);
    assert.ok(published < 5000);
    for (let n = 0; n < 5000; n++) assert.match((await patient.next()).value, new RegExp(`^${n} `));
    await publishing;
    await assert.rejects(peer.subscribe("fast", { policy: "hope" }), { code: "invalid-arguments", message: /drop-oldest/ });
    await close();
  });

  test(`${name}: a topic keeps its last value, and others publish to it`, async () => {
    const { peer, service, close } = await both();
    const topic = service.topic("kept", { retain: true });
    await topic.publish("old");
    await topic.publish("new");
    const items = await peer.subscribe("kept");
    assert.equal((await items.next()).value, "new");
    await peer.publish("kept", Buffer.from("from afar"));
    assert.equal(String((await items.next()).value), "from afar");
    await close();
  });
}

test("a long answer lets a short one pass", async () => {
  let begun;
  const beginning = new Promise((resolve) => (begun = resolve));
  const service = new Service().method("long", () => (setImmediate(begun), Buffer.alloc(15_000_000))).method("short", () => 1);
  const server = await serve(`unix:${path()}`, service);
  const peer = await connect(server.address);
  const order = [];
  const long = peer.call("long").then(() => order.push("long"));
  await beginning;
  await peer.call("short").then(() => order.push("short"));
  await long;
  assert.deepEqual(order, ["short", "long"]);
  await peer.close();
  await server.close();
});

test("a service describes itself", async () => {
  const { service } = example();
  service.topic("weather");
  const [a, b] = pair("", [undefined, service]);
  const document = await a.describe();
  assert.deepEqual(document.info, { title: "example", version: "1.2.3" });
  assert.deepEqual(document.methods[0], { name: "upper", description: "Shouts.", params: [{ name: "text", required: true, schema: { type: "string" } }], result: { name: "result", schema: { type: "string" } } });
  assert.deepEqual(document.methods.find(({ name }) => name === "countdown")["x-panpipe"], { stream: true });
  assert.deepEqual(document["x-panpipe-topics"], ["weather"]);
  await a.close();
  await b.close();
});

test("names are declared once, and not the protocol's own", () => {
  const service = new Service().method("a", () => {});
  for (const name of ["a", "panpipe.x", "", "a\u0000", "x".repeat(256)]) assert.throws(() => service.method(name, () => {}), { code: "unsupported" });
  assert.throws(() => (service.topic("t"), service.topic("t")), { code: "unsupported" });
});

test("an error is passed on with the address that it came through, and the deadline with it", async () => {
  const { service, seen } = example();
  const [middle, far] = pair("", [undefined, service]);
  const hub = new Service().method("pass", async (method) => (await pause(1), middle.call(method)));
  const [near, hubEnd] = pair("", [undefined, hub]);
  await assert.rejects(near.call("pass", "boom"), { code: "remote", type: "TypeError", via: [middle.address], remoteMessage: "no" });
  assert.ok((await near.call("pass", "left", { timeout: 300 })) <= 300);
  assert.ok((await middle.call("left")) > 300);
  const controller = new AbortController();
  const cancelled = assert.rejects(near.call("pass", "wait", { signal: controller.signal }), { code: "cancelled" });
  await until(() => seen.running === 1, "the far handler runs");
  controller.abort();
  await cancelled;
  await until(() => seen.stopped === 1, "the far handler is told");
  for (const peer of [near, hubEnd, middle, far]) await peer.close();
});

test("a peer that breaks the protocol is told, and others live", async () => {
  const { service } = example();
  const server = await serve("tcp://localhost:0", service);
  const warned = once(process, "warning");
  const socket = net.connect(Number(server.address.split(":").pop()), "localhost");
  socket.write("nonsense that is no HELLO");
  const answer = Buffer.concat(await socket.toArray());
  assert.match(String(answer), /panpipe.*bad-peer.*does not speak the panpipe protocol/s);
  assert.match((await warned)[0].message, /bad-peer/);
  const peer = await connect(server.address);
  assert.equal(await peer.call("upper", "x"), "X");
  await peer.close();
  await server.close();
});

test("a handler function and a service each need their protocol", async () => {
  await assert.rejects(serve("tcp://localhost:0", () => {}), { code: "unsupported", message: /framing/ });
  await assert.rejects(serve("tcp://localhost:0?framing=lines", new Service()), { code: "unsupported", message: /protocol=panpipe/ });
  await assert.rejects(connect("unix:/nowhere?framing=lines", { service: new Service() }), { code: "unsupported" });
  await assert.rejects(listen("unix:/nowhere/at/all?framing=lines", { service: new Service() }), { code: "unsupported" });
  assert.throws(() => pair("framing=lines", [new Service()]), { code: "unsupported" });
});

const worker = `
  const service = new Service();
  service.method("upper", (text) => { console.log("a stray line"); return text.toUpperCase(); });
  service.method("pid", () => process.pid);
  service.method("die", () => process.kill(process.pid, "SIGKILL"));
  service.method("back", (context, text) => context.peer.call("mine", text), { context: true });
`;
const script = path("worker");
writeFileSync(`${script}.mjs`, `import { Service, serve } from ${panpipe}; ${worker} await (await serve("-", service)).done;`);

test("a child serves over its stdin and stdout, and calls back", async () => {
  const own = new Service().method("mine", (text) => `${text}!`);
  const peer = await spawn([process.execPath, `${script}.mjs`], "stderr=null", { service: own });
  assert.equal(await peer.call("upper", "x"), "X");
  assert.equal(await peer.call("back", "x"), "x!");
  await peer.close();
});

test("a child that is killed ends its calls at once", async () => {
  const peer = await spawn([process.execPath, `${script}.mjs`], "stderr=null");
  await peer.call("upper", "x");
  const began = Date.now();
  const calls = Array.from({ length: 100 }, () => peer.call("die").catch(({ code, ran, message }) => `${code} ${ran} ${/SIGKILL/.test(message)}`));
  assert.deepEqual(new Set(await Promise.all(calls)), new Set(["connection-lost maybe true"]));
  await assert.rejects(peer.call("upper", "x"), { code: "connection-lost", ran: "no", message: /SIGKILL/ });
  assert.ok(Date.now() - began < 900);
  await peer.close();
});

test("a server that is killed with calls in flight leaves none hanging", async () => {
  for (let round = 0; round < 3; round++) {
    const at = path();
    const { child, out } = run(`const { Service } = await import(${panpipe}); ${worker} service.method("never", () => new Promise(() => {})); await serve("unix:${at}", service); console.log("up");`);
    await until(() => out.stdout.includes("up"), "the server listens");
    const peer = await connect(`unix:${at}`);
    const calls = Array.from({ length: 1000 }, (_, n) => peer.call(n % 2 === 0 ? "never" : "pid").then((value) => assert.equal(value, child.pid), ({ code, ran }) => `${code} ${ran}`));
    await peer.call("pid");
    child.kill("SIGKILL");
    const results = await Promise.all(calls);
    assert.ok(results.every((result, n) => (n % 2 === 0 ? result === "connection-lost maybe" : result === undefined)));
    await peer.close();
  }
});

test("a process with an idle peer exits by itself, one that waits lives, and one that serves", async () => {
  const { service } = example();
  const server = await serve("tcp://localhost:0", service);
  const address = JSON.stringify(server.address);
  const done = await run(`const peer = await connect(${address}); console.log(await peer.call("upper", "x")); const items = peer.stream("countdown", 2); console.log((await items.next()).value);`).closed;
  assert.deepEqual([done.code, done.stdout, done.stderr], [0, "X\n2\n", ""]);
  const waited = await run(`const peer = await connect(${address}); console.log(await peer.call("later", 200, "late"));`).closed;
  assert.deepEqual([waited.code, waited.stdout], [0, "late\n"]);
  await server.close();
});

test("a peer that reads nothing is not written to without bound", async () => {
  const sockets = [];
  const file = path();
  const silent = net.createServer((socket) => sockets.push(socket.pause())).listen(file);
  await once(silent, "listening");
  const peer = await connect(`unix:${file}?timeout=200ms`);
  await until(() => sockets.length > 0, "it is accepted");
  let sent = 0;
  const sending = (async () => {
    for (; sent < 1000; sent++) await peer.send("note", Buffer.alloc(100_000));
  })().catch(({ code, ran }) => `${code} ${ran}`);
  await pause(100);
  assert.ok(sent < 50, `${sent} of 100,000 bytes`);
  await peer.close();
  assert.equal(await sending, "closed maybe");
  sockets.forEach((socket) => socket.destroy());
  silent.close();
});


test("on SIGTERM a server finishes what runs, refuses what comes, and ends", async () => {
  for (const own of ["", `process.on("SIGTERM", () => console.log("mine"));`]) {
    const at = path();
    const { child, closed, out } = run(`const { Service } = await import(${panpipe}); ${worker} service.method("later", () => new Promise((resolve) => setTimeout(resolve, 300, "done"))); await serve("unix:${at}", service); ${own} console.log("up");`);
    await until(() => out.stdout.includes("up"), "the server listens");
    const peer = await connect(`unix:${at}`);
    const running = peer.call("later");
    await peer.call("pid");
    child.kill("SIGTERM");
    await until(async () => (await peer.call("pid").catch(({ code, ran }) => `${code} ${ran}`)) === "refused no", "new calls are refused");
    assert.equal(await running, "done");
    const { code, signal, stdout, stderr } = await closed;
    assert.deepEqual([code, signal, stdout, stderr], own === "" ? [143, null, "up\n", ""] : [0, null, "up\nmine\n", ""]);
    await assert.rejects(connect(`unix:${at}`), { code: "not-found" });
    await peer.close();
  }
});

/** Calls and a stream over a link with bad days; what came of each. */
async function converse(options) {
  const { service } = example();
  const server = await serve(`mem:${path("m")}?${options}`, service);
  const peer = await connect(server.address, { timeout: 10_000 });
  const sizes = [1, 10, 1000, 70_000, 300_000];
  const calls = Array.from({ length: 30 }, async (_, n) => {
    const [back] = await peer.call("echo", `${n} ${"x".repeat(sizes[n % sizes.length])}`);
    assert.ok(back.startsWith(`${n} `));
  });
  const streaming = (async () => {
    let next = 2000;
    for await (const n of peer.stream("countdown", 2000)) assert.equal(n, next--);
    assert.equal(next, 0);
  })();
  const results = await Promise.allSettled([...calls, streaming]);
  await peer.close();
  await server.close({ grace: 0 });
  return results.map(({ reason }) => reason?.code ?? reason);
}

test("25 seeds of chaos change no conversation, and those that cut end in replies and connection-lost", async () => {
  let cut = 0;
  for (let seed = 0; seed < 25; seed++) {
    const codes = await converse(`chaos=${seed}`);
    assert.ok(codes.every((code) => code === undefined), `seed ${seed}: ${codes}`);
    const bad = await converse(`chaos=${seed},cut`);
    assert.ok(bad.every((code) => code === undefined || code === "connection-lost"), `seed ${seed},cut: ${bad}`);
    cut += bad.includes("connection-lost") ? 1 : 0;
  }
  assert.ok(cut > 2, `${cut} were cut`);
});

test("every kind of pair speaks the protocol, but for the one-way one", async () => {
  for (const text of ["", "socket", "pipe", "timeout=1s", "pipe?protocol=panpipe"]) {
    const [a, b] = pair(text, [new Service().method("side", () => "a"), new Service().method("side", () => "b")]);
    assert.deepEqual([await a.call("side"), await b.call("side")], ["b", "a"]);
    await a.close();
    await b.close();
  }
  const [reader, writer] = pair("one-way");
  await writer.send("plain");
  assert.equal(String(await reader.recv()), "plain");
  await Promise.all([reader.close(), writer.close()]);
});
