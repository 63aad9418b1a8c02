// npm ws as the other end: what a program without panpipe makes of our WebSocket, and ours of its.

import assert from "node:assert/strict";
import { once } from "node:events";
import test from "node:test";

import { WebSocket, WebSocketServer } from "ws";

import { Service, connect, listen, serve } from "panpipe";
import { until } from "./place.mjs";

const bare = (address) => address.replace(/\?.*/, "");
const upper = (text) => String(text).toUpperCase();

/** The next message of a client of ws, as a string or a Buffer. */
const next = async (socket) => {
  const [data, isBinary] = await once(socket, "message");
  return isBinary ? data : String(data);
};

async function opened(address, protocols, options) {
  const socket = new WebSocket(address, protocols, options);
  await once(socket, "open");
  return socket;
}

async function bareServer(onSocket, options = {}) {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", ...options });
  server.on("connection", onSocket);
  await once(server, "listening");
  return { address: `ws://127.0.0.1:${server.address().port}`, close: () => (server.close(), server.clients.forEach((socket) => socket.terminate())) };
}

test("a client of ws: bytes, text, what it offers to compress, pings and a clean end", async () => {
  for (const [options, sent, back] of [["", "hi", Buffer.from("HI")], ["&text=true", "hi ä", "HI Ä"], ["&text=true", Buffer.from("hi"), "HI"]]) {
    const server = await serve(`ws://127.0.0.1:0/chat?protocol=plain${options}`, upper);
    const socket = await opened(bare(server.address), [], { perMessageDeflate: true });
    assert.equal(socket.extensions, "");
    socket.send(sent);
    assert.deepEqual(await next(socket), back);
    socket.ping("are you there");
    assert.equal(String((await once(socket, "pong"))[0]), "are you there");
    for (const part of ["in ", "three ", "parts"]) socket.send(part, { binary: false, fin: part === "parts" });
    assert.equal(String(await next(socket)), "IN THREE PARTS");
    socket.close(1000);
    const [code] = await once(socket, "close");
    assert.equal(code, 1000);
    await server.close();
  }
});

test("a client of ws: 10 MiB both ways, and a thousand messages in their order", async () => {
  const server = await serve("ws://127.0.0.1:0?protocol=plain", (message) => message);
  const socket = await opened(bare(server.address));
  const large = Buffer.alloc(10 * 1024 * 1024, "0123456789abcdef");
  socket.send(large);
  assert.ok((await next(socket)).equals(large));
  const got = [];
  socket.on("message", (data) => got.push(String(data)));
  for (let index = 0; index < 1000; index++) socket.send(`${index}`);
  await until(() => got.length === 1000, "all came");
  assert.deepEqual(got, Array.from({ length: 1000 }, (_, index) => `${index}`));
  socket.close();
  await once(socket, "close");
  await server.close();
});

test("a server of ws: calls of plain messages, its closes, and its end without one", async () => {
  const server = await bareServer((socket) =>
    socket.on("message", (data, isBinary) => {
      const text = String(data);
      if (text.startsWith("close ")) socket.close(Number(text.slice(6)), "because");
      else if (text === "cut") socket.terminate();
      else socket.send(isBinary ? Buffer.from(upper(data)) : upper(data));
    }),
  );
  for (const [options, reply] of [["", Buffer.from("HI")], ["&text=true", "HI"]]) {
    const connection = await connect(`${server.address}/any%3Fpath?protocol=plain${options}`);
    assert.deepEqual(await connection.call("hi"), reply);
    await connection.close();
  }
  for (const [message, outcome] of [["close 1000", null], ["close 1001", null], ["close 1011", /1011.*because/], ["close 4001", /4001.*because/], ["cut", /without a Close/]]) {
    const connection = await connect(`${server.address}?protocol=plain`);
    await connection.send(message);
    if (outcome === null) assert.equal(await connection.recv(), null, message);
    else await assert.rejects(connection.recv(), { code: "connection-lost", message: outcome });
    await connection.close();
  }
  server.close();
});

test("closing tells a peer of ws 1000, after everything that was sent", async () => {
  const seen = [];
  const server = await bareServer((socket) => {
    socket.on("message", (data) => seen.push(data.length));
    socket.on("close", (code) => seen.push(code));
  });
  const connection = await connect(`${server.address}?protocol=plain`);
  for (let count = 0; count < 10; count++) await connection.send(Buffer.alloc(1_000_000));
  await connection.close();
  await until(() => seen.includes(1000), "the close came");
  assert.deepEqual(seen, [...Array(10).fill(1_000_000), 1000]);
  server.close();
});

test("a peer that does not read stops the sender, and one that sends too fast is stopped", async () => {
  const listener = await listen("ws://127.0.0.1:0?protocol=plain");
  const socket = await opened(bare(listener.address));
  socket.pause();
  const connection = await listener.accept();
  let sent = 0;
  let stuck = false;
  const sending = (async () => {
    for (; sent < 1000; sent++) {
      const done = connection.send(Buffer.alloc(100_000));
      const timer = setTimeout(() => (stuck = true), 200);
      await done;
      clearTimeout(timer);
    }
  })();
  await until(() => stuck, "it waits for room");
  assert.ok(sent < 1000, `${sent}`);
  let received = 0;
  socket.on("message", () => received++);
  socket.resume();
  await sending;
  await until(() => received === 1000, "all came");
  // Nobody receives here: the other end is not read for ever.
  for (let count = 0; count < 400; count++) socket.send(Buffer.alloc(100_000));
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.ok(socket.bufferedAmount > 1_000_000, `${socket.bufferedAmount} bytes are left with the sender`);
  for (let count = 0; count < 400; count++) assert.equal((await connection.recv()).length, 100_000);
  socket.close();
  assert.equal(await connection.recv(), null);
  await connection.close();
  await listener.close();
});

test("a client of ws is a panpipe peer by its subprotocol, and may know the token either way", async () => {
  process.env.PANPIPE_RIGHT = "the-only-right-token";
  const server = await serve("ws://127.0.0.1:0?token=env:PANPIPE_RIGHT", new Service());
  const encoded = `panpipe.token.${Buffer.from("the-only-right-token").toString("base64url")}`;
  for (const [protocols, options] of [[["panpipe", encoded], {}], [["panpipe"], { headers: { Authorization: "Bearer the-only-right-token" } }]]) {
    const socket = await opened(bare(server.address), protocols, options);
    assert.equal(socket.protocol, "panpipe");
    // Text is no frame.
    socket.send("hello");
    const [code] = await once(socket, "close");
    assert.equal(code, 1003);
  }
  for (const [protocols, status] of [[["panpipe"], 401], [["panpipe", `${encoded}x`], 401], [[encoded], 400]]) {
    const socket = new WebSocket(bare(server.address), protocols);
    const [error] = await once(socket, "error");
    assert.match(error.message, new RegExp(`${status}`));
  }
  await server.close();
});
