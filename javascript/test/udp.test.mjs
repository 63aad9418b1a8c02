// Datagrams: boundaries, many senders, and what is said when one does not arrive.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import dgram from "node:dgram";
import { once } from "node:events";
import test from "node:test";

import { connect, listen, serve } from "panpipe";
import { until, upper } from "./place.mjs";
import { run, runAlone } from "./running.mjs";

/** A plain socket, as somebody without panpipe has it. */
async function plain(onMessage = () => {}, address = "127.0.0.1") {
  const socket = dgram.createSocket("udp4", onMessage.bind(null));
  socket.bind(0, address);
  await once(socket, "listening");
  return socket;
}

for (const host of ["localhost", "127.0.0.1", "[::1]", ""]) {
  test(`the founding example at udp://${host}:0`, async () => {
    const server = await serve(`udp://${host}:0`, upper);
    assert.match(server.address, /^udp:\/\/.+:[1-9]\d*$/);
    const peer = await connect(server.address);
    assert.equal(peer.remote.transport, "udp");
    assert.equal(String(await peer.call("Hello, server!")), "HELLO, SERVER!");
    await peer.close();
    await server.close();
  });
}

test("localhost is listened on at both of its addresses", async () => {
  const server = await serve("udp://localhost:0?text=true", (message) => message);
  for (const host of ["127.0.0.1", "[::1]"]) {
    const peer = await connect(server.address.replace("localhost", host));
    assert.equal(await peer.call(host), host);
    await peer.close();
  }
  await server.close();
});

test("a plain socket is a peer, as client and as server", async () => {
  const server = await serve("udp://localhost:0", upper);
  const port = Number(/\d+$/.exec(server.address)[0]);
  const client = await plain();
  client.send("plain", port, "127.0.0.1");
  assert.equal(String((await once(client, "message"))[0]), "PLAIN");
  client.close();
  await server.close();

  const echo = await plain(function (message, { port, address }) {
    echo.send(String(message).toUpperCase(), port, address);
  });
  const peer = await connect(`udp://127.0.0.1:${echo.address().port}`);
  assert.equal(String(await peer.call("to plain")), "TO PLAIN");
  await peer.close();
  echo.close();
});

test("python's plain sockets are peers too", async () => {
  const server = await serve("udp://localhost:0", upper);
  const script = `import socket,sys; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(5); s.sendto(b'from python',('127.0.0.1',int(sys.argv[1]))); print(s.recv(100).decode())`;
  const stdout = await new Promise((resolve, reject) =>
    execFile("python3", ["-c", script, /\d+$/.exec(server.address)[0]], (error, out) => (error ? reject(error) : resolve(out))),
  );
  assert.equal(stdout, "FROM PYTHON\n");
  await server.close();
});

test("senders are told apart and each gets its own answers", async () => {
  const listener = await listen("udp://localhost:0?text=true");
  const peers = await Promise.all(Array.from({ length: 20 }, () => connect(listener.address)));
  await Promise.all(peers.map((peer, index) => peer.send(`${index}`)));
  const names = new Set();
  for (let count = 0; count < 20; count++) {
    const connection = await listener.accept();
    names.add(connection.remote.address);
    await connection.send(`${await connection.recv()} answered`);
  }
  assert.equal(names.size, 20);
  assert.deepEqual(await Promise.all(peers.map((peer) => peer.recv())), peers.map((_, index) => `${index} answered`));
  await Promise.all(peers.map((peer) => peer.close()));
  await listener.close();
});

test("an empty datagram is a message and no end", async () => {
  const server = await serve("udp://localhost:0", (message) => message);
  const peer = await connect(server.address);
  assert.equal((await peer.call("")).length, 0);
  assert.equal(String(await peer.call("x")), "x");
  await peer.close();
  await server.close();
});

test("the largest message is 1,200 bytes, and max= makes it up to 65,507", async () => {
  const server = await serve("udp://localhost:0", (message) => message);
  const peer = await connect(server.address);
  assert.equal((await peer.call(Buffer.alloc(1200))).length, 1200);
  await assert.rejects(peer.call(Buffer.alloc(1201)), { code: "too-large", ran: "no" });
  await peer.close();
  await server.close();
  const large = await serve("udp://localhost:0?max=1MiB", (message) => message);
  const other = await connect(large.address);
  const message = Buffer.alloc(65_507, "x");
  assert.ok((await other.call(message)).equals(message));
  await assert.rejects(other.call(Buffer.alloc(65_508)), { code: "too-large" });
  await other.close();
  await large.close();
});

