// Unix packets: without the addon they say what is missing; with it they are links as any other.

import assert from "node:assert/strict";
import fs from "node:fs";
import { join } from "node:path";
import test from "node:test";

import { methods } from "panpipe";
import { path } from "./place.mjs";
import { runAlone } from "./running.mjs";

const schemes = ["unix-seqpacket", "unix-dgram"];

/** Runs a script with a copy of panpipe that finds this addon and no other. */
function runWith(addon, script) {
  const folder = path("copy");
  const modules = join(folder, "node_modules", "@panpipe", "native");
  fs.cpSync(new URL("../dist/", import.meta.url), join(folder, "dist"), { recursive: true });
  fs.cpSync(new URL("../package.json", import.meta.url), join(folder, "package.json"));
  if (addon !== null) fs.mkdirSync(modules, { recursive: true });
  if (addon !== null) fs.writeFileSync(join(modules, "index.js"), addon);
  return runAlone(script, { env: { ...process.env, NODE_PATH: "" } }, join(folder, "dist", "index.js"));
}

// The addon as its contract says, inside one process: packets, and no room for more than a few.
const fake = `
  const listeners = new Map();
  const fail = (code, message) => Object.assign(new Error(message), { code });
  class Link {
    remote = { transport: "fake", uid: 1 };
    largest = 1000;
    queue = [];
    start(onPackets, onEnd, onLost) { Object.assign(this, { onPackets, onEnd, onLost }); this.deliver(); }
    write(packet) {
      if (this.other.closed) throw fail("connection-lost", "the other end has gone");
      if (this.other.queue.length >= 3) return false;
      this.other.queue.push(Buffer.from(packet));
      this.other.deliver();
      return true;
    }
    onWritable(callback) { this.writable = callback; }
    deliver() {
      setImmediate(() => {
        if (this.onPackets === undefined || this.paused || this.closed || this.queue.length === 0) return;
        const packets = this.queue.splice(0);
        this.onPackets(Buffer.concat(packets), Uint32Array.from(packets, ({ length }) => length));
        const writable = this.other.writable;
        this.other.writable = undefined;
        writable?.();
      });
    }
    pause() { this.paused = true; }
    resume() { this.paused = false; this.deliver(); }
    ref() { this.alive ??= setInterval(() => {}, 1e6); }
    unref() { clearInterval(this.alive); this.alive = undefined; }
    close() { this.closed = true; this.unref(); setImmediate(() => this.other.onEnd?.()); }
  }
  exports.open = async (address) => {
    const onLink = listeners.get(address.split("?")[0]);
    if (onLink === undefined) throw fail("refused", "nobody listens there");
    const [a, b] = [new Link(), new Link()];
    a.other = b;
    b.other = a;
    onLink(b);
    return a;
  };
  exports.listen = (address, onLink) => {
    const [where, options] = address.split("?");
    const name = where.replace("*", "free");
    if (listeners.has(name)) throw fail("address-in-use", "somebody listens there");
    listeners.set(name, onLink);
    let alive = setInterval(() => {}, 1e6);
    return { address: options ? name + "?" + options : name, ref() {}, unref() { clearInterval(alive); }, close() { clearInterval(alive); listeners.delete(name); } };
  };
`;

test("they are known, and say which addon is missing", async () => {
  for (const scheme of schemes) assert.ok(methods().some((method) => method.scheme === scheme));
  const { stdout } = await runWith(
    null,
    `
    for (const scheme of ${JSON.stringify(schemes)}) {
      await connect(scheme + ":a").catch((error) => console.log(error.code, error.message));
      await listen(scheme + ":@b").catch((error) => console.log(error.code, error.message));
    }
  `,
  );
  const why = (scheme) => `unsupported: ${scheme} needs the optional addon @panpipe/native: npm install @panpipe/native\n`;
  const expected = schemes.map((scheme) => `unsupported connecting to ${scheme}:a: ${why(scheme)}unsupported listening on ${scheme}:@b: ${why(scheme)}`);
  assert.equal(stdout, expected.join(""));
});

test("without the addon allow= is unsupported, and a Unix socket's peer is not known", async () => {
  const at = path();
  const { stdout } = await runWith(
    null,
    `
    await listen("unix:${at}?allow=uid:1&protocol=plain").catch((error) => console.log(error.code, error.message));
    const listener = await listen("unix:${at}?protocol=plain");
    console.log((await connect("unix:${at}?protocol=plain")).remote, (await listener.accept()).remote);
    await listener.close();
  `,
  );
  const why = "allow= needs the optional addon @panpipe/native: npm install @panpipe/native";
  assert.equal(stdout, `unsupported listening on unix:${at}?allow=uid:1&protocol=plain: unsupported: ${why}\n{ transport: 'unix' } { transport: 'unix' }\n`);
});

test("an addon that does not load says why", async () => {
  const { stdout } = await runWith(`throw new Error("another libc")`, `await connect("unix-dgram:a").catch((error) => console.log(error.code, error.message));`);
  assert.equal(stdout, "unsupported connecting to unix-dgram:a: unsupported: unix-dgram needs the optional addon @panpipe/native: it is there and does not load: another libc\n");
});

test("links of the addon are links as any other", async () => {
  const { code, stdout, stderr } = await runWith(
    fake,
    `
    const tell = (promise) => promise.then(String, (error) => error.code + " " + error.ran).then(console.log);
    await tell(connect("unix-seqpacket:@nobody?protocol=plain"));
    const server = await serve("unix-seqpacket:@x*?text=true&protocol=plain", (message) => message.toUpperCase());
    console.log(server.address);
    await tell(listen("unix-seqpacket:@xfree?protocol=plain"));
    const peer = await connect(server.address);
    console.log(JSON.stringify(peer.remote));
    const words = Array.from({ length: 100 }, (_, index) => "word" + index);
    const replies = await Promise.all(words.map((word) => peer.call(word)));
    console.log(replies.every((reply, index) => reply === words[index].toUpperCase()));
    await tell(peer.send(""));
    await tell(peer.call("x".repeat(1001)));
    await peer.close();
    await server.close();
    const datagrams = await serve("unix-dgram:d", (message) => message);
    const other = await connect(datagrams.address);
    console.log((await other.call("")).length);
    datagrams.close();
    await tell(other.recv());
    await tell(other.send("x"));
  `,
  );
  assert.equal(
    stdout,
    `refused no
unix-seqpacket:@xfree?text=true&protocol=plain
address-in-use no
{"transport":"fake","uid":1}
true
unsupported no
too-large no
0
null
undefined
`,
    stderr,
  );
  assert.equal(code, 0);
});
