// Connections over every transport and framing: order, ends, limits, giving up.

import assert from "node:assert/strict";
import net from "node:net";
import { once } from "node:events";
import test from "node:test";

import { PanpipeError, connect, listen, pair, serve } from "panpipe";
import { path, places, until, upper } from "./place.mjs";

const framings = ["raw", "lines", "nul", "length", "length:u8", "length:u16le", "length:u64ne", "netstring", "varint", "content-length"];

for (const [transport, place] of Object.entries(places)) {
  for (const framing of framings) {
    test(`${transport}, ${framing}: the founding example`, async () => {
      const server = await serve(place(`?framing=${framing}`), upper);
      const peer = await connect(server.address);
      const reply = await peer.call("Hello, server!");
      assert.ok(Buffer.isBuffer(reply));
      assert.equal(String(reply), "HELLO, SERVER!");
      await peer.close();
      await server.close();
    });
  }

  test(`${transport}: replies come in the order of many calls in flight`, async () => {
    // Slower for some than for others, and still in order.
    const server = await serve(place("?framing=varint"), async (message) => {
      if (message[0] % 7 === 0) await new Promise(setImmediate);
      return message;
    });
    const peer = await connect(server.address);
    const messages = Array.from({ length: 1000 }, (_, index) => Buffer.from([index & 255, index >> 8]));
    assert.deepEqual(await Promise.all(messages.map((message) => peer.call(message))), messages);
    await peer.close();
    await server.close();
  });

  test(`${transport}: large and small messages arrive whole`, async () => {
    const server = await serve(place("?max=8MiB"), (message) => message);
    const peer = await connect(server.address);
    const sizes = [0, 1, 16383, 16384, 65532, 65536, 1 << 20, 5_000_000, 3];
    const messages = sizes.map((size) => Buffer.alloc(size, `${size} `));
    const replies = await Promise.all(messages.map((message) => peer.call(message)));
    replies.forEach((reply, index) => assert.ok(reply.equals(messages[index]), `message ${sizes[index]}`));
    await peer.close();
    await server.close();
  });

  test(`${transport}: recv answers null once the peer closed between messages, and iteration ends`, async () => {
    const listener = await listen(place("?framing=lines&text=true"));
    const [peer, other] = await Promise.all([connect(listener.address), listener.accept()]);
    await peer.send("one");
    await peer.send("two");
    await peer.close();
    const seen = [];
    for await (const message of other) seen.push(message);
    assert.deepEqual(seen, ["one", "two"]);
    assert.equal(await other.recv(), null);
    await other.close();
    await listener.close();
    assert.equal((await listener[Symbol.asyncIterator]().next()).done, true);
    await assert.rejects(listener.accept(), { code: "closed" });
  });

  test(`${transport}: a silent client and a slow one delay nobody`, async () => {
    let release;
    const slow = new Promise((resolve) => (release = resolve));
    const server = await serve(place("?framing=lines"), async (message) => {
      if (String(message) === "slow") await slow;
      return message;
    });
    const [silent, waiting, quick] = await Promise.all([1, 2, 3].map(() => connect(server.address)));
    const late = waiting.call("slow");
    for (let round = 0; round < 20; round++) assert.equal(String(await quick.call("quick")), "quick");
    release();
    assert.equal(String(await late), "slow");
    await Promise.all([silent.close(), waiting.close(), quick.close()]);
    await server.close();
  });
}

test("a peer that has finished sending still gets its answers", async () => {
  const server = await serve("tcp://localhost:0?framing=lines", async (message) => {
    await new Promise(setImmediate);
    return upper(message);
  });
  const socket = net.connect(portOf(server.address));
  socket.end("a\nb\n");
  assert.equal(String(Buffer.concat(await socket.toArray())), "A\nB\n");
  await server.close();
});

test("the end inside a message is connection-lost", async () => {
  const listener = await listen("tcp://localhost:0?framing=length");
  const socket = net.connect(portOf(listener.address));
  const peer = await listener.accept();
  socket.end(Buffer.from([0, 0, 0, 9, 1]));
  await assert.rejects(peer.recv(), { code: "connection-lost", ran: "no" });
  await listener.close();
});

