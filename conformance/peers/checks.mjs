// What every client in JavaScript checks of the standard service, in Node and in a page.

import { Lagged, PanpipeError, Service, connect } from "panpipe";
import * as assert from "./assert.mjs";
import { same } from "./same.mjs";

/** What servers call back. */
function ownService() {
  return new Service()
    .method("greet", (name) => `Hello, ${name}!`, { params: ["name"] })
    .method("left", ({ left }) => (left === Infinity ? null : Math.floor(left)), { context: true })
    .method("refuse", (text) => {
      throw new Error(text);
    });
}

/** A name that no other client gives. */
const newName = () => crypto.randomUUID();

async function failure(outcome, code, ran) {
  const error = await outcome.then(
    (reply) => assert.ok(false, `it did not fail, but said ${reply}`),
    (reason) => reason,
  );
  assert.ok(error instanceof PanpipeError, error);
  assert.equal([error.code, error.ran], [code, ran], error);
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
      const bytes = Uint8Array.from({ length: size }, (_, at) => at % 251);
      assert.ok(same(bytes, await peer.call("echo", bytes)), `${size} bytes`);
    }
  },

  async a_thousand_calls_have_a_reply_each(peer) {
    const numbers = Array.from({ length: 1000 }, (_, number) => number);
    const sums = await Promise.all(numbers.map((number) => peer.call("add", number, 1)));
    assert.equal(sums, numbers.map((number) => number + 1));
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
    await failure(peer.call("echo", new Uint8Array(17 << 20)), "too-large", "no");
    await checks.calls_are_answered(peer);
  },

  async an_error_travels_whole(peer) {
    const error = await failure(peer.call("fail", "oh no"), "remote", "maybe");
    assert.equal([error.remoteMessage, error.type, error.data, error.cause?.remoteMessage], ["oh no", "Trouble", [1, "two"], "deep"]);
  },

  async an_error_says_through_whom_it_came(peer) {
    const error = await failure(peer.call("relay", "refuse", "not you"), "remote", "maybe");
    assert.equal([error.remoteMessage, error.via.length], ["not you", 1]);
  },

  async a_handler_calls_back(peer) {
    const numbers = Array.from({ length: 100 }, (_, number) => `${number}`);
    const greetings = await Promise.all(numbers.map((number) => peer.call("relay", "greet", number)));
    assert.equal(greetings, numbers.map((number) => `Hello, ${number}!`));
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
      assert.equal(notes, [...notes.keys()]);
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
    assert.equal(method("add").params.map(({ name }) => name), ["a", "b"]);
    assert.equal(method("countdown")["x-panpipe"].stream, true);
    assert.ok(document["x-panpipe-topics"].includes("news"));
  },
};

/** A net: each check takes a fraction of it. */
const longest = 5_000;

/** Does every check at `address`, and tells of each, and of the last by null. */
export async function checkAll(address, tell) {
  let peer;
  try {
    peer = await connect(address, { service: ownService() });
  } catch (error) {
    await tell({ check: "connects", failed: String(error) });
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
    await tell({ check, failed });
  }
  await peer.close();
  await tell(null);
}
