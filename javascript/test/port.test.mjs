// One port for all: who comes is told apart by the first bytes, must know the secret, and gets at most so much time.

import assert from "node:assert/strict";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import test from "node:test";

import { Connection, Peer, Service, connect, listen, serve } from "panpipe";
import { speakerOf } from "../dist/wire/first-bytes.js";
import { path, until } from "./place.mjs";

const portOf = (address) => Number(/:(\d+)/.exec(address.slice(address.indexOf("//") + 2))[1]);
const at = (server, scheme, options = "") => `${scheme}://127.0.0.1:${portOf(server.address)}${options}`;
const service = () => new Service().method("upper", (text) => text.toUpperCase()).plain((line) => String(line).toUpperCase());
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Sends bytes to a port, and answers what came back until the other end closed. */
async function say(server, bytes, { end = false } = {}) {
  const socket = net.connect(portOf(server.address), "127.0.0.1");
  socket.on("error", () => {});
  if (end) socket.end(bytes);
  else socket.write(bytes);
  return Buffer.concat(await socket.toArray());
}

/** The first line that comes back. */
async function lineOf(server, ...writes) {
  const socket = net.connect(portOf(server.address), "127.0.0.1");
  for (const bytes of writes) {
    socket.write(bytes);
    await pause(20);
  }
  const [line] = await once(socket, "data");
  socket.destroy();
  return String(line);
}

test("peers of three kinds come to one port, each as it speaks", async () => {
  const server = await serve("tcp://localhost:0?accept=panpipe,ws,lines", service());
  for (const address of [at(server, "tcp"), at(server, "ws")]) {
    const peer = await connect(address);
    assert.equal(await peer.call("upper", "hi"), "HI");
    await peer.close();
  }
  for (const address of [at(server, "tcp", "?framing=lines"), at(server, "ws", "?protocol=plain"), at(server, "ws", "?protocol=plain&text=true")]) {
    const connection = await connect(address);
    assert.equal(String(await connection.call("hi")), "HI");
    await connection.close();
  }
  // Cut where it tells nothing yet, and where it only looks like another.
  assert.equal(await lineOf(server, "G", "E", "Table\n"), "GETABLE\n");
  assert.equal(await lineOf(server, "POSTAL\n"), "POSTAL\n");
  assert.equal(await lineOf(server, Buffer.from([0]), Buffer.from([0, 1, 2]), "\n"), "\0\0\u0001\u0002\n");
  assert.equal(String(await say(server, "GE\n", { end: true })), "GE\n");
  await server.close();
});

test("with text=true a service gets strings of its plain peers", async () => {
  const got = [];
  const server = await serve("tcp://localhost:0?accept=panpipe,ws,lines&text=true", new Service().plain((text) => (got.push(text), text.length)).plain((text) => (got.push(text), `${text}!`)));
  for (const address of [at(server, "tcp", "?framing=lines&text=true"), at(server, "ws", "?protocol=plain&text=true")]) {
    const connection = await connect(address);
    assert.equal(await connection.call("ä"), "ä!");
    await connection.close();
  }
  assert.deepEqual(got, ["ä", "ä"]);
  await server.close();
});

test("who says nothing for a second is a peer of plain messages, and gets what the other end sends first", async () => {
  const listener = await listen("tcp://127.0.0.1:0?accept=panpipe,lines");
  const socket = net.connect(portOf(listener.address), "127.0.0.1");
  const began = performance.now();
  const connection = await listener.accept();
  const waited = performance.now() - began;
  assert.ok(connection instanceof Connection);
  assert.ok(waited > 900 && waited < 4000, `${waited} ms`);
  await connection.send("hello");
  assert.equal(String((await once(socket, "data"))[0]), "hello\n");
  socket.end();
  await connection.close();
  await listener.close();
});