test("a server that goes away fails the calls in flight as maybe run", async () => {
  const server = net.createServer((socket) => socket.once("data", () => socket.destroy())).listen(path());
  await once(server, "listening");
  const peer = await connect(`unix:${server.address()}?protocol=plain`);
  await Promise.all(["a", "b"].map((text) => assert.rejects(peer.call(text), { code: "connection-lost", ran: "maybe" })));
  await assert.rejects(peer.call("c"), { code: "connection-lost", ran: "no" });
  server.close();
});

test("a timeout ends one call, and its late reply is dropped", async () => {
  let release;
  const server = await serve("tcp://localhost:0?protocol=plain", async (message) => {
    if (String(message) === "late") await new Promise((resolve) => (release = resolve));
    return message;
  });
  const peer = await connect(server.address);
  const started = performance.now();
  await assert.rejects(peer.call("late", { timeout: 30 }), { code: "deadline-exceeded", ran: "maybe", doing: `calling ${server.address}` });
  assert.ok(performance.now() - started >= 29);
  const next = peer.call("next");
  await until(() => release, "the handler has the late message");
  release();
  assert.equal(String(await next), "next");
  await peer.close();
  await server.close();
});

test("the timeout of the address is that of each call; a shorter one overtakes it", async () => {
  const listener = await listen(`unix:${path()}?protocol=plain`);
  const peer = await connect(`${listener.address}&timeout=40ms`);
  const order = [];
  const watch = (name, call) => call.catch((error) => order.push(`${name} ${error.code}`));
  await Promise.all([watch("address", peer.call("x")), watch("short", peer.call("x", { timeout: 5 })), watch("recv", peer.recv({ timeout: 20 }))]);
  assert.deepEqual(order, ["short deadline-exceeded", "recv deadline-exceeded", "address deadline-exceeded"]);
  await peer.close();
  await listener.close();
});

test("aborting ends a call and a recv, before and while they wait, and leaves no listener behind", async () => {
  const [a, b] = pair("?framing=lines");
  const controller = new AbortController();
  const { signal } = controller;
  let listeners = 0;
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...args) => (listeners++, addEventListener.apply(signal, args));
  signal.removeEventListener = (...args) => (listeners--, removeEventListener.apply(signal, args));
  const answered = a.call("x", { signal });
  await b.send(await b.recv());
  await answered;
  assert.equal(listeners, 0);
  const call = a.call("y", { signal });
  const recv = b.recv({ signal });
  assert.equal(String(await recv), "y");
  const lonely = b.recv({ signal });
  controller.abort();
  await assert.rejects(call, { code: "cancelled", ran: "maybe" });
  await assert.rejects(lonely, { code: "cancelled" });
  await assert.rejects(a.call("z", { signal }), { code: "cancelled", ran: "no" });
  await assert.rejects(a.send("z", { signal }), { code: "cancelled" });
  await assert.rejects(connect("tcp://localhost:1", { signal }), { code: "cancelled" });
  await a.send("after");
  assert.equal(String(await b.recv()), "after");
  await a.close();
  await b.close();
});

test("closing ends what waits with closed, and later use too", async () => {
  const [a, b] = pair("protocol=plain");
  const call = assert.rejects(a.call("x"), { code: "closed", ran: "maybe" });
  const recv = assert.rejects(a.recv(), { code: "closed" });
  await a.close();
  await a.close();
  await call;
  await recv;
  await assert.rejects(a.call("x"), { code: "closed", ran: "no" });
  await assert.rejects(a.send("x"), { code: "closed" });
  await assert.rejects(a.recv(), { code: "closed" });
  await b.close();
});

