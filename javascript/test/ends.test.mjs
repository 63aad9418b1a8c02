// Ends in every state: of peers, servers, handlers and processes, and what those who wait are told.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import { once } from "node:events";
import test from "node:test";

import { connect, listen, pair, serve } from "panpipe";
import { path, until } from "./place.mjs";

const panpipe = JSON.stringify(import.meta.resolve("panpipe"));
const turn = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** A plain server that reads nothing, and the one socket that it accepted. */
async function deaf(options = "") {
  const file = path();
  const sockets = [];
  const server = net.createServer((socket) => sockets.push(socket.pause().on("error", () => {}))).listen(file);
  await once(server, "listening");
  const peer = await connect(`unix:${file}?protocol=plain&max=64MiB${options}`);
  await until(() => sockets.length > 0, "the connection is accepted");
  return { peer, socket: sockets[0], server };
}

async function joined(options = "") {
  const listener = await listen(`unix:${path()}?protocol=plain&max=64MiB${options}`);
  const ends = await Promise.all([connect(listener.address), listener.accept()]);
  return [...ends, listener];
}

const close = (...all) => Promise.all(all.map((each) => each.close()));

/** Runs a script in a process of its own. */
function run(script, stdio = ["pipe", "pipe", "pipe"]) {
  const child = spawn(process.execPath, ["--input-type=module", "-e", `import { connect, listen, serve } from ${panpipe}; ${script}`], { stdio });
  return { child, closed: once(child, "close") };
}

test("closing a server does not wait for a client that does not read its replies", async () => {
  const file = path();
  const server = await serve(`unix:${file}?timeout=200ms&protocol=plain`, () => Buffer.alloc(100_000));
  const client = net.connect(file).on("error", () => {});
  client.write(Buffer.concat(Array.from({ length: 100 }, () => Buffer.from([0, 0, 0, 1, 65]))));
  await turn(100);
  await server.close();
  client.destroy();
});

test("closing a server waits for a handler no longer than the timeout, also when the handler itself awaits it", async () => {
  const server = await serve(`unix:${path()}?timeout=100ms&protocol=plain`, () => server.close());
  const peer = await connect(server.address);
  await assert.rejects(peer.call("x", { timeout: 5000 }), { code: "connection-lost" });
  await server.done;
  await peer.close();
});

test("a handler may answer any thenable; one that throws is a handler that failed", async () => {
  const server = await serve("mem:thenables?protocol=plain", (message) => ({
    then(answer) {
      if (String(message) === "throw") throw new Error("lazy");
      answer(message);
      answer("twice");
    },
  }));
  const peer = await connect(server.address);
  const messages = Array.from({ length: 10_000 }, (_, index) => `${index}`);
  assert.deepEqual((await Promise.all(messages.map((message) => peer.call(message)))).map(String), messages);
  const [[warning]] = await Promise.all([once(process, "warning"), assert.rejects(peer.call("throw"), { code: "connection-lost" })]);
  assert.equal(warning.name, "PanpipeHandlerError");
  await close(peer, server);
});

test("a connection that was reset before it was accepted is lost, not silent", async () => {
  const listener = await listen("tcp://127.0.0.1:0?protocol=plain");
  const socket = net.connect(Number(/\d+(?=\?)/.exec(listener.address)[0]), "127.0.0.1");
  await once(socket, "connect");
  socket.resetAndDestroy();
  await turn(50);
  const peer = await listener.accept();
  await assert.rejects(peer.recv({ timeout: 5000 }), { code: "connection-lost" });
  await close(peer, listener);
});

test("a large message is its sender's again only when it was written, also when closing", async () => {
  const [peer, other, listener] = await joined();
  const message = Buffer.alloc(3_000_000, 1);
  const sent = peer.send(message).then(() => message.fill(2));
  const closed = peer.close();
  assert.ok((await other.recv()).every((byte) => byte === 1));
  await Promise.all([sent, closed]);
  await close(other, listener);
});

