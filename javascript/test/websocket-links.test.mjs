// The WebSocket over sockets: our server and our client against bare ones, which play vectors/websocket.json.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import { dirname, join } from "node:path";
import test from "node:test";

import { PanpipeError, connect, listen } from "panpipe";
import { path } from "./place.mjs";
import { head, message, sent, text, vectors } from "./websocket-vectors.mjs";

const acceptOf = (key) => createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
const portOf = (address) => Number(/:(\d+)/.exec(address.slice(address.indexOf("//") + 2).replace(/^\[[^\]]*\]/, ""))[1]);

/** The frames that came back: the payload of the last pong, and of the last Close. */
function framesOf(bytes) {
  const found = { pong: undefined, close: undefined };
  for (let at = 0; at < bytes.length; ) {
    const opcode = bytes[at] & 15;
    const masked = bytes[at + 1] >> 7;
    let length = bytes[at + 1] & 127;
    let from = at + 2;
    if (length === 126) [length, from] = [bytes.readUInt16BE(from), from + 2];
    else if (length === 127) [length, from] = [Number(bytes.readBigUInt64BE(from)), from + 8];
    const mask = bytes.subarray(from, from + 4);
    if (masked) from += 4;
    const payload = Buffer.from(bytes.subarray(from, from + length)).map((byte, index) => (masked ? byte ^ mask[index % 4] : byte));
    if (opcode === 10) found.pong = Buffer.from(payload).toString("hex");
    if (opcode === 8) found.close = payload.length === 0 ? null : (payload[0] << 8) | payload[1];
    at = from + length;
  }
  return found;
}

/** Plays a case as the other end of `socket`, whose upgrade is done; answers what came back. */
async function play(vector, socket, fromClient, before) {
  const passes = vector.close === 1000 && vector.code === null && !vector.sends.some(({ op }) => op === "close");
  const bytes = sent({ sends: passes ? [...vector.sends, { op: "close", code: 1000 }] : vector.sends }, fromClient);
  const back = [before];
  socket.on("data", (chunk) => back.push(chunk)).resume();
  const over = once(socket, "close");
  socket.on("error", () => {});
  const size = 1 + Math.floor(Math.random() * Math.max(bytes.length, 1));
  for (let at = 0; at < bytes.length; at += size) socket.write(bytes.subarray(at, at + size));
  if (vector.cut) socket.end();
  else socket.on("end", () => socket.end());
  await over;
  return framesOf(Buffer.concat(back));
}

/** Everything that a connection of ours delivers, and the code of the error at its end. */
async function delivered(connection) {
  if (connection.recv === undefined) return { messages: [], code: (await connection.closed)?.code ?? null };
  const messages = [];
  try {
    for (;;) {
      const next = await connection.recv();
      if (next === null) return { messages, code: null };
      messages.push(Buffer.from(next));
    }
  } catch (error) {
    assert.ok(error instanceof PanpipeError);
    return { messages, code: error.code };
  } finally {
    await connection.close();
  }
}

function check(vector, { messages, code }, back) {
  assert.deepEqual(messages, (vector.messages ?? []).map(message), vector.name);
  assert.equal(code, vector.code, vector.name);
  // What a client has not read when it is cut off may never come.
  if (!vector.cut) assert.equal(back.close, vector.close, vector.name);
  if (vector.pong !== undefined) assert.equal(back.pong, text(vector.pong), vector.name);
}

const optionsOf = ({ carries = "binary", max = "16MiB" }) => `?max=${max}&${{ binary: "protocol=plain", text: "protocol=plain&text=true", frames: "protocol=panpipe" }[carries]}`;
const against = (end) => vectors.frames.filter((vector) => vector.against === undefined || vector.against === end);
const request = (port, panpipe) =>
  `GET / HTTP/1.1\r\nHost: localhost:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\nSec-WebSocket-Version: 13\r\n${panpipe ? "Sec-WebSocket-Protocol: panpipe\r\n" : ""}\r\n`;

/** Reads up to the end of a head; answers it and what follows. */
async function readHead(socket) {
  let bytes = Buffer.alloc(0);
  while (!bytes.includes("\r\n\r\n")) {
    const [chunk] = await once(socket, "data");
    bytes = Buffer.concat([bytes, chunk]);
  }
  socket.pause();
  const end = bytes.indexOf("\r\n\r\n") + 4;
  return [String(bytes.subarray(0, end)), bytes.subarray(end)];
}

/** Runs many at once, but not all. */
async function each(items, run) {
  const left = [...items];
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      for (let item = left.shift(); item !== undefined; item = left.shift()) await run(item);
    }),
  );
}

test("our server does with frames what the vectors say", async () => {
  const listeners = new Map();
  await each(against("server"), async (vector) => {
    const options = optionsOf(vector);
    if (!listeners.has(options)) listeners.set(options, listen(`ws://127.0.0.1:0${options}`).then((listener) => ({ listener, queue: Promise.resolve() })));
    const place = await listeners.get(options);
    const port = portOf(place.listener.address);
    const socket = net.connect(port, "127.0.0.1");
    // One connection after the other is made, so that it is known which is whose.
    const mine = place.queue.then(async () => {
      socket.write(request(port, vector.carries === "frames"));
      return [await place.listener.accept(), await readHead(socket)];
    });
    place.queue = mine;
    const [connection, [answer, before]] = await mine;
    assert.match(answer, /^HTTP\/1\.1 101 /);
    const ours = delivered(connection);
    const back = await play(vector, socket, true, before);
    check(vector, await ours, back);
  });
  for (const place of listeners.values()) await (await place).listener.close();
});

