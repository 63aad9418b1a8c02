// The peer of the panpipe protocol in Node.

import assert from "node:assert/strict";
import { appendFileSync } from "node:fs";

import { Lagged, PanpipeError, Service, connect, options, serve } from "panpipe";
import { nextLine, readRequest, tell } from "./conversation.mjs";

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const aborted = (signal) => new Promise((resolve) => (signal.aborted ? resolve() : signal.addEventListener("abort", resolve)));
const optional = (name) => ({ name, required: false });

class Trouble extends Error {
  name = "Trouble";
}

function makeService(log = null) {
  const counts = { stopped: new Map(), produced: new Map(), notes: new Map(), running: 0, most: 0 };
  const count = (counted, name) => counted.set(name, (counted.get(name) ?? 0) + 1);
  const service = new Service();
  const news = service.topic("news");
  const flooded = service.topic("flood");
  return service
    .plain((message) => message.map((byte) => (byte >= 0x61 && byte <= 0x7a ? byte - 32 : byte)))
    .method("upper", (text) => text.toUpperCase(), { params: ["text"] })
    .method("add", (a, b) => a + b, { params: ["a", "b"] })
    .method("echo", (bytes) => bytes, { params: ["bytes"] })
    .method("values", (value) => value, { params: ["value"] })
    .method("slow", async (ms) => (await pause(ms), ms), { params: ["milliseconds"] })
    .method(
      "fail",
      (text) => {
        throw Object.assign(new Trouble(text, { cause: new Trouble("deep") }), { data: [1, "two"] });
      },
      { params: ["text"] },
    )
    .method("relay", (context, method, value) => context.peer.call(method, value, options()), { params: ["method", "value"], context: true })
    .method(
      "hang",
      async ({ signal }, name) => {
        counts.most = Math.max(counts.most, ++counts.running);
        await aborted(signal);
        counts.running--;
        count(counts.stopped, name);
      },
      { params: [optional("name")], context: true },
    )
    .method("stopped", (name) => counts.stopped.get(name) ?? 0, { params: ["name"] })
    .method("most_running", () => counts.most, { params: [] })
    .method(
      "countdown",
      function* (from) {
        for (; from > 0; from--) yield from;
      },
      { params: ["from"] },
    )
    .method(
      "endless",
      async function* (name) {
        try {
          for (;;) {
            count(counts.produced, name);
            yield new Uint8Array(1000);
          }
        } finally {
          count(counts.stopped, name);
        }
      },
      { params: [optional("name")] },
    )
    .method("produced", (name) => counts.produced.get(name) ?? 0, { params: ["name"] })
    .method(
      "total",
      async ({ input }) => {
        let total = 0;
        for await (const number of input) total += number;
        return total;
      },
      { params: [], context: true },
    )
    .method(
      "double",
      async function* ({ input }) {
        for await (const number of input) yield 2 * number;
      },
      { params: [], context: true },
    )
    .method("swallow", ({ signal }) => aborted(signal), { params: [], context: true })
    .method("note", (name, number) => void (counts.notes.get(name) ?? counts.notes.set(name, []).get(name)).push(number), { params: ["name", "number"] })
    .method("notes", (name) => counts.notes.get(name) ?? [], { params: ["name"] })
    .method("publish", (item) => news.publish(item), { params: ["item"] })
    .method(
      "flood",
      async (name, times) => {
        for (let number = 0; number < times; number++) await flooded.publish([name, number, new Uint8Array(4096)]);
      },
      { params: ["name", "count"] },
    )
    .method(
      "begin",
      async (number, ms, bytes) => {
        if (log !== null) appendFileSync(log.path, `${number}\n`);
        if (ms > 0) await pause(ms);
        return [number, bytes];
      },
      { params: ["number", "milliseconds", "bytes"] },
    );
}

/** What servers call back. */
function ownService() {
  return new Service()
    .method("greet", (name) => `Hello, ${name}!`, { params: ["name"] })
    .method("left", ({ left }) => (left === Infinity ? null : Math.floor(left)), { context: true })
    .method("refuse", (text) => {
      throw new Trouble(text);
    });
}

let names = 0;
/** A name that no other client gives. */
const newName = () => `node ${process.pid} ${names++}`;

async function failure(outcome, code, ran) {
  const error = await outcome.then(
    (reply) => assert.fail(`it did not fail, but said ${reply}`),
    (reason) => reason,
  );
  assert.ok(error instanceof PanpipeError, error);
  assert.deepEqual([error.code, error.ran], [code, ran], error);
  return error;
}

async function untilStopped(peer, name) {
  while ((await peer.call("stopped", name)) === 0);
}