test("a datagram above max is too-large for that message, never cut, and the connection lives on", async () => {
  const echo = await plain(function (message, { port, address }) {
    echo.send(Buffer.alloc(message.length * 2), port, address);
  });
  const peer = await connect(`udp://127.0.0.1:${echo.address().port}`);
  await assert.rejects(peer.call(Buffer.alloc(601)), { code: "too-large", ran: "maybe" });
  assert.equal((await peer.call(Buffer.alloc(600))).length, 1200);
  await peer.send(Buffer.alloc(700));
  await assert.rejects(peer.recv(), { code: "too-large" });
  await peer.close();
  echo.close();

  const warnings = [];
  const heed = (warning) => warnings.push(warning.name);
  process.on("warning", heed);
  const server = await serve("udp://localhost:0?max=10", upper);
  const client = await plain();
  const port = Number(/:(\d+)\?/.exec(server.address)[1]);
  client.send("much too large", port, "127.0.0.1");
  client.send("fits", port, "127.0.0.1");
  assert.equal(String((await once(client, "message"))[0]), "FITS");
  await until(() => warnings.includes("PanpipePeerWarning"), "a warning");
  process.off("warning", heed);
  client.close();
  await server.close();
});

test("a call to a silent server is deadline-exceeded, and its late reply answers nobody", async () => {
  let held;
  const silent = await plain(function (message, from) {
    if (held === undefined) held = { from, message };
    else silent.send(`${message} answered`, from.port, from.address);
    if (String(message) === "second") silent.send("late", held.from.port, held.from.address);
  });
  const peer = await connect(`udp://127.0.0.1:${silent.address().port}?text=true`);
  await assert.rejects(peer.call("first", { timeout: 50 }), { code: "deadline-exceeded", ran: "maybe" });
  assert.equal(await peer.call("second"), "second answered");
  assert.equal(await peer.call("third"), "third answered");
  await assert.rejects(peer.recv({ timeout: 50 }), { code: "deadline-exceeded" });
  await peer.close();
  silent.close();
});

test("one call at a time is on its way, so that a lost datagram shifts no reply", async () => {
  const lossy = await plain(function (message, { port, address }) {
    if (String(message) !== "2") lossy.send(`${message} answered`, port, address);
  });
  const peer = await connect(`udp://127.0.0.1:${lossy.address().port}?text=true&timeout=200ms`);
  const results = await Promise.allSettled(["1", "2", "3"].map((message) => peer.call(message, { timeout: message === "3" ? 5000 : 200 })));
  assert.deepEqual(results.map(({ value, reason }) => value ?? reason.code), ["1 answered", "deadline-exceeded", "3 answered"]);
  // A call that waited for another all its time has certainly not run.
  const [first, second] = await Promise.allSettled([peer.call("2", { timeout: 200 }), peer.call("3", { timeout: 20 })]);
  assert.deepEqual([first.reason.ran, second.reason.ran, second.reason.code], ["maybe", "no", "deadline-exceeded"]);
  await peer.close();
  lossy.close();
});

test("nobody there is refused for the calls that wait, and who comes later is reached", async () => {
  const gone = await plain();
  const { port } = gone.address();
  await new Promise((resolve) => gone.close(resolve));
  const peer = await connect(`udp://127.0.0.1:${port}?text=true`);
  for (let count = 0; count < 3; count++) await assert.rejects(peer.call("x"), { code: "refused", ran: "maybe" });
  const server = await serve(`udp://127.0.0.1:${port}?text=true`, (message) => message.toUpperCase());
  assert.equal(await peer.call("now"), "NOW");
  await server.close();
  await assert.rejects(peer.call("x"), { code: "refused" });
  await peer.close();
});

test("the 1,025th sender pushes out the one that was heard least recently", async () => {
  const listener = await listen("udp://127.0.0.1:0?text=true");
  const port = Number(/:(\d+)\?/.exec(listener.address)[1]);
  const sockets = [];
  const say = async (index) => {
    const socket = (sockets[index] ??= await plain());
    await new Promise((resolve) => socket.send(`${index}`, port, "127.0.0.1", resolve));
    return socket;
  };
  await say(0);
  const first = await listener.accept();
  assert.equal(await first.recv(), "0");
  await say(1);
  const second = await listener.accept();
  assert.equal(await second.recv(), "1");
  await say(0);
  assert.equal(await first.recv(), "0");
  for (let index = 2; index <= 1024; index++) {
    await say(index);
    assert.equal(await (await listener.accept()).recv(), `${index}`);
  }
  await assert.rejects(second.recv(), { code: "connection-lost", message: /1024 senders/ });
  await assert.rejects(first.recv({ timeout: 10 }), { code: "deadline-exceeded" });
  await listener.close();
  sockets.forEach((socket) => socket.close());
});