test("our client does with frames what the vectors say", async () => {
  const server = net.createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  for (const vector of against("client")) {
    const options = optionsOf(vector);
    const accepted = once(server, "connection");
    const connecting = connect(`ws://127.0.0.1:${server.address().port}${options}`);
    const [socket] = await accepted;
    const [asked] = await readHead(socket);
    const key = /Sec-WebSocket-Key: (.*)\r/.exec(asked)[1];
    const frames = vector.carries === "frames";
    assert.equal(/Sec-WebSocket-Protocol: panpipe\r/.test(asked), frames);
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptOf(key)}\r\n${frames ? "Sec-WebSocket-Protocol: panpipe\r\n" : ""}\r\n`);
    const back = play(vector, socket, false, Buffer.alloc(0));
    check(vector, await delivered(await connecting), await back);
  }
  server.close();
});

test("our server answers requests as the vectors say", async (t) => {
  const folder = path("static");
  const outside = path("outside");
  fs.writeFileSync(outside, "secret");
  for (const { file } of vectors.requests) {
    if (file === undefined) continue;
    fs.mkdirSync(dirname(join(folder, file)), { recursive: true });
    fs.writeFileSync(join(folder, file), file);
  }
  process.env.PANPIPE_TEST_TOKEN = "a-token/of+24.characters";
  const listeners = new Map();
  let played = 0;
  await each(vectors.requests, async (vector) => {
    const { listens = "localhost", port, tls, path: at = "/", hosts, origins, token, protocols = ["panpipe"], static: files } = vector.policy ?? {};
    // Names and ports that a test cannot have, and TLS.
    if (port !== undefined || tls || !["localhost", "0.0.0.0", "[::]", "127.0.0.2"].includes(listens)) return;
    const both = protocols.length === 2;
    const options = [
      ...(hosts === undefined ? [] : [`host=${hosts}`]),
      ...(origins === undefined ? [] : [`origin=${origins}`]),
      ...(token === undefined ? [] : ["token=env:PANPIPE_TEST_TOKEN"]),
      ...(files ? [`static=${encodeURIComponent(folder)}`] : []),
      ...(listens === "localhost" || listens === "127.0.0.2" ? [] : ["insecure=true"]),
      both ? "accept=panpipe,ws,lines" : `protocol=${protocols[0]}`,
    ];
    // Where both are served the port is everybody's, and the path is the root.
    const address = `${both ? "tcp" : "ws"}://${listens}:0${both ? "" : encodeURI(at).replaceAll("?", "%3F")}?${options.join("&")}`;
    if (!listeners.has(address)) listeners.set(address, listen(address));
    const listener = await listeners.get(address);
    const bound = portOf(listener.address);
    const socket = net.connect(bound, listens === "127.0.0.2" ? listens : "127.0.0.1");
    socket.on("error", () => {});
    socket.write(head(vectors.request, vector, (given) => given.replaceAll("{port}", bound)));
    const [answer, body] = await readHead(socket);
    assert.match(answer, new RegExp(`^HTTP/1\\.1 ${vector.status} `), `${vector.name}: ${answer}`);
    if (vector.status === 101) {
      assert.equal(/\r\nSec-WebSocket-Protocol: (.*)\r\n/i.exec(answer)?.[1], vector.selects ?? (vector.panpipe ? "panpipe" : undefined), vector.name);
      assert.doesNotMatch(answer, /Extensions/i);
      socket.destroy();
    } else {
      assert.match(answer, /\r\nConnection: close\r\n/, vector.name);
      const parts = [body];
      socket.on("data", (chunk) => parts.push(chunk));
      socket.resume();
      await once(socket, "end");
      const whole = Buffer.concat(parts);
      const length = Number(/\r\nContent-Length: (\d+)\r\n/.exec(answer)[1]);
      assert.equal(whole.length, vector.head_only || vector.line?.startsWith?.("HEAD") ? 0 : length, vector.name);
      if (vector.status === 200 && !vector.head_only) assert.equal(String(whole), vector.file);
      assert.doesNotMatch(answer + whole, /Access-Control|a-token|secret/i);
      socket.destroy();
    }
    played++;
  });
  assert.ok(played > 200);
  for (const listener of listeners.values()) await (await listener).close();
});

test("our client takes answers as the vectors say", async () => {
  const server = net.createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  for (const vector of vectors.responses) {
    const accepted = once(server, "connection");
    const panpipe = vector.panpipe ?? true;
    const connecting = connect(`ws://127.0.0.1:${server.address().port}${panpipe ? "" : "?protocol=plain"}`).then(
      (peer) => peer.close().then(() => null),
      (error) => error,
    );
    const [socket] = await accepted;
    socket.on("error", () => {});
    const [asked] = await readHead(socket);
    const key = /Sec-WebSocket-Key: (.*)\r/.exec(asked)[1];
    const accept = acceptOf(key);
    const words = { "{accept}": accept, "{accept-unpadded}": accept.replace("=", ""), "{accept-lower}": accept.toLowerCase(), "{key}": key };
    socket.write(head(vectors.response, vector, (given) => given.replace(/\{[a-z-]+\}/g, (word) => words[word])));
    if (vector.cut) socket.end();
    socket.resume();
    const error = await connecting;
    assert.equal(error?.code ?? null, vector.code, `${vector.name}: ${error?.message}`);
    if (vector.says !== undefined) assert.ok(error.message.includes(vector.says), error.message);
    socket.destroy();
  }
  server.close();
});