test("a listener gives peers and connections as they come", async () => {
  const listener = await listen("tcp://127.0.0.1:0?accept=panpipe,ws,lines");
  for (const [scheme, options, kind] of [["tcp", "", Peer], ["ws", "", Peer], ["ws", "?protocol=plain", Connection], ["tcp", "?framing=lines", Connection]]) {
    const connecting = connect(at(listener, scheme, options));
    if (scheme === "tcp" && kind === Connection) (await connecting).send("x");
    const accepted = await listener.accept();
    assert.ok(accepted instanceof kind, `${scheme}${options}`);
    assert.equal(accepted.remote.transport, "tcp");
    await (await connecting).close();
    await accepted.close();
  }
  await listener.close();
});

test("what is not listed is refused in the words of whoever comes", async () => {
  const plainOnly = await serve("tcp://127.0.0.1:0?accept=lines,ws", (line) => String(line).toUpperCase());
  const peer = await connect(at(plainOnly, "tcp"));
  await assert.rejects(peer.call("upper", "hi"), { code: "unsupported", ran: "no" });
  await peer.close();
  await assert.rejects(connect(at(plainOnly, "ws")), { code: "bad-peer", message: /400/ });
  assert.equal(String(await say(plainOnly, "POST / HTTP/1.1\r\nHost: evil\r\n\r\n")), "", "a web page's blind request runs nothing");
  await plainOnly.close();

  const noWeb = await serve("tcp://127.0.0.1:0?accept=panpipe,lines", service());
  assert.equal(String(await say(noWeb, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")), "");
  await noWeb.close();

  const noPlain = await serve("tcp://127.0.0.1:0?accept=panpipe,ws", service());
  assert.match(String(await say(noPlain, "hello\n")), /GOODBYE|bad-peer/);
  await assert.rejects(connect(at(noPlain, "ws", "?protocol=plain")), { code: "bad-peer", message: /400/ });
  await noPlain.close();
});

test("a service without a handler of plain messages, and a handler where panpipe is listed: unsupported at once", async () => {
  await assert.rejects(serve("tcp://localhost:0?accept=panpipe,lines", new Service()), { code: "unsupported", message: /plain\(\)/ });
  await assert.rejects(listen("tcp://localhost:0?accept=panpipe,lines", { service: new Service() }), { code: "unsupported" });
  await assert.rejects(serve("tcp://localhost:0?accept=panpipe,lines", () => ""), { code: "unsupported", message: /Service/ });
  await (await serve("tcp://localhost:0?accept=panpipe,ws", new Service())).close();
});

test("closing a server finishes what plain peers have asked", async () => {
  let answer;
  const server = await serve("tcp://127.0.0.1:0?accept=panpipe,lines", new Service().plain(() => new Promise((resolve) => (answer = resolve))));
  const connection = await connect(at(server, "tcp", "?framing=lines"));
  const reply = connection.call("slow");
  await until(() => answer !== undefined, "the handler runs");
  const closing = server.close();
  answer("done");
  assert.equal(String(await reply), "done");
  await closing;
  await connection.close();
});

test("the first bytes are judged with the first that decides", () => {
  const hello = Buffer.from("0000000901000000000000000000000070616e706970650180", "hex");
  for (let have = 0; have <= hello.length; have++) assert.equal(speakerOf(hello.subarray(0, have)), have < 23 ? null : "panpipe", `${have} bytes`);
  // Every bit but those of the length, each alone: another byte there is no HELLO, as soon as it comes.
  for (let index = 0; index < 23; index++) {
    if (index === 3) continue;
    const other = Buffer.from(hello);
    other[index] ^= 0x80;
    assert.equal(speakerOf(other.subarray(0, index + 1)), "other", `byte ${index}`);
  }
  for (const [length, expected] of [[7, "other"], [8, null], [4096, null], [4097, "other"]]) assert.equal(speakerOf(Buffer.from([0, 0, length >> 8, length & 255])), expected, `a length of ${length}`);
  for (const [text, expected] of [["G", null], ["GET", null], ["GET ", "http"], ["GET / HTTP/1.1", "http"], ["GEX", "other"], ["get ", "other"], ["POST", "other"], ["\n", "other"]]) assert.equal(speakerOf(Buffer.from(text)), expected, text);
});

test("a token is wanted over tcp and over ws, and shown nowhere", async () => {
  const file = path("token");
  fs.writeFileSync(file, "what was there before", { mode: 0o644 });
  for (const address of ["tcp://localhost:0", "ws://localhost:0", "tcp://localhost:0?accept=panpipe,ws"]) {
    const server = await serve(`${address}${address.includes("?") ? "&" : "?"}token=new:${file}`, service());
    assert.equal(fs.statSync(file).mode & 0o777, 0o600);
    const token = fs.readFileSync(file, "utf8").trim();
    assert.match(token, /^[0-9a-f]{48}$/);
    process.env.PANPIPE_WRONG = "not-the-right-token";
    for (const scheme of address.includes("accept") ? ["tcp", "ws"] : [address.slice(0, address.indexOf(":"))]) {
      const peer = await connect(at(server, scheme, `?token=file:${file}`));
      assert.equal(await peer.call("upper", "hi"), "HI");
      await peer.close();
      for (const options of ["", "?token=env:PANPIPE_WRONG"]) {
        const failed = await connect(at(server, scheme, options)).then((peer) => peer.call("upper", "hi").finally(() => peer.close())).catch((error) => error);
        assert.equal(failed.code, "unauthenticated", failed.message);
        assert.equal(failed.ran, "no");
        assert.ok(!failed.message.includes("not-the-right-token") && !failed.message.includes(token));
      }
    }
    await server.close();
  }
  for (const [content, code] of [["short", "invalid-address"], ["with spaces in between it", "invalid-address"], [`${"x".repeat(16)}\n`, "refused"]]) {
    fs.writeFileSync(file, content);
    await assert.rejects(connect(`ws://127.0.0.1:1?token=file:${file}`), { code });
  }
});

test("a peer without the token never reaches whoever accepts", async () => {
  process.env.PANPIPE_RIGHT = "the-only-right-token";
  const listener = await listen("tcp://127.0.0.1:0?token=env:PANPIPE_RIGHT");
  const stranger = await connect(at(listener, "tcp"));
  await assert.rejects(stranger.call("x"), { code: "unauthenticated" });
  const friend = await connect(at(listener, "tcp", "?token=env:PANPIPE_RIGHT"));
  const accepted = await listener.accept();
  const left = listener.accept();
  for (const peer of [stranger, friend, accepted]) await peer.close();
  await listener.close();
  assert.equal(await left, null, "nobody else has come");
});

/** So many sockets to a port until the end of a test, each of which has sent these bytes. */
async function crowd(t, server, count, bytes = "") {
  const sockets = Array.from({ length: count }, () => net.connect({ port: portOf(server.address), host: "127.0.0.1", allowHalfOpen: true }).on("error", () => {}));
  t.after(() => sockets.forEach((socket) => socket.destroy()));
  await Promise.all(sockets.map((socket) => once(socket, "connect")));
  if (bytes !== "") for (const socket of sockets) socket.write(bytes);
  return sockets;
}

test("at most 64 are received at a time; others wait, and those that wait are not forgotten", async (t) => {
  const server = await serve("ws://127.0.0.1:0", service());
  t.after(() => server.close());
  const silent = await crowd(t, server, 64);
  let connected = false;
  const connecting = connect(at(server, "ws")).then((peer) => ((connected = true), peer));
  await pause(200);
  assert.equal(connected, false, "the 65th waits");
  silent[0].destroy();
  const peer = await connecting;
  assert.equal(await peer.call("upper", "hi"), "HI");
  await peer.close();
});

test("where all places are taken, who came first gives way after a second, and nobody else", async (t) => {
  const server = await serve("ws://127.0.0.1:0", service());
  t.after(() => server.close());
  const began = performance.now();
  const silent = await crowd(t, server, 64);
  const first = silent[0].toArray();
  const others = silent.slice(1).map((socket) => once(socket.resume(), "end"));
  const peer = await connect(at(server, "ws"));
  const waited = performance.now() - began;
  assert.ok(waited > 900 && waited < 3000, `${waited} ms`);
  assert.match(String(Buffer.concat(await first)), /^HTTP\/1\.1 408 /);
  assert.equal(await peer.call("upper", "hi"), "HI");
  assert.equal(await Promise.race([...others, pause(200)]), undefined, "the others stay");
  await peer.close();
});

test("who has its answer gives way before who has none", async (t) => {
  const server = await serve("ws://127.0.0.1:0", service());
  t.after(() => server.close());
  const [silent] = await crowd(t, server, 1);
  const gone = once(silent.resume(), "end");
  await pause(1100);
  const answered = await crowd(t, server, 63, "GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await Promise.all(answered.map((socket) => once(socket, "data")));
  const began = performance.now();
  const peer = await connect(at(server, "ws"));
  assert.ok(performance.now() - began < 900, "it waits for none of them");
  assert.equal(await Promise.race([gone, pause(200)]), undefined);
  await peer.close();
});

test("who does not say in 5 seconds what it wants is told so, and closed", async () => {
  process.env.PANPIPE_RIGHT = "the-only-right-token";
  const web = await serve("ws://127.0.0.1:0", service());
  const secret = await serve("tcp://127.0.0.1:0?token=env:PANPIPE_RIGHT", service());
  const began = performance.now();
  const [answer, goodbye] = await Promise.all([say(web, "GET / HTTP/1.1\r\n"), say(secret, Buffer.from("00000020010000", "hex"))]);
  const waited = performance.now() - began;
  assert.match(String(answer), /^HTTP\/1\.1 408 /);
  assert.ok(goodbye.length < 300);
  assert.ok(waited > 4900 && waited < 8000, `${waited} ms`);
  await web.close();
  await secret.close();
});

test("files: nothing outside the folder, by no link and no name, and large ones whole", async () => {
  const folder = path("files");
  const outside = path("outside");
  fs.mkdirSync(`${folder}/sub/.git`, { recursive: true });
  fs.writeFileSync(`${folder}/index.html`, "<p>here</p>");
  fs.writeFileSync(`${folder}/sub/index.html`, "<p>sub</p>");
  fs.writeFileSync(`${folder}/sub/.git/config`, "hidden");
  fs.writeFileSync(outside, "outside");
  fs.symlinkSync(outside, `${folder}/escape.txt`);
  fs.symlinkSync(`${folder}/sub/.git/config`, `${folder}/hidden.txt`);
  fs.symlinkSync("index.html", `${folder}/inside.html`);
  fs.writeFileSync(`${folder}/large.bin`, Buffer.alloc(20 * 1024 * 1024, "0123456789"));
  const get = (server, target) => say(server, `GET ${target} HTTP/1.1\r\nHost: localhost:${portOf(server.address)}\r\n\r\n`).then(String);
  const server = await serve(`ws://localhost:0/ws?static=${encodeURIComponent(folder)}`, service());
  assert.match(await get(server, "/"), /^HTTP\/1\.1 200 OK\r\n[^]*Content-Type: text\/html; charset=utf-8\r\n[^]*\r\n\r\n<p>here<\/p>$/);
  assert.match(await get(server, "/sub/"), /<p>sub<\/p>$/);
  assert.match(await get(server, "/inside.html"), /<p>here<\/p>$/);
  for (const target of ["/escape.txt", "/hidden.txt", "/nothing", "/sub/.git/config", "/large.bin/"]) assert.match(await get(server, target), /^HTTP\/1\.1 404 /, target);
  const large = await get(server, "/large.bin");
  assert.equal(large.length - large.indexOf("\r\n\r\n") - 4, 20 * 1024 * 1024);
  // It is no wall to the WebSocket beside.
  const peer = await connect(server.address.replace(/\?.*/, ""));
  assert.equal(await peer.call("upper", "hi"), "HI");
  await peer.close();
  await server.close();
  await assert.rejects(listen(`ws://localhost:0?static=${folder}/none`), { code: "not-found" });
});
