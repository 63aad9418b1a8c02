// The peer of the panpipe protocol in Node.

import { appendFileSync } from "node:fs";

import { Service, options, serve } from "panpipe";
import { nextLine, readRequest, tell } from "./conversation.mjs";
import { clientRoles } from "./panpipe_client.mjs";

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

const client = clientRoles({ tell, nextLine });

const roles = {
  ...client,

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
    await client.check({ addresses: [...addresses, ...servers.map(({ address }) => address)] });
    await Promise.all(servers.map((server) => server.close()));
  },
};

const [role, address] = process.argv.slice(2);
await roles[role](address ?? (await readRequest()));