const checks = {
  async calls_are_answered(peer) {
    assert.equal(await peer.call("upper", "grüße, 世界"), "GRÜSSE, 世界");
  },

  async arguments_have_names(peer) {
    assert.equal(await peer.call("add", { named: { a: 40, b: 2 } }), 42);
    assert.equal(await peer.call("add", 40, { named: { b: 3 } }), 43);
  },

  async bytes_come_back(peer) {
    for (const size of [0, 1, 100_000, 700_000]) {
      const bytes = Buffer.from(Uint8Array.from({ length: size }, (_, at) => at % 251));
      const back = await peer.call("echo", bytes);
      assert.ok(back instanceof Uint8Array && bytes.equals(back), `${size} bytes`);
    }
  },

  async a_thousand_calls_have_a_reply_each(peer) {
    const numbers = Array.from({ length: 1000 }, (_, number) => number);
    const sums = await Promise.all(numbers.map((number) => peer.call("add", number, 1)));
    assert.deepEqual(sums, numbers.map((number) => number + 1));
  },

  async answers_come_in_any_order(peer) {
    const slow = peer.call("slow", 100);
    assert.equal(await Promise.race([slow, peer.call("slow", 0)]), 0);
    assert.equal(await slow, 100);
  },

  async an_unknown_method_was_not_run(peer) {
    await failure(peer.call("nothing"), "not-found", "no");
  },

  async arguments_that_do_not_fit_were_not_run(peer) {
    await failure(peer.call("add", 1), "invalid-arguments", "no");
    await failure(peer.call("add", 1, 2, 3), "invalid-arguments", "no");
  },

  async what_is_too_large_was_not_run(peer) {
    await failure(peer.call("echo", Buffer.alloc(17 << 20)), "too-large", "no");
    await checks.calls_are_answered(peer);
  },

  async an_error_travels_whole(peer) {
    const error = await failure(peer.call("fail", "oh no"), "remote", "maybe");
    assert.deepEqual([error.remoteMessage, error.type, error.data, error.cause?.remoteMessage], ["oh no", "Trouble", [1, "two"], "deep"]);
  },

  async an_error_says_through_whom_it_came(peer) {
    const error = await failure(peer.call("relay", "refuse", "not you"), "remote", "maybe");
    assert.deepEqual([error.remoteMessage, error.via.length], ["not you", 1]);
  },

  async a_handler_calls_back(peer) {
    const numbers = Array.from({ length: 100 }, (_, number) => `${number}`);
    const greetings = await Promise.all(numbers.map((number) => peer.call("relay", "greet", number)));
    assert.deepEqual(greetings, numbers.map((number) => `Hello, ${number}!`));
  },

  async a_deadline_goes_on_to_the_handlers_calls(peer) {
    const left = await peer.call("relay", "left", null, { timeout: 5000 });
    assert.ok(1 <= left && left <= 5100, left);
  },

  async a_deadline_reaches_the_handler(peer) {
    const name = newName();
    await failure(peer.call("hang", name, { timeout: 50 }), "deadline-exceeded", "maybe");
    await untilStopped(peer, name);
  },

  async giving_up_reaches_the_handler(peer) {
    const name = newName();
    const giving = new AbortController();
    const call = failure(peer.call("hang", name, { signal: giving.signal }), "cancelled", "maybe");
    await peer.flush();
    giving.abort();
    await call;
    await untilStopped(peer, name);
  },

  async a_stream_brings_its_items_and_its_end(peer) {
    let expected = 3000;
    for await (const item of peer.stream("countdown", 3000)) assert.equal(item, expected--);
    assert.equal(expected, 0);
  },

  async a_slow_consumer_stops_its_producer(peer) {
    const name = newName();
    const stream = peer.stream("endless", name);
    await stream.next();
    await checks.calls_are_answered(peer);
    const produced = await peer.call("produced", name);
    // A window of 262,144 bytes, and what was made before it was full.
    assert.ok(produced < 600, `${produced} items of 1,000 bytes for one that was taken`);
    for (let taken = 0; taken < 600; taken++) assert.equal((await stream.next()).done, false);
    await stream.return();
    await untilStopped(peer, name);
  },

  async arguments_stream(peer) {
    const numbers = Array.from({ length: 5000 }, (_, number) => number);
    assert.equal(await peer.call("total", { input: numbers }), 12_497_500);
  },

  async streams_go_both_ways(peer) {
    const waiting = [];
    let wake = () => {};
    const give = (number) => (waiting.push(number), wake());
    async function* given() {
      for (;;) {
        while (waiting.length === 0) await new Promise((resolve) => (wake = resolve));
        const number = waiting.shift();
        if (number === null) return;
        yield number;
      }
    }
    const doubles = peer.stream("double", { input: given() });
    for (const number of [-1, 20, 300]) {
      give(number);
      assert.equal((await doubles.next()).value, 2 * number);
    }
    give(null);
    assert.equal((await doubles.next()).done, true);
  },

  async one_way_messages_keep_their_order(peer) {
    const name = newName();
    for (let number = 0; number < 200; number++) await peer.send("note", name, number);
    await peer.flush();
    for (let notes = []; notes.length < 200; ) {
      notes = await peer.call("notes", name);
      assert.deepEqual(notes, [...notes.keys()]);
    }
  },

  async a_subscriber_gets_what_is_published(peer) {
    const name = newName();
    const news = await peer.subscribe("news");
    await peer.call("publish", [name, 1]);
    await peer.publish("news", [name, 2]);
    let expected = 1;
    for await (const [whose, number] of news) {
      // Others publish, too.
      if (whose !== name) continue;
      assert.equal(number, expected);
      if (expected++ === 2) break;
    }
  },

  async a_slow_subscriber_is_told_what_it_missed(peer) {
    const name = newName();
    const count = 500;
    const flood = await peer.subscribe("flood");
    await peer.call("flood", name, count);
    let [received, missed, last] = [0, 0, -1];
    for await (const item of flood) {
      if (item instanceof Lagged) missed += item.count;
      else {
        received++;
        if (item[0] === name) {
          assert.ok(last < item[1], `${item[1]} comes after ${last}`);
          last = item[1];
        }
      }
      // Others flood it, too.
      if (received + missed >= count) break;
    }
    assert.ok(missed > 0, `${received} received, and none missed`);
  },

  async an_unknown_topic_is_not_found(peer) {
    await failure(peer.subscribe("nothing"), "not-found", "no");
  },

  async a_service_describes_itself(peer) {
    const document = await peer.describe();
    const method = (name) => document.methods.find((each) => each.name === name);
    assert.deepEqual(method("add").params.map(({ name }) => name), ["a", "b"]);
    assert.equal(method("countdown")["x-panpipe"].stream, true);
    assert.ok(document["x-panpipe-topics"].includes("news"));
  },
};

