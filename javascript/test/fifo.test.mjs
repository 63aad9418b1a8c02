// FIFOs: any program writes and reads them, opening never hangs, and messages stay whole.

import assert from "node:assert/strict";
import { execFileSync, spawn as start } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import test from "node:test";

import { connect, listen, serve } from "panpipe";
import { path, until } from "./place.mjs";
import { run, runAlone } from "./running.mjs";

const lines = "framing=lines&text=true";

async function shell(script) {
  const child = start("sh", ["-c", script], { stdio: ["ignore", "pipe", "inherit"] });
  let stdout = "";
  child.stdout.on("data", (data) => (stdout += data));
  await once(child, "close");
  return stdout;
}

/** Whether nobody writes there. */
function isFree(path) {
  const fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  try {
    return fs.readSync(fd, Buffer.alloc(1)) === 0;
  } catch (error) {
    if (error.code === "EAGAIN") return false;
    throw error;
  } finally {
    fs.closeSync(fd);
  }
}

test("echo into the path is a message, and writers come and go", async () => {
  const at = path("f");
  const listener = await listen(`fifo:${at}?${lines}`);
  assert.equal(fs.statSync(at).mode & 0o777, 0o600);
  const peer = await listener.accept();
  for (const word of ["one", "two", "three"]) {
    await shell(`echo ${word} > ${at}`);
    assert.equal(await peer.recv(), word);
  }
  await assert.rejects(peer.recv({ timeout: 20 }), { code: "deadline-exceeded" });
  assert.equal(await listener.accept(), null);
  await peer.close();
  await until(() => !fs.existsSync(at), "the file goes");
  // And again.
  const again = await listen(`fifo:${at}?${lines}`);
  await shell(`echo again > ${at}`);
  assert.equal(await (await again.accept()).recv(), "again");
});

test("cat gets what is sent, and a file that was there stays", async () => {
  const at = path("f");
  execFileSync("mkfifo", [at]);
  const reading = shell(`cat ${at}`);
  const peer = await connect(`fifo:${at}?${lines}`);
  await peer.send("one");
  await peer.send("two");
  await peer.close();
  assert.equal(await reading, "one\ntwo\n");
  assert.ok(fs.existsSync(at));
});

test("echo and cat are answered again and again", async () => {
  const [at, back] = [path("f"), path("f")];
  const server = await serve(`fifo:${at}?reply=${back}&${lines}`, (message) => message.toUpperCase());
  for (const word of ["one", "two", "three"]) {
    assert.equal(await shell(`echo ${word} > ${at} & cat ${back}`), `${word.toUpperCase()}\n`);
  }
  const peer = await connect(server.address);
  assert.equal(await peer.call("four"), "FOUR");
  assert.equal(await peer.call("five"), "FIVE");
  await peer.close();
  // A shell does not wait until the listener has noticed.
  await until(() => isFree(back), "the listener ends the connection");
  assert.equal(await shell(`echo six > ${at} & cat ${back}`), "SIX\n");
  await server.close();
  assert.ok(!fs.existsSync(at) && !fs.existsSync(back));
});

test("what comes right after the end of the replies is the next connection's, from a new writer or the same", async () => {
  for (const [first, each] of [[() => ":", (at) => `> ${at} &`], [(at) => `exec 3> ${at}`, () => ">&3;"]]) {
    const [at, back] = [path("f"), path("f")];
    const listener = await listen(`fifo:${at}?reply=${back}&${lines}`);
    const rounds = Array.from({ length: 50 }, (_, round) => `round ${round}\n`);
    const answers = shell(`${first(at)}; for round in $(seq 0 49); do echo round $round ${each(at)} cat ${back}; done`);
    for (const _ of rounds) {
      const peer = await listener.accept();
      await peer.send(await peer.recv());
      await peer.close();
    }
    assert.equal(await answers, rounds.join(""));
    await listener.close();
  }
});

