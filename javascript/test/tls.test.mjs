// TLS as Node's users meet it: who is who, what breaks it, and that everything else is as without it.

import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { readFileSync } from "node:fs";
import test from "node:test";
import tls from "node:tls";

import { Service, connect, listen, serve } from "panpipe";
import { authority, certificate } from "./certificates.mjs";
import { path, until, upper } from "./place.mjs";
import { runAlone } from "./running.mjs";

const ca = authority();
const other = authority();
const server = certificate(ca);
const service = () => new Service().method("upper", (text) => text.toUpperCase()).method("size", (bytes) => bytes.length);
const bare = (address) => address.replace(/\?.*/, "");
const portOf = (address) => Number(/:(\d+)/.exec(address.slice(6))[1]);

for (const scheme of ["tls", "wss"]) {
  test(`${scheme}: calls, large ones too, and a clean end on both sides`, async () => {
    const running = await serve(`${scheme}://localhost:0?${server.pair}`, service());
    const peer = await connect(`${bare(running.address)}?ca=${ca.cert}`);
    assert.equal(peer.remote.transport, scheme);
    assert.equal(await peer.call("upper", "hi"), "HI");
    assert.equal(await peer.call("size", Buffer.alloc(5_000_000)), 5_000_000);
    assert.deepEqual(await Promise.all(Array.from({ length: 100 }, (_, index) => peer.call("upper", `a${index}`))), Array.from({ length: 100 }, (_, index) => `A${index}`));
    await peer.close();
    assert.equal(await peer.closed, null);
    await running.close();
  });

  test(`${scheme}: the name that was dialled is the one that is proved`, async () => {
    const running = await serve(`${scheme}://localhost:0?${server.pair}`, service());
    const port = portOf(running.address);
    for (const host of ["localhost", "127.0.0.1", ""]) {
      const peer = await connect(`${scheme}://${host}:${port}?ca=${ca.cert}`);
      await peer.close();
    }
    await running.close();
    const refused = async (made, options, pattern) => {
      const listening = await serve(`${scheme}://127.0.0.1:0?${made.pair}`, service());
      const address = `${bare(listening.address)}${options}`;
      await assert.rejects(connect(address), { code: "unauthenticated", ran: "no", message: pattern });
      await listening.close();
    };
    const trusted = `?ca=${ca.cert}`;
    await refused(certificate(ca, { names: "DNS:elsewhere.example" }), trusted, /127\.0\.0\.1/);
    await refused(certificate(ca, { names: "DNS:localhost" }), trusted, /127\.0\.0\.1/);
    await refused(certificate(ca, { names: "" }), trusted, /no name/);
    await refused(certificate(ca, { days: "-1" }), trusted, /expired/);
    await refused(certificate(other), trusted, /issuer|verify/);
    await refused(certificate(), trusted, /self.signed/);
    await refused(server, "", /issuer|verify/);
  });

  test(`${scheme}: a fingerprint needs no name, no issuer and no dates`, async () => {
    const own = certificate(other, { names: "DNS:elsewhere.example", days: "-1" });
    const running = await serve(`${scheme}://127.0.0.1:0?${own.pair}`, service());
    const wrong = `sha256:${"0".repeat(64)}`;
    for (const fingerprint of [own.fingerprint, `sha256:${own.digest}`, `${wrong},${own.fingerprint}`]) {
      const peer = await connect(`${bare(running.address)}?fingerprint=${fingerprint}`);
      assert.equal(await peer.call("upper", "hi"), "HI");
      await peer.close();
    }
    await assert.rejects(connect(`${bare(running.address)}?fingerprint=${wrong}`), { code: "unauthenticated", message: new RegExp(own.fingerprint) });
    await running.close();
  });

  test(`${scheme}: who connects can be made to prove who it is`, async () => {
    const client = certificate(ca);
    const stranger = certificate(other);
    const warnings = [];
    const note = (warning) => warnings.push(warning.message);
    process.on("warning", note);
    for (const demand of [`client_ca=${ca.cert}`, `fingerprint=${client.fingerprint}`]) {
      const running = await serve(`${scheme}://localhost:0?${server.pair}&${demand}`, service());
      const address = `${bare(running.address)}?ca=${ca.cert}&timeout=5s`;
      const peer = await connect(`${address}&${client.pair}`);
      assert.equal(await peer.call("upper", "hi"), "HI");
      await peer.close();
      for (const shown of ["", `&${stranger.pair}`]) {
        // With TLS 1.3 a client learns of it only after its own handshake is done.
        const calling = connect(address + shown).then((peer) => peer.call("upper", "hi").finally(() => peer.close()));
        await assert.rejects(calling, { code: "unauthenticated", ran: "no" });
      }
      await running.close();
    }
    await until(() => warnings.some((text) => /unauthenticated/.test(text)), "the listener tells");
    process.off("warning", note);
  });
}