test("a peer, a listener and a server can be disposed of", async () => {
  const server = await serve("mem:disposed?protocol=plain", upper);
  const peer = await connect("mem:disposed?protocol=plain");
  await peer[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
  const listener = await listen("mem:disposed?protocol=plain");
  await listener[Symbol.asyncDispose]();
});

test("text mode is strings both ways, and bytes that are not UTF-8 fail one message", async () => {
  const server = await serve("tcp://localhost:0?framing=lines", (message) => (String(message) === "bytes" ? Buffer.from([0xff]) : String(message).toUpperCase()));
  const peer = await connect(`${server.address}&text=true`);
  assert.equal(await peer.call("grüße"), "GRÜSSE");
  await assert.rejects(peer.call("bytes"), { code: "bad-peer" });
  await assert.rejects(peer.send(Buffer.from([0xff])), { code: "unsupported", ran: "no" });
  assert.equal(await peer.call("on"), "ON");
  await peer.close();
  await server.close();
  const strings = await serve("tcp://localhost:0?framing=lines&text=true", (message) => `${typeof message} ${message}`);
  const other = await connect(strings.address);
  assert.equal(await other.call("x"), "string x");
  await other.close();
  await strings.close();
});

test("too large is refused by the sender and by the reader", async () => {
  const server = await serve("tcp://localhost:0?max=10&protocol=plain", upper);
  const small = await connect(server.address);
  await assert.rejects(small.call("12345678901"), { code: "too-large", ran: "no" });
  assert.equal(String(await small.call("1234567890")), "1234567890");
  const large = await connect(server.address.replace("max=10", "max=20"));
  const [warning, failed] = await Promise.allSettled([warned("PanpipePeerWarning"), large.call("12345678901")]);
  assert.match(warning.value.message, /too-large/);
  assert.equal(failed.reason.code, "connection-lost");
  assert.equal(String(await small.call("still")), "STILL");
  await Promise.all([small.close(), large.close()]);
  await server.close();
});

test("a reply above the reader's max is too-large there", async () => {
  const server = await serve("tcp://localhost:0?protocol=plain", () => Buffer.alloc(100));
  const peer = await connect(`${server.address}&max=99`);
  await assert.rejects(peer.call("x"), { code: "too-large", ran: "maybe" });
  await server.close();
});

test("a message that the framing cannot carry is refused, and the connection lives on", async () => {
  const [a, b] = pair("?framing=lines");
  await assert.rejects(a.send("a\nb"), { code: "unsupported", ran: "no" });
  await assert.rejects(a.send(42), { code: "unsupported" });
  await a.send("fine");
  assert.equal(String(await b.recv()), "fine");
});

test("a handler that fails closes its connection, is reported, and nobody else notices", async () => {
  for (const fail of [() => { throw new Error("no good"); }, async () => { throw new Error("no good"); }]) {
    const server = await serve("tcp://localhost:0?framing=lines", (message) => (String(message) === "fail" ? fail() : message));
    const [bad, good] = await Promise.all([connect(server.address), connect(server.address)]);
    const [warning, failed] = await Promise.allSettled([warned("PanpipeHandlerError"), bad.call("fail")]);
    assert.match(warning.value.message, /no good/);
    assert.equal(failed.reason.code, "connection-lost");
    assert.equal(String(await good.call("on")), "on");
    await Promise.all([bad.close(), good.close()]);
    await server.close();
  }
});

test("a handler that answers nothing sends nothing", async () => {
  const server = await serve("tcp://localhost:0?framing=lines", (message) => (String(message) === "quiet" ? null : message));
  const peer = await connect(server.address);
  await peer.send("quiet");
  assert.equal(String(await peer.call("loud")), "loud");
  await peer.close();
  await server.close();
});

test("closing a server lets the handler that runs reply", async () => {
  let reached;
  const running = new Promise((resolve) => (reached = resolve));
  let release;
  const server = await serve("tcp://localhost:0?protocol=plain", async (message) => {
    reached();
    await new Promise((resolve) => (release = resolve));
    return message;
  });
  const peer = await connect(server.address);
  const call = peer.call("last words");
  await running;
  const closed = server.close();
  release();
  assert.equal(String(await call), "last words");
  await closed;
  await assert.rejects(connect(server.address), { code: "refused" });
  await peer.close();
});

test("an HTTP request closes a TCP connection as bad-peer, in one piece or in many", async () => {
  for (const framing of ["raw", "lines", "length"]) {
    for (const pieces of [["GET / HTTP/1.1\r\nHost: x\r\n\r\n"], ["POS", "T /x HT", "TP/1.", "1\r\n\r\n"]]) {
      let handled = "";
      const server = await serve(`tcp://localhost:0?framing=${framing}&max=100KiB`, (message) => void (handled += message));
      const socket = net.connect(portOf(server.address)).setNoDelay(true);
      const warning = warned("PanpipePeerWarning");
      const ended = once(socket.resume(), "end");
      for (const piece of pieces) {
        socket.write(piece);
        await new Promise(setImmediate);
      }
      if (framing !== "length" || pieces.length === 1) assert.match((await warning).message, framing === "length" ? /bad-peer|too-large/ : /bad-peer: the peer speaks HTTP/);
      await ended;
      assert.ok(!handled.includes("HTTP/1.1"));
      socket.destroy();
      await server.close();
    }
  }
});

test("a message that only begins like HTTP is answered at once", async () => {
  const server = await serve("tcp://localhost:0?framing=raw", upper);
  const peer = await connect(server.address);
  assert.equal(String(await peer.call("GET well soon")), "GET WELL SOON");
  await peer.close();
  await server.close();
});

test("a reader that does not read makes sends wait, and a writer is not read without bound", async () => {
  const listener = await listen(`unix:${path()}?protocol=plain`);
  const [peer, other] = await Promise.all([connect(listener.address), listener.accept()]);
  // Each its own, so that memory which is reused too early shows.
  const message = (number) => Buffer.alloc(10_000, number);
  const before = process.memoryUsage().arrayBuffers;
  let sent = 0;
  let waits = false;
  while (!waits && sent < 100_000) {
    const send = peer.send(message(sent));
    sent++;
    waits = await Promise.race([send.then(() => false), new Promise((resolve) => setTimeout(resolve, 100, true))]);
  }
  assert.ok(waits, "sends never waited");
  assert.ok(sent * 10_000 < 4 << 20, `${sent * 10_000} bytes were taken`);
  await assert.rejects(peer.call("no room", { timeout: 20 }), { code: "deadline-exceeded", ran: "no" });
  assert.ok(process.memoryUsage().arrayBuffers - before < 16 << 20);
  for (let received = 0; received < sent; received++) assert.ok((await other.recv()).equals(message(received)), `message ${received}`);
  await peer.send("end");
  assert.equal(String(await other.recv()), "end");
  await peer.close();
  await other.close();
  await listener.close();
});

test("while a handler is busy its connection is not read without bound", async () => {
  let release;
  const server = await serve(`unix:${path()}?framing=length`, async () => {
    await new Promise((resolve) => (release = resolve));
    throw new Error("enough");
  });
  const socket = net.connect(server.address.slice(5).split("?")[0]);
  socket.on("error", () => {});
  await once(socket, "connect");
  const before = process.memoryUsage().arrayBuffers;
  const chunk = Buffer.concat(Array.from({ length: 1000 }, () => Buffer.from([0, 0, 0, 1, 65])));
  let written = 0;
  for (let full = 0; full < 20 && written < 50_000_000; ) {
    if (socket.write(chunk)) written += chunk.length;
    else {
      written += chunk.length;
      full = (await Promise.race([once(socket, "drain"), new Promise((resolve) => setTimeout(resolve, 100, "full"))])) === "full" ? 20 : 0;
    }
  }
  assert.ok(written < 5_000_000, `${written} bytes were read ahead`);
  assert.ok(process.memoryUsage().arrayBuffers - before < 8 << 20);
  const warning = warned("PanpipeHandlerError");
  release();
  await warning;
  socket.destroy();
  await server.close();
});

test("a sender may change a message once send is done", async () => {
  const listener = await listen(`unix:${path()}?protocol=plain`);
  const [peer, other] = await Promise.all([connect(listener.address), listener.accept()]);
  const message = Buffer.alloc(700_000, 1);
  const sent = peer.send(message).then(() => message.fill(2));
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok((await other.recv()).every((byte) => byte === 1));
  await sent;
  await peer.close();
  await other.close();
  await listener.close();
});

test("messages do not change when more arrives", async () => {
  const server = await serve("tcp://localhost:0?protocol=plain", (message) => message);
  const peer = await connect(server.address);
  const kept = [];
  for (let round = 0; round < 300; round++) kept.push(await peer.call(Buffer.alloc(1000, round)));
  kept.forEach((message, round) => assert.ok(message.every((byte) => byte === (round & 255))));
  await peer.close();
  await server.close();
});

test("many errors are one class with what was being done", async () => {
  await assert.rejects(connect("tcp://localhost:1"), (error) => {
    assert.ok(error instanceof PanpipeError && error instanceof Error);
    assert.match(error.message, /^connecting to tcp:\/\/localhost:1: refused: /);
    assert.doesNotMatch(error.message, /failed to|\.$/);
    assert.equal(error.address, "tcp://localhost:1");
    return true;
  });
});

function portOf(address) {
  return { host: "127.0.0.1", port: Number(/:(\d+)(\?|$)/.exec(address)[1]), allowHalfOpen: true };
}

function warned(name) {
  return new Promise((resolve) => {
    const look = (warning) => {
      if (warning.name !== name) return;
      process.off("warning", look);
      resolve(warning);
    };
    process.on("warning", look);
  });
}