test("a large message that the peer never took is a send that failed", async () => {
  for (const end of [({ socket }) => socket.destroy(), ({ peer }) => peer.close()]) {
    const all = await deaf("&timeout=50ms");
    const sent = assert.rejects(all.peer.send(Buffer.alloc(6_000_000)), { ran: "maybe" });
    await turn(20);
    await end(all);
    await sent;
    all.socket.destroy();
    all.server.close();
  }
});

test("a small message may be changed after call and send, also while they wait for room", async () => {
  const [peer, other, listener] = await joined();
  peer.send(Buffer.alloc(8_000_000));
  const message = Buffer.from("small");
  const call = peer.call(message);
  message.fill(0);
  await other.recv();
  assert.equal(String(await other.recv()), "small");
  await other.send("reply");
  await call;
  await close(peer, other, listener);
});

test("calls of which no byte left have not run when the connection is lost", async () => {
  const { peer, socket, server } = await deaf();
  const begun = assert.rejects(peer.call(Buffer.alloc(600_000)), { code: "connection-lost", ran: "maybe" });
  await turn(20);
  const behind = [peer.call("a"), peer.call("b")].map((call) => assert.rejects(call, { code: "connection-lost", ran: "no" }));
  await turn(20);
  socket.destroy();
  await Promise.all([begun, ...behind]);
  server.close();
});

