// What panpipe itself does with the addon.

import assert from "node:assert/strict";
import test from "node:test";

import { connect, listen, serve } from "panpipe";
import { path, python } from "./native.mjs";

const upper = (message) => message.toUpperCase();
const [uid, gid] = [process.getuid(), process.getgid()];
const places = { unix: () => `unix:${path()}?protocol=plain`, abstract: () => `unix:@panpipe-native-${process.pid}-*?protocol=plain`, packets: () => `unix-seqpacket:${path()}?protocol=plain` };

test("both ends of a Unix socket know the other's process", async (t) => {
  for (const place of Object.values(places)) {
    const listener = await listen(place());
    const [peer, accepted] = [await connect(listener.address), await listener.accept()];
    for (const { remote } of [peer, accepted]) assert.deepEqual([remote.uid, remote.gid, remote.pid], [uid, gid, process.pid]);
    await Promise.all([peer.close(), accepted.close(), listener.close()]);
  }
  const at = path();
  const listener = await listen(`unix:${at}?protocol=plain`);
  const child = python(t, `import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.recv(1)`, at);
  assert.equal((await listener.accept()).remote.pid, child.pid);
  await listener.close();
});

test("allow= lets in whom it names, and closes others at once", async () => {
  for (const place of Object.values(places)) {
    for (const allow of [`uid:${uid}`, `gid:${gid}`, `uid:${uid + 1},gid:${gid}`]) {
      const server = await serve(`${place()}&text=true&allow=${allow}`, upper);
      const peer = await connect(server.address);
      assert.equal(await peer.call("hello"), "HELLO", allow);
      await peer.close();
      await server.close();
    }
    const server = await serve(`${place()}&text=true&allow=uid:${uid + 1},gid:${gid + 1}`, upper);
    const peer = await connect(server.address);
    assert.equal(await peer.recv().catch(({ code }) => code === "connection-lost" ? null : code), null);
    await peer.close();
    await server.close();
  }
});

test("datagrams of a real socket are answered to each sender, empty ones too", async () => {
  const server = await serve(`unix-dgram:${path()}?text=true`, upper);
  const peers = await Promise.all([connect(server.address), connect(server.address)]);
  for (const [index, peer] of peers.entries()) {
    assert.equal(await peer.call(`from ${index}`), `FROM ${index}`);
    assert.equal(await peer.call(""), "");
    const long = "x".repeat(150_000);
    assert.equal(await peer.call(long), long.toUpperCase());
    await assert.rejects(peer.send("x".repeat(1_000_000)), { code: "too-large" });
  }
  const many = await Promise.all(Array.from({ length: 500 }, (_, number) => peers[0].call(`message ${number}`)));
  assert.deepEqual(many, Array.from({ length: 500 }, (_, number) => `MESSAGE ${number}`));
  await Promise.all(peers.map((peer) => peer.close()));
  await server.close();
  await assert.rejects(connect(server.address), { code: /^(refused|not-found)$/ });
});

test("a plain program's datagrams are messages, and so are its answers", async (t) => {
  const [at, theirs] = [path(), path()];
  const listener = await listen(`unix-dgram:${at}?text=true`);
  const child = python(
    t,
    `
import socket, sys
ours = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
ours.bind(sys.argv[2])
ours.sendto(b"hello", sys.argv[1])
print(ours.recv(100).decode(), flush=True)
`,
    at,
    theirs,
  );
  const sender = await listener.accept();
  assert.equal(await sender.recv(), "hello");
  await sender.send("and hello");
  assert.equal(await child.line(), "and hello");
  await sender.close();
  await listener.close();
});

test("clients of a FIFO with replies take turns", async () => {
  const server = await serve(`fifo:${path()}?reply=${path()}&text=true`, upper);
  const one = await connect(server.address);
  await assert.rejects(connect(server.address, { timeout: 50 }), { code: "deadline-exceeded", message: /another client did not leave/ });
  const waiting = connect(server.address);
  assert.equal(await one.call("one"), "ONE");
  await one.close();
  const two = await waiting;
  assert.equal(await two.call("two"), "TWO");
  await two.close();
  const clients = Array.from({ length: 20 }, async (_, number) => {
    const peer = await connect(server.address);
    const reply = await peer.call(`client ${number}`);
    await peer.close();
    return reply;
  });
  assert.deepEqual(await Promise.all(clients), Array.from({ length: 20 }, (_, number) => `CLIENT ${number}`));
  await server.close();
});
test("no reply over unix-dgram answers another call than its own", async () => {
  const server = await serve(`unix-dgram:@panpipe-calls-${process.pid}?text=true`, (message) => (message === "silent" ? null : message.toUpperCase()));
  const peer = await connect(server.address);
  assert.equal(await peer.call("first"), "FIRST");
  const silent = peer.call("silent", { timeout: 100 });
  const after = peer.call("after");
  await assert.rejects(silent, { code: "deadline-exceeded", ran: "maybe" });
  await assert.rejects(after, { code: "connection-lost", ran: "no" });
  await assert.rejects(peer.call("again"), { code: "connection-lost" });
  await peer.close();
  const anew = await connect(server.address);
  assert.equal(await anew.call("anew"), "ANEW");
  await anew.close();
  await server.close();
});