test("a flood that nobody reads is bounded, and said", async () => {
  const { code, stdout, stderr } = await run(`
    import dgram from "node:dgram";
    const listener = await listen("udp://127.0.0.1:0");
    const port = Number(/\\d+$/.exec(listener.address)[0]);
    const socket = dgram.createSocket("udp4");
    const message = Buffer.alloc(1200);
    const flood = async (count) => {
      for (let sent = 0; sent < count; sent++) {
        await new Promise((resolve) => socket.send(message, port, "127.0.0.1", resolve));
        if (sent % 20 === 0) await new Promise(setImmediate);
      }
    };
    process.on("warning", ({ name }) => console.log(name));
    await flood(1000);
    const peer = await listener.accept();
    const before = process.memoryUsage();
    await flood(50_000);
    const after = process.memoryUsage();
    console.log(after.external + after.arrayBuffers - before.external - before.arrayBuffers < 20 * 2 ** 20);
    let count = 0;
    while (await peer.recv({ timeout: 50 }).catch(() => null)) count++;
    console.log(count > 100 && count < 1000);
    await peer.close();
    await listener.close();
    socket.close();
  `).closed;
  assert.equal(stdout, "PanpipeDroppedWarning\ntrue\ntrue\n", stderr);
  assert.equal(code, 0);
});

test("senders that nobody accepts are bounded too", async () => {
  const listener = await listen("udp://127.0.0.1:0?text=true");
  const port = Number(/:(\d+)\?/.exec(listener.address)[1]);
  const sockets = [];
  for (let index = 0; index < 1100; index++) {
    const socket = await plain();
    sockets.push(socket);
    await new Promise((resolve) => socket.send(`${index}`, port, "127.0.0.1", resolve));
    if (index % 10 === 0) await new Promise(setImmediate);
  }
  await new Promise((resolve) => setTimeout(resolve, 50));
  const seen = [];
  const accepting = (async () => {
    for await (const peer of listener) seen.push(await peer.recv());
  })();
  await until(() => seen.includes("1099"), "the last one");
  assert.ok(seen.length <= 1024, `${seen.length}`);
  await listener.close();
  await accepting;
  sockets.forEach((socket) => socket.close());
});

test("multicast: all members of a group hear it, and each may answer", async () => {
  const first = await serve("udp://127.0.0.1:0?group=239.1.2.3&text=true", (message) => `${message} first`);
  const second = await serve(first.address, (message) => `${message} second`);
  const peer = await connect(first.address);
  assert.match(await peer.call("call"), /^call (first|second)$/);
  await peer.send("all");
  const answers = [await peer.recv(), await peer.recv()].sort();
  assert.deepEqual(answers, ["all first", "all second"]);
  await peer.close();
  await second.close();
  await first.close();
});

test("broadcast: needs its option, and reaches who listens at the network's address", async () => {
  const server = await serve("udp://127.255.255.255:0?broadcast=true", upper);
  const peer = await connect(server.address);
  assert.equal(String(await peer.call("all")), "ALL");
  await peer.close();
  await assert.rejects(connect(server.address.replace("?broadcast=true", "")), { code: "permission" });
  await server.close();
});

test("a process with an idle datagram connection and listener ends, one that serves lives, and none has another thread", async () => {
  const { code, stdout, stderr } = await runAlone(`
    const threads = () => fs.readdirSync("/proc/self/task").length;
    const before = threads();
    const server = await serve("udp://localhost:0", (message) => message);
    const peer = await connect(server.address);
    for (let count = 0; count < 100; count++) await peer.call("x");
    await server.close();
    const listener = await listen("udp://localhost:0");
    const other = await connect(listener.address);
    other.send("a last word");
    console.log(threads() - before);
  `);
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "0\n", stderr: "" });
});

test("a datagram that cannot be sent to one sender does not end the others", async () => {
  const server = await serve("udp://127.0.0.1:0?text=true", (message) => message);
  const port = Number(/:(\d+)\?/.exec(server.address)[1]);
  const leaving = await plain();
  await new Promise((resolve) => leaving.send("x", port, "127.0.0.1", resolve));
  leaving.close();
  const peer = await connect(server.address);
  assert.equal(await peer.call("still"), "still");
  await peer.close();
  await server.close();
});