test("a reply that had arrived is not lost to a later call that cannot be written", async () => {
  const file = path();
  const script = `import socket, sys
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); print("ready", flush=True)
c, _ = s.accept(); c.recv(9); c.sendall(b"reply\\n"); c.close()`;
  const server = spawn("python3", ["-c", script, file], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(server, "close");
  await once(server.stdout, "data");
  const peer = await connect(`unix:${file}?framing=lines`);
  const first = peer.call("1");
  // In this turn nothing is read, and meanwhile the server replies and goes.
  while (fs.existsSync(`/proc/${server.pid}/cmdline`) && fs.readFileSync(`/proc/${server.pid}/cmdline`).length > 0);
  const second = assert.rejects(peer.call("2"), { code: "connection-lost", ran: "no" });
  assert.equal(String(await first), "reply");
  await second;
  await ended;
});

test("many calls that wait for room end at their deadline at once, not in quadratic time", async () => {
  const { peer, socket, server } = await deaf();
  peer.send(Buffer.alloc(6_000_000)).catch(() => {});
  const started = performance.now();
  const calls = await Promise.allSettled(Array.from({ length: 20_000 }, () => peer.call("x", { timeout: 50 })));
  assert.ok(calls.every(({ reason }) => reason.code === "deadline-exceeded" && reason.ran === "no"));
  assert.ok(performance.now() - started < 2500, `${performance.now() - started} ms`);
  socket.destroy();
  await peer.close();
  server.close();
});

test("more than 65,536 calls that wait are busy, and not sent", async () => {
  const [a, b] = pair("protocol=plain");
  const calls = Array.from({ length: 65_536 }, () => a.call("").catch(({ code }) => code));
  await assert.rejects(a.call("x"), { code: "busy", ran: "no" });
  await close(a, b);
  assert.ok((await Promise.all(calls)).every((code) => code === "closed"));
});

test("one signal for many calls brings no warning", async () => {
  const warnings = [];
  const note = (warning) => warnings.push(warning.message);
  process.on("warning", note);
  const [a, b] = pair("protocol=plain");
  const controller = new AbortController();
  const calls = Array.from({ length: 50 }, () => assert.rejects(a.call("x", { signal: controller.signal }), { code: "cancelled" }));
  controller.abort();
  await Promise.all(calls);
  await turn(1);
  process.off("warning", note);
  assert.deepEqual(warnings, []);
  await close(a, b);
});

test("a connection that nobody accepts does not keep the process alive", async () => {
  const file = path();
  const { child, closed } = run(`await listen("unix:${file}?protocol=plain"); setTimeout(() => {}, 300); console.log("up");`);
  await once(child.stdout, "data");
  const socket = net.connect(file).on("error", () => {});
  const late = setTimeout(() => child.kill("SIGKILL"), 10_000);
  assert.deepEqual(await closed, [0, null]);
  clearTimeout(late);
  socket.destroy();
});

test("a process that ends while it begins to listen leaves nothing behind", async () => {
  const folder = path();
  fs.mkdirSync(folder);
  const { closed } = run(`
    const { default: fs } = await import("node:fs");
    listen("unix:${folder}/s?protocol=plain");
    while (fs.readdirSync("${folder}").length === 0) await null;
    process.exit();
  `);
  assert.deepEqual(await closed, [0, null]);
  assert.deepEqual(fs.readdirSync(folder), []);
});

test("stdio: when nobody reads stdout any more, what stdin brings is still received", async () => {
  const { child, closed } = run(`
    const peer = await connect("-?framing=lines&text=true");
    console.error(await peer.recv());
    const call = await peer.call("x", { timeout: 5000 }).catch((error) => error);
    const next = await peer.call("y").catch((error) => error);
    console.error(call.code, next.code, next.ran, await peer.recv());
  `);
  let stderr = "";
  child.stderr.on("data", (data) => (stderr += data));
  child.stdout.destroy();
  await turn(50);
  child.stdin.write("one\n");
  await until(() => stderr.includes("one"), "the first message is received");
  await turn(100);
  child.stdin.end("two\n");
  await closed;
  assert.match(stderr, /^one\nconnection-lost connection-lost no two\n/);
});

test("a timeout that is no number of milliseconds is refused, with which nothing would end", async () => {
  const [one] = pair("?framing=lines");
  for (const timeout of [NaN, -1, "10"]) {
    assert.throws(() => one.call("x", { timeout }), RangeError);
    assert.throws(() => one.recv({ timeout }), RangeError);
    await assert.rejects(connect("mem:nobody", { timeout }), RangeError);
  }
  await assert.rejects(one.recv({ timeout: 0 }), { code: "deadline-exceeded" });
  await one.close();
});

test("sends that nobody awaits are bounded when the peer does not read", async () => {
  const [one] = pair("?framing=length&timeout=100ms");
  const outcomes = [];
  for (let number = 0; number < 70_000; number++) outcomes.push(one.send(Buffer.alloc(1024)).then(() => "sent", (error) => error.code));
  assert.equal(await outcomes.at(-1), "busy");
  await one.close();
  const codes = new Set(await Promise.all(outcomes));
  assert.deepEqual([...codes].sort(), ["busy", "closed", "sent"]);
});

test("a send that waits can be cancelled when its message is on its way too, and the message arrives whole", async () => {
  const [peer, other, listener] = await joined();
  const large = Buffer.alloc(8 << 20, "x");
  const controller = new AbortController();
  const sends = ["on its way", "waiting for room"].map(() => peer.send(large, { signal: controller.signal }));
  setImmediate(() => controller.abort());
  await assert.rejects(sends[0], { code: "cancelled", ran: "maybe" });
  await assert.rejects(sends[1], { code: "cancelled", ran: "no" });
  const after = peer.send("after");
  assert.ok(large.equals(await other.recv()));
  assert.equal(String(await other.recv()), "after");
  await after;
  await close(peer, other, listener);
});

test("sending without a pause to a peer that has gone comes to an end", async () => {
  for (const size of [100, 50_000]) {
    const { peer, socket, server } = await deaf();
    socket.destroy();
    await once(socket, "close");
    const sendMany = async () => {
      for (let count = 0; count < 10_000; count += 1) await peer.send(Buffer.alloc(size));
    };
    await assert.rejects(sendMany(), { code: "connection-lost" });
    await peer.close();
    server.close();
  }
});