test("a connection begins when bytes have come and the replies are read, and not before", async () => {
  const [at, back] = [path("f"), path("f")];
  const listener = await listen(`fifo:${at}?reply=${back}&${lines}`);
  let peer = null;
  const accepting = listener.accept().then((accepted) => (peer = accepted));
  await shell(`: > ${at}`);
  await shell(`echo hello > ${at}`);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(peer, null);
  // Nothing is ever sent to it, and still it sees the end.
  const reading = shell(`cat ${back}`);
  await accepting;
  assert.deepEqual([await peer.recv(), await peer.recv()], ["hello", null]);
  await peer.close();
  assert.equal(await reading, "");
  await listener.close();
});

test("who connects waits until nobody writes the replies, and drops those that came too late", async () => {
  const [at, back] = [path("f"), path("f")];
  const listener = await listen(`fifo:${at}?reply=${back}&${lines}`);
  const held = fs.openSync(back, fs.constants.O_RDWR | fs.constants.O_NONBLOCK);
  fs.writeSync(held, "late\n");
  const address = `${listener.address}&timeout=50ms`;
  await assert.rejects(connect(address), { code: "deadline-exceeded", message: /did not end its last connection/ });
  await assert.rejects(connect(address, { signal: AbortSignal.abort() }), { code: "cancelled" });
  const connecting = connect(listener.address);
  fs.closeSync(held);
  const peer = await connecting;
  await peer.send("hello");
  const accepted = await listener.accept();
  await accepted.send("reply");
  assert.equal(await peer.recv(), "reply");
  await peer.close();
  await listener.close();
});

test("once=true with replies is one connection", async () => {
  const [at, back] = [path("f"), path("f")];
  const listener = await listen(`fifo:${at}?reply=${back}&once=true&${lines}`);
  const reading = shell(`echo one > ${at} & cat ${back}`);
  const peer = await listener.accept();
  assert.equal(await listener.accept(), null);
  await peer.send(await peer.recv());
  assert.equal(await peer.recv(), null);
  await peer.close();
  assert.equal(await reading, "one\n");
  await listener.close();
});

test("a writer that comes before its reader waits for it, and says so when it waits in vain", async () => {
  const at = path("f");
  execFileSync("mkfifo", [at]);
  await assert.rejects(connect(`fifo:${at}?timeout=50ms`), { code: "deadline-exceeded", message: /no reader has opened the FIFO/ });
  const connecting = connect(`fifo:${at}?${lines}`);
  const listener = await listen(`fifo:${at}?${lines}`);
  const [writer, reader] = [await connecting, await listener.accept()];
  await writer.send("hello");
  assert.equal(await reader.recv(), "hello");
  await writer.close();
  await reader.close();
  assert.ok(fs.existsSync(at));
});

test("one way is one way, and says so", async () => {
  const at = path("f");
  const listener = await listen(`fifo:${at}`);
  const [reader, writer] = [await listener.accept(), await connect(`fifo:${at}`)];
  for (const wrong of [reader.send("x"), reader.call("x")]) await assert.rejects(wrong, { code: "unsupported", message: /only reads; reply=/ });
  for (const wrong of [writer.recv(), writer.call("x")]) await assert.rejects(wrong, { code: "unsupported", message: /only writes; reply=/ });
  await writer.close();
  await reader.close();
});

test("two writers of frames of 4,096 bytes: none is torn, and one byte more is refused", async () => {
  const at = path("f");
  const listener = await listen(`fifo:${at}`);
  const reader = await listener.accept();
  const writers = ["a", "b"].map((letter) =>
    run(`
      const peer = await connect("fifo:${at}");
      for (let count = 0; count < 4000; count += 40) {
        await Promise.all(Array.from({ length: 40 }, (_, more) => peer.send(Buffer.alloc(more % 3 ? 4092 : 100, "${letter}"))));
      }
      console.log(await peer.send(Buffer.alloc(4093)).catch((error) => error.code));
      await peer.close();
    `),
  );
  const counts = { a: 0, b: 0 };
  for (let count = 0; count < 8000; count++) {
    const message = await reader.recv({ timeout: 30_000 });
    const letter = String.fromCharCode(message[0]);
    counts[letter]++;
    assert.ok(message.length === 4092 || message.length === 100);
    assert.ok(message.every((byte) => byte === message[0]));
  }
  assert.deepEqual(counts, { a: 4000, b: 4000 });
  for (const { closed } of writers) assert.equal((await closed).stdout, "too-large\n");
  await reader.close();
});