test("one port for all tells each of those who do not prove who they are as it speaks", async () => {
  const running = await serve(`tls://localhost:0?accept=panpipe,ws,lines&${server.pair}&client_ca=${ca.cert}`, service().plain(upper));
  const at = (scheme, options) => `${scheme}://localhost:${portOf(running.address)}?ca=${ca.cert}&${certificate(other).pair}${options}`;
  await assert.rejects(connect(at("tls", "")).then((peer) => peer.call("upper", "hi").finally(() => peer.close())), { code: "unauthenticated", ran: "no" });
  for (const options of ["", "&protocol=plain"]) await assert.rejects(connect(at("wss", options)), { code: "unauthenticated", ran: "no" });
  const plain = await connect(at("tls", "&framing=lines"));
  await assert.rejects(plain.call("hi"), { code: "connection-lost" });
  await plain.close();
  await running.close();
});

test("an alert that comes instead of an answer says why", async () => {
  const asking = tls.createServer({ cert: readFileSync(server.cert), key: readFileSync(server.key), ca: readFileSync(ca.cert), requestCert: true, rejectUnauthorized: true }).listen(0);
  await once(asking, "listening");
  await assert.rejects(connect(`wss://localhost:${asking.address().port}?ca=${ca.cert}`), { code: "unauthenticated", ran: "no", message: /certificate required/ });
  asking.close();
});

