// Peers whose address says reconnect=true.

import assert from "node:assert/strict";
import test from "node:test";

import { Service, connect, pair, serve } from "panpipe";
import { Reconnecting } from "../dist/reconnecting.js";
import { path, until } from "./place.mjs";
import { run } from "./running.mjs";

const places = { tcp: () => "tcp://localhost:0", unix: () => `unix:${path()}`, mem: () => `mem:${path()}` };

function example() {
  const topic = {};
  const seen = { twice: 0 };
  const service = new Service()
    .method("upper", (text) => text.toUpperCase())
    .method("wait", () => new Promise(() => {}))
    .method("twice", () => (++seen.twice === 1 ? new Promise(() => {}) : "ran again"));
  topic.news = service.topic("news");
  return { service, seen, topic: topic.news };
}

for (const [name, place] of Object.entries(places)) {
  test(`${name}: a lost connection is made again, and everything finds its way`, async () => {
    const first = example();
    let server = await serve(place(), first.service);
    const { address } = server;
    const peer = await connect(`${address}?reconnect=true`);
    const states = [];
    peer.onState = (state) => states.push(state);
    const news = await peer.subscribe("news");
    await first.topic.publish("one");
    assert.equal((await news.next()).value, "one");
    const lost = assert.rejects(peer.call("wait"), { code: "connection-lost", ran: "maybe" });
    const again = peer.call("twice", { idempotent: true });
    await until(() => first.seen.twice === 1, "it runs once");
    await server.close({ grace: 0 });
    await lost;
    await until(() => peer.state === "reconnecting", "the end arrives");
    const parked = peer.call("upper", "later");
    await assert.rejects(peer.call("upper", "x", { timeout: 20 }), { code: "deadline-exceeded", ran: "no" });
    const controller = new AbortController();
    const cancelled = assert.rejects(peer.call("upper", "x", { signal: controller.signal }), { code: "cancelled", ran: "no" });
    controller.abort();
    await cancelled;
    await assert.rejects(peer.send("upper", "x"), { code: "connection-lost", ran: "no" });
    const second = example();
    second.seen.twice = 1;
    server = await serve(address, second.service);
    assert.equal(await parked, "LATER");
    assert.equal(await again, "ran again");
    await until(() => second.topic.subscribers === 1, "the subscription is renewed");
    await second.topic.publish("two");
    assert.equal((await news.next()).value, "two");
    assert.deepEqual(states, ["reconnecting", "connected"]);
    await peer.close();
    assert.equal(peer.state, "closed");
    await server.close();
  });
}

test("closing ends the attempts, and what waits with closed", async () => {
  const { service } = example();
  const server = await serve(`unix:${path()}`, service);
  const peer = await connect(`${server.address}?reconnect=true`);
  await server.close();
  await until(() => peer.state === "reconnecting", "the end arrives");
  const waiting = assert.rejects(peer.call("upper", "x"), { code: "closed", ran: "no" });
  await peer.close();
  await waiting;
});

test("without reconnect=true a lost connection stays lost", async () => {
  const [a, b] = pair();
  await b.close();
  await until(() => a.state === "closed", "the end arrives");
  await assert.rejects(a.call("upper"), { code: "connection-lost", ran: "no" });
  await a.close();
});

test("pauses double from 100 ms, to 250 ms here and to 5 s elsewhere, give or take a fifth", async () => {
  const { setTimeout: real } = globalThis;
  for (const [remote, longest] of [[true, 5000], [false, 250]]) {
    const pauses = [];
    const fails = new Promise((resolve) => {
      const attempts = new Reconnecting(async () => {
        if (pauses.length === 12) resolve(attempts.stop());
        throw new Error("nobody there");
      }, remote, () => {});
      globalThis.setTimeout = (act, ms) => (pauses.push(ms), real(act, 0));
      attempts.want(true);
      attempts.begin();
    });
    await fails;
    globalThis.setTimeout = real;
    assert.equal(pauses[0], 0);
    pauses.slice(1).forEach((pause, index) => {
      const meant = Math.min(100 * 2 ** index, longest);
      assert.ok(pause >= meant * 0.8 - 1e-9 && pause <= meant * 1.2 + 1e-9, `${pause} for ${meant}`);
    });
  }
});

test("a process that only reconnects exits by itself, and one that waits for a call does not", async () => {
  const { service } = example();
  let server = await serve(`unix:${path()}`, service);
  const { address } = server;
  const gone = run(`const peer = await connect("${address}?reconnect=true"); console.log("up"); peer.onState = console.log; await peer.call("wait").catch(() => {});`);
  const waits = run(`const peer = await connect("${address}?reconnect=true"); console.log("up"); await peer.call("wait").catch(() => {}); console.log(await peer.call("upper", "x"));`);
  await until(() => gone.out.stdout.includes("up") && waits.out.stdout.includes("up"), "both are there");
  await new Promise((resolve) => setTimeout(resolve, 100));
  await server.close({ grace: 0 });
  const { code, stdout } = await gone.closed;
  assert.deepEqual([code, stdout], [0, "up\nreconnecting\n"]);
  server = await serve(address, service);
  assert.deepEqual((await waits.closed).stdout, "up\nX\n");
  await server.close();
});