/** A net: each check takes a fraction of it. */
const longest = 5_000;

async function run(address) {
  let peer;
  try {
    peer = await connect(address, { service: ownService() });
  } catch (error) {
    tell({ check: "connects", failed: String(error) });
    return tell(null);
  }
  for (const [check, does] of Object.entries(checks)) {
    let timer;
    const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error("it took too long")), longest)));
    const failed = await Promise.race([does(peer), late]).then(
      () => null,
      (error) => String(error?.stack ?? error),
    );
    clearTimeout(timer);
    tell({ check, failed });
  }
  await peer.close();
  tell(null);
}

const failureOf = ({ code, ran, message }) => ({ code: String(code), ran, text: message });
const failureIn = (done) => done.then(() => null, failureOf);

function begin(peer, began) {
  if (began === "call") return peer.call("wait");
  if (began === "subscription") return peer.subscribe("wait");
  return { items: peer.stream("wait") };
}

async function endOf(begun) {
  const brought = await begun;
  const items = brought?.items ?? brought;
  if (items?.[Symbol.asyncIterator]) for await (const item of items) void item;
}

const roles = {
  async child(address) {
    await (await serve(address, makeService())).done;
  },

  async serve({ addresses, log }) {
    const service = makeService(log);
    const servers = await Promise.all(addresses.map((address) => serve(address, service)));
    tell(servers.map(({ address }) => ({ address, pid: process.pid })));
    await Promise.race([nextLine(), new Promise((resolve) => process.once("SIGTERM", resolve))]);
    await Promise.all(servers.map((server) => server.close()));
    process.exit();
  },

  async check({ addresses, own }) {
    const servers = await Promise.all(own.map((address) => serve(address, makeService())));
    for (const address of [...addresses, ...servers.map(({ address }) => address)]) await run(address);
    await Promise.all(servers.map((server) => server.close()));
  },

  /** Hands each of so many values from its source to the server and what comes back to the source again. */
  async values({ source, address, count }) {
    const [from, server] = await Promise.all([connect(source), connect(address)]);
    for (let number = 0; number < count; number++) {
      tell(await failureIn(from.call("take", number).then((value) => server.call("values", value, options())).then((value) => from.call("back", value, options()))));
    }
    await Promise.all([from.close(), server.close()]);
  },

  /** Meets servers that break rules. */
  async meet({ meetings }) {
    for (const { address, began } of meetings) {
      try {
        const peer = await connect(address);
        const begun = began.map((each) => begin(peer, each));
        for (const each of begun) Promise.resolve(each).catch(() => {});
        const ends = [];
        // Nothing is taken of a stream before what was begun first has ended.
        for (const each of begun) ends.push(await failureIn(endOf(each)));
        tell(ends);
        await peer.close();
      } catch (error) {
        tell([failureOf(error)]);
      }
    }
  },

  /** Makes so many calls at once of each server that it is told of, which may be killed. */
  async killed({ calls }) {
    for (let address = await nextLine(); address !== undefined; address = await nextLine()) {
      const peer = await connect(address);
      const outcomes = { answered: [], no: [], maybe: [], crossed: [] };
      const call = async (number) => {
        const bytes = Buffer.alloc(1500, number);
        try {
          const [same, back] = await peer.call("begin", number, 0, bytes);
          if (same === number && bytes.equals(back)) outcomes.answered.push(number);
          else outcomes.crossed.push([number, same]);
        } catch (error) {
          outcomes[error.ran].push(number);
        }
      };
      await Promise.all(Array.from({ length: calls }, (_, number) => call(number)));
      tell(outcomes);
      await peer.close();
    }
  },
};

const [role, address] = process.argv.slice(2);
await roles[role](address ?? (await readRequest()));