test("what is no TLS: bad-peer at either end, and what is cut in the handshake: connection-lost", async () => {
  const plain = net.createServer((socket) => socket.on("error", () => {}).on("data", () => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"))).listen(0);
  const cut = net.createServer((socket) => socket.on("error", () => {}).once("data", () => socket.destroy())).listen(0);
  await Promise.all([once(plain, "listening"), once(cut, "listening")]);
  for (const scheme of ["tls", "wss"]) {
    await assert.rejects(connect(`${scheme}://127.0.0.1:${plain.address().port}?ca=${ca.cert}`), { code: "bad-peer" });
    await assert.rejects(connect(`${scheme}://127.0.0.1:${cut.address().port}?ca=${ca.cert}`), { code: "connection-lost" });
  }
  plain.close();
  cut.close();
  const running = await serve(`tls://127.0.0.1:0?${server.pair}`, service());
  const warned = once(process, "warning");
  const socket = net.connect(portOf(running.address), "127.0.0.1");
  socket.on("error", () => {});
  socket.write("GET / HTTP/1.1\r\n\r\n");
  const [warning] = await warned;
  assert.match(warning.message, /^receiving a connection on tls:.*bad-peer/);
  await once(socket, "close");
  // And TLS where there is none.
  const open = await serve("ws://127.0.0.1:0", service());
  await assert.rejects(connect(`wss://127.0.0.1:${portOf(open.address.replace("ws:", "wss:"))}?ca=${ca.cert}`), { code: "bad-peer" });
  await open.close();
  await running.close();
});

test("an end inside the hello, and inside the answer, is noticed at once", async (t) => {
  const running = await serve(`tls://127.0.0.1:0?${server.pair}`, service());
  t.after(() => running.close());
  const ending = net.createServer({ allowHalfOpen: true }, (socket) => socket.on("error", () => {}).once("data", (hello) => (socket.end(), ending.emit("hello", hello)))).listen(0);
  t.after(() => ending.close());
  await once(ending, "listening");
  const began = performance.now();
  const [[hello]] = await Promise.all([once(ending, "hello"), assert.rejects(connect(`tls://127.0.0.1:${ending.address().port}?ca=${ca.cert}`), { code: "connection-lost" })]);
  const sockets = [0, 1, 5, hello.length >> 1, hello.length - 1].map((length) => net.connect({ port: portOf(running.address), host: "127.0.0.1", allowHalfOpen: true }).end(hello.subarray(0, length)));
  await Promise.all(sockets.map((socket) => socket.toArray()));
  assert.ok(performance.now() - began < 3000, `${performance.now() - began} ms`);
});

test("plain messages over TLS: bare TLS programs are peers, and a half that is closed leaves the other", async () => {
  const running = await serve(`tls://localhost:0?framing=lines&${server.pair}`, upper);
  const socket = tls.connect({ port: portOf(running.address), host: "127.0.0.1", servername: "localhost", ca: readFileSync(ca.cert), allowHalfOpen: true });
  await once(socket, "secureConnect");
  assert.equal(socket.getProtocol(), "TLSv1.3");
  socket.end("one\ntwo\n");
  assert.equal(String(Buffer.concat(await socket.toArray())), "ONE\nTWO\n");
  await assert.rejects(
    new Promise((resolve, reject) => tls.connect({ port: portOf(running.address), host: "127.0.0.1", maxVersion: "TLSv1.1", minVersion: "TLSv1", ca: readFileSync(ca.cert) }).on("secureConnect", resolve).on("error", reject)),
  );
  const old = tls.connect({ port: portOf(running.address), host: "127.0.0.1", maxVersion: "TLSv1.2", ca: readFileSync(ca.cert) });
  await once(old, "secureConnect");
  old.end();
  await running.close();
  const peer = tls.createServer({ cert: readFileSync(server.cert), key: readFileSync(server.key) }, (socket) => socket.on("error", () => {}).on("data", (data) => socket.write(String(data).toUpperCase()))).listen(0);
  await once(peer, "listening");
  const connection = await connect(`tls://127.0.0.1:${peer.address().port}?framing=lines&ca=${ca.cert}`);
  assert.equal(String(await connection.call("hi")), "HI");
  await connection.close();
  peer.close();
});

test("a listener needs a certificate and its key, and says which file is missing", async () => {
  await assert.rejects(listen("tls://localhost:0"), { code: "invalid-address", message: /panpipe cert/ });
  await assert.rejects(listen("wss://localhost:0?cert=/nonexistent/a&key=/nonexistent/b"), { code: "not-found", message: /cert=\/nonexistent\/a/ });
  await assert.rejects(listen(`tls://localhost:0?cert=${server.cert}&key=${certificate().key}`), { code: "invalid-address" });
  await assert.rejects(listen(`tls://localhost:0?cert=${server.cert}&key=${server.cert}`), { code: "invalid-address" });
  await assert.rejects(connect(`tls://localhost:1?ca=${path("nothing")}`), { code: "not-found" });
  const running = await serve(`tls://localhost:0?${server.pair}`, service());
  await assert.rejects(connect(`${bare(running.address)}?ca=${path("nothing")}`), { code: "not-found" });
  await running.close();
});

test("a handshake takes at most the timeout, and giving up ends it", async () => {
  const silent = net.createServer((socket) => socket.on("error", () => {})).listen(0);
  await once(silent, "listening");
  const address = `tls://127.0.0.1:${silent.address().port}?ca=${ca.cert}`;
  await assert.rejects(connect(`${address}&timeout=50ms`), { code: "deadline-exceeded" });
  const controller = new AbortController();
  const connecting = assert.rejects(connect(address, { signal: controller.signal }), { code: "cancelled" });
  setTimeout(() => controller.abort(), 20);
  await connecting;
  silent.close();
});

test("a connection over TLS keeps no process alive that waits for nothing", async () => {
  const running = await serve(`tls://localhost:0?${server.pair}`, service());
  const { code, stdout } = await runAlone(`const peer = await connect("${bare(running.address)}?ca=${ca.cert}"); console.log(await peer.call("upper", "hi"));`);
  assert.deepEqual([code, stdout], [0, "HI\n"]);
  await running.close();
});