test("once=true ends with its writers, cleanly between messages and not inside one", async () => {
  for (const [text, end] of [["one\\n", null], ["half", "connection-lost"]]) {
    const at = path("f");
    const listener = await listen(`fifo:${at}?once=true&${lines}`);
    const peer = await listener.accept();
    await assert.rejects(peer.recv({ timeout: 20 }), { code: "deadline-exceeded" });
    await shell(`printf '${text}' > ${at}`);
    if (end === null) assert.equal(await peer.recv(), "one");
    assert.equal(await peer.recv().catch((error) => error.code), end);
    await peer.close();
  }
});

test("a reader that dies is an error of the writer, and no signal", async () => {
  const at = path("f");
  execFileSync("mkfifo", [at]);
  const reading = start("sh", ["-c", `exec cat ${at} >/dev/null`]);
  const peer = await connect(`fifo:${at}?${lines}`);
  await peer.send("x");
  reading.kill("SIGKILL");
  await once(reading, "exit");
  await until(async () => (await peer.send("y").catch((error) => error.code)) === "connection-lost", "an error");
  await peer.close();
});

test("what is no FIFO is left alone, what is not there is not-found, and a second listener is refused", async () => {
  const at = path("f");
  fs.writeFileSync(at, "mine");
  await assert.rejects(listen(`fifo:${at}`), { code: "address-in-use", message: /no FIFO/ });
  await assert.rejects(connect(`fifo:${at}`), { code: "refused", message: /no FIFO/ });
  assert.equal(fs.readFileSync(at, "utf8"), "mine");
  await assert.rejects(connect(`fifo:${path("f")}`), { code: "not-found" });
  await assert.rejects(listen("fifo:/nowhere/at/all"), { code: "not-found" });
  const other = path("f");
  const listener = await listen(`fifo:${other}`);
  await assert.rejects(listen(`fifo:${other}`), { code: "address-in-use", message: /another process reads/ });
  assert.ok(fs.existsSync(other));
  await (await listener.accept()).close();
  await assert.rejects(listen(`fifo:${other}?exclusive=true`), { code: "unsupported", message: /flock/ });
});

test("the file goes with the process, and kill -9 leaves one that the next listener takes", async () => {
  const [first, second] = [path("f"), path("f")];
  await run(`await listen("fifo:${first}"); process.exit();`).closed;
  assert.ok(!fs.existsSync(first));
  await run(`await listen("fifo:${second}"); process.kill(process.pid, "SIGKILL");`).closed;
  assert.ok(fs.existsSync(second));
  const listener = await listen(`fifo:${second}?${lines}`);
  await shell(`echo there > ${second}`);
  const peer = await listener.accept();
  assert.equal(await peer.recv(), "there");
  await peer.close();
});

test("idle FIFOs keep nobody alive, and none starts a thread", async () => {
  const [at, back] = [path("f"), path("f")];
  const { code, stdout, stderr } = await runAlone(`
    const threads = () => fs.readdirSync("/proc/self/task").length;
    const before = threads();
    const server = await serve("fifo:${at}?reply=${back}", (message) => message);
    const peer = await connect(server.address);
    for (let count = 0; count < 10; count++) await peer.call(Buffer.alloc(1000));
    await peer.close();
    await server.close();
    const listener = await listen("fifo:${at}");
    const writer = await connect("fifo:${at}");
    await writer.send("x");
    console.log(threads() - before);
  `);
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "0\n", stderr: "" });
});
