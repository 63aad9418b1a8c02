import assert from "node:assert/strict";
import { AsyncLocalStorage } from "node:async_hooks";
import { spawnSync } from "node:child_process";
import { closeSync, constants, existsSync, openSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import net from "node:net";
import test from "node:test";

import { Received, calm, descriptors, native, pair, path, python, run, seqpacket, until, writeAll } from "./native.mjs";

const open = (address, timeout = 5000) => native.open(address, { timeout });
const code = (code) => (error) => error instanceof Error && error.code === code && error.message.length > 0;

test("packets go both ways and keep their boundaries", async (t) => {
  const [ours, theirs] = await pair(t);
  const [atOurs, atTheirs] = [new Received(ours), new Received(theirs)];
  for (const text of ["a", "bcd", "ef"]) assert.equal(ours.write(Buffer.from(text)), true);
  assert.equal(theirs.write(new Uint8Array([1, 2])), true);
  await atTheirs.count(3);
  await atOurs.count(1);
  assert.deepEqual(atTheirs.packets.map(String), ["a", "bcd", "ef"]);
  assert.deepEqual([...atOurs.packets[0]], [1, 2]);
  assert.equal(atTheirs.surplus, 0);
  ours.close();
  await until(() => atTheirs.end, "the end");
  assert.equal(atTheirs.lost, null);
});

test("a plain Python program may listen", async (t) => {
  const at = path();
  const child = python(
    t,
    `
import socket, sys
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.bind(sys.argv[1]); server.listen()
print("listens")
peer, _ = server.accept()
while data := peer.recv(300000): peer.send(data.upper())
print("end")
`,
    at,
  );
  assert.equal(await child.line(), "listens");
  const link = await open(`unix-seqpacket:${at}`);
  assert.equal(link.remote.transport, "unix-seqpacket");
  assert.equal(link.remote.address, at);
  assert.equal(link.remote.uid, process.getuid());
  assert.equal(link.remote.gid, process.getgid());
  assert.equal(link.remote.pid, child.pid);
  const received = new Received(link);
  link.write(Buffer.from("hello"));
  link.write(Buffer.alloc(150_000, "x"));
  await received.count(2);
  assert.equal(String(received.packets[0]), "HELLO");
  assert.equal(received.packets[1].length, 150_000);
  link.close();
  assert.equal(await child.line(), "end");
});

test("a plain Python program may connect", async (t) => {
  const links = [];
  const listener = native.listen(seqpacket(), (link) => links.push(link));
  t.after(() => listener.close());
  const child = python(
    t,
    `
import socket, sys
peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
peer.connect(sys.argv[1])
peer.send(b"hello")
print(peer.recv(100).decode())
`,
    listener.address.slice("unix-seqpacket:".length),
  );
  await until(() => links.length, "the link");
  assert.equal(links[0].remote.pid, child.pid);
  const received = new Received(links[0]);
  await received.count(1);
  links[0].write(Buffer.from(String(received.packets[0]).toUpperCase()));
  assert.equal(await child.line(), "HELLO");
  await until(() => received.end, "the end");
});

test("ten thousand packets both ways arrive in order, however slow the readers are", async (t) => {
  const [ours, theirs] = await pair(t);
  const packets = Array.from({ length: 10_000 }, (_, index) => Buffer.alloc(1 + (index % 700), `${index} `));
  const ends = [
    [ours, new Received(ours)],
    [theirs, new Received(theirs)],
  ];
  const pausing = setInterval(() => {
    for (const [link] of ends) {
      link.pause();
      setTimeout(() => link.resume(), 2);
    }
  }, 5);
  t.after(() => clearInterval(pausing));
  await Promise.all(ends.map(([link]) => writeAll(link, packets)));
  for (const [, received] of ends) {
    await received.count(packets.length);
    assert.ok(Buffer.concat(received.packets).equals(Buffer.concat(packets)));
    assert.ok(received.packets.every((packet, index) => packet.length === packets[index].length));
  }
});

test("a paused reader makes the writer wait, and neither takes memory", async (t) => {
  const [ours, theirs] = await pair(t);
  const received = new Received(theirs);
  theirs.pause();
  const packet = Buffer.alloc(32 * 1024, "x");
  const before = process.memoryUsage().rss;
  let sent = 0;
  while (ours.write(packet)) sent++;
  for (let again = 0; again < 10_000; again++) assert.equal(ours.write(packet), false);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(sent > 0 && sent * packet.length <= 1024 * 1024, `${sent} packets were taken`);
  assert.ok(process.memoryUsage().rss - before < 32 * 1024 * 1024);
  assert.equal(received.packets.length, 0);
  let calls = 0;
  ours.onWritable(() => calls++);
  theirs.resume();
  await received.count(sent);
  await until(() => calls, "room");
  assert.ok(await calm());
  assert.equal(ours.write(packet), true);
  await received.count(sent + 1);
  assert.equal(calls, 1);
});

test("one turn brings many packets, and not more than it should", async (t) => {
  const [ours, theirs] = await pair(t);
  const received = new Received(theirs);
  await writeAll(ours, Array.from({ length: 5000 }, () => Buffer.alloc(1000)));
  await received.count(5000);
  assert.ok(received.turns.every(({ bytes, packets }) => packets <= 1024 && bytes < 1024 * 1024 + 1000));
  assert.ok(received.turns.length < 2500, `${received.turns.length} turns`);
});

test("pausing in the callback stops the next turn", async (t) => {
  const [ours, theirs] = await pair(t);
  let turns = 0;
  theirs.start(
    () => {
      turns++;
      theirs.pause();
    },
    () => {},
    () => {},
  );
  ours.write(Buffer.from("a"));
  await until(() => turns, "a turn");
  ours.write(Buffer.from("b"));
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(turns, 1);
  theirs.resume();
  await until(() => turns === 2, "the turn after the pause");
});

test("a peer that is killed ends the link", async (t) => {
  const links = [];
  const listener = native.listen(seqpacket(), (link) => links.push(link));
  t.after(() => listener.close());
  const connect = `
import socket, sys, time
peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
peer.connect(sys.argv[1])
print("connected")
time.sleep(60)
`;
  for (const leavesUnread of [false, true]) {
    const child = python(t, connect, listener.address.slice("unix-seqpacket:".length));
    assert.equal(await child.line(), "connected");
    await until(() => links.length, "the link");
    const link = links.pop();
    const received = new Received(link);
    if (leavesUnread) link.write(Buffer.from("never read"));
    child.kill("SIGKILL");
    await until(() => received.over, "the end");
    if (leavesUnread) assert.equal(received.lost.code, "connection-lost");
    else assert.equal(received.end, true);
    assert.ok(await calm());
    assert.throws(() => link.write(Buffer.from("too late")), code("connection-lost"));
    link.close();
  }
});

test("what was sent before a close arrives, though the closer has not read everything", async (t) => {
  const [ours, theirs] = await pair(t);
  theirs.write(Buffer.from("never read"));
  ours.write(Buffer.from("last"));
  ours.close();
  const received = new Received(theirs);
  await until(() => received.over, "the end");
  assert.deepEqual(received.packets.map(String), ["last"]);
  assert.equal(received.end, true);
});

test("opening says why it failed", async () => {
  await assert.rejects(open(`unix-seqpacket:@panpipe-nobody-${process.pid}`), code("refused"));
  await assert.rejects(open(seqpacket()), code("not-found"));
  await assert.rejects(open(`unix-seqpacket:/tmp/${"x".repeat(120)}`), code("path-too-long"));
  await assert.rejects(open("unix-seqpacket:"), code("invalid-address"));
  await assert.rejects(open("unix-seqpacket:a?colour=red"), code("unsupported"));
  await assert.rejects(open("no-such-scheme:a"), code("unsupported"));
  await assert.rejects(open("unix:/tmp/a"), code("unsupported"));
  const file = path();
  writeFileSync(file, "");
  await assert.rejects(open(`unix-seqpacket:${file}`), code("refused"));
  const address = seqpacket();
  const listener = native.listen(address, () => {});
  assert.throws(() => native.listen(address, () => {}), code("address-in-use"));
  assert.throws(() => native.listen("unix-seqpacket:/no/such/folder/s", () => {}), code("not-found"));
  listener.close();
});

test("opening waits for room in the backlog, and not beyond its timeout", async (t) => {
  const at = path();
  const child = python(
    t,
    `
import socket, sys
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.bind(sys.argv[1]); server.listen(0)
print("listens")
sys.stdin.readline()
peers = [server.accept()[0] for _ in range(2)]
print("accepted")
sys.stdin.readline()
`,
    at,
  );
  assert.equal(await child.line(), "listens");
  const first = await open(`unix-seqpacket:${at}`);
  await assert.rejects(open(`unix-seqpacket:${at}`, 30), code("deadline-exceeded"));
  const second = open(`unix-seqpacket:${at}`);
  child.stdin.write("\n");
  (await second).close();
  assert.equal(await child.line(), "accepted");
  first.close();
});

test("what no packet can be is refused, and the link lives on", async (t) => {
  const [ours, theirs] = await pair(t);
  const received = new Received(theirs);
  assert.throws(() => ours.write(Buffer.alloc(ours.largest + 1)), code("too-large"));
  assert.throws(() => ours.write(Buffer.alloc(0)), code("unsupported"));
  assert.equal(ours.write(Buffer.alloc(ours.largest)), true);
  await received.count(1);
  assert.equal(received.packets[0].length, ours.largest);
});

test("a closed link calls nothing back and refuses everything", async (t) => {
  const [ours, theirs] = await pair(t);
  const received = new Received(ours);
  theirs.write(Buffer.from("a"));
  ours.onWritable(() => assert.fail("called back"));
  ours.close();
  ours.close();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual([received.packets, received.over], [[], false]);
  assert.throws(() => ours.write(Buffer.from("b")), code("closed"));
  assert.throws(() => new Received(ours), code("closed"));
  assert.throws(() => ours.onWritable(() => {}), code("closed"));
  assert.equal(ours.remote.pid, process.pid);
});

test("a link may be closed in its own callbacks", async (t) => {
  for (let round = 0; round < 50; round++) {
    const [ours, theirs] = await pair(t);
    let calls = 0;
    theirs.start(
      () => {
        calls++;
        theirs.close();
      },
      () => calls++,
      () => calls++,
    );
    ours.write(Buffer.from("a"));
    ours.close();
    await until(() => calls, "the packet");
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(calls, 1);
  }
});

test("closing a listener removes its file, and links that it made live on", async (t) => {
  const links = [];
  const listener = native.listen(seqpacket(), (link) => links.push(link));
  const file = listener.address.slice("unix-seqpacket:".length);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const ours = await open(listener.address);
  await until(() => links.length, "the link");
  listener.close();
  listener.close();
  assert.equal(existsSync(file), false);
  await assert.rejects(open(listener.address), code("not-found"));
  const received = new Received(links[0]);
  ours.write(Buffer.from("still here"));
  await received.count(1);
  ours.close();
  t.after(() => links[0].close());
});

test("a thousand links leave no descriptor", async (t) => {
  const listener = native.listen(seqpacket(), (link) => {
    link.start(
      (slab) => link.write(slab),
      () => link.close(),
      () => link.close(),
    );
  });
  t.after(() => listener.close());
  const before = descriptors();
  for (let round = 0; round < 1000; round++) {
    const link = await open(listener.address);
    await new Promise((resolve, reject) => {
      link.start(resolve, reject, reject);
      link.onWritable(() => link.write(Buffer.from("a")));
    });
    link.close();
  }
  await until(() => descriptors() <= before, `${descriptors()} descriptors instead of ${before}`);
});

test("a hundred listeners leave no descriptor", async () => {
  const before = descriptors();
  for (let round = 0; round < 100; round++) native.listen(seqpacket(), () => {}).close();
  assert.ok(descriptors() <= before, `${descriptors()} descriptors instead of ${before}`);
});

test("no child process inherits a descriptor", async (t) => {
  const before = new Set(readdirSync("/proc/self/fd"));
  const [ours, theirs] = await pair(t);
  const listener = native.listen(seqpacket(), () => {});
  t.after(() => listener.close());
  const [, received] = [new Received(ours), new Received(theirs)];
  ours.onWritable(() => {});
  assert.equal(received.over, false);
  for (const fd of readdirSync("/proc/self/fd").filter((fd) => !before.has(fd))) {
    let flags;
    try {
      flags = parseInt(/^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "latin1"))[1], 8);
    } catch {
      // The descriptor that listed them.
      continue;
    }
    assert.ok((flags & 0o2000000) !== 0, `descriptor ${fd} is inherited`);
  }
});

test("callbacks run in the context that they were given in", async (t) => {
  const [ours, theirs] = await pair(t);
  const store = new AsyncLocalStorage();
  const seen = store.run("mine", () => new Promise((resolve) => theirs.start(() => resolve(store.getStore()), resolve, resolve)));
  ours.write(Buffer.from("a"));
  assert.equal(await seen, "mine");
});

test("one reader of a FIFO keeps others away until it closes", async () => {
  const fifo = path();
  spawnSync("mkfifo", [fifo]);
  const [first, second] = [0, 0].map(() => openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK));
  assert.equal(native.claimToRead(first), true);
  assert.equal(native.claimToRead(second), false);
  closeSync(first);
  assert.equal(native.claimToRead(second), true);
  closeSync(second);
  for (const fd of [-1, 99_999]) assert.throws(() => native.claimToRead(fd));
});

test("peerOf tells who is at the other end of Node's own sockets", async (t) => {
  const server = net.createServer((socket) => socket.resume()).listen(path());
  const other = net.createServer((socket) => socket.resume()).listen(0, "127.0.0.1");
  t.after(() => [server, other].forEach((each) => each.close()));
  await until(() => server.listening && other.listening, "the servers");
  for (const each of [server, other]) {
    const accepted = new Promise((resolve) => each.once("connection", resolve));
    const socket = net.connect(each === server ? { path: each.address() } : each.address());
    const ends = [socket, await accepted];
    for (const end of ends) {
      await until(() => !end.connecting, "the connection");
      const peer = native.peerOf(end._handle.fd);
      if (each === server) assert.deepEqual({ ...peer }, { uid: process.getuid(), gid: process.getgid(), pid: process.pid });
      else assert.equal(peer, null);
    }
    ends.forEach((end) => end.destroy());
  }
  const file = openSync("/dev/null");
  for (const fd of [-1, 99_999, file]) assert.equal(native.peerOf(fd), null);
  closeSync(file);
});

test("a listener without descriptors waits for them, and does not spin", () => {
  const script = `
    const fs = require("node:fs");
    const { spawn } = require("node:child_process");
    const address = "unix-seqpacket:@panpipe-emfile-" + process.pid;
    const child = spawn("python3", ["-uc", \`
import socket, sys
sys.stdin.readline()
peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
peer.connect("\\\\0" + sys.argv[1])
print("connected")
print(peer.recv(9).decode())
\`, address.slice("unix-seqpacket:@".length)]);
    let came = false;
    let text = "";
    const listener = native.listen(address, (link) => { came = true; link.write(Buffer.from("hello")); });
    child.stdout.on("data", async (data) => {
      text += data;
      if (text.endsWith("hello\\n")) { console.log("hello"); process.exit(0); }
      if (text !== "connected\\n") return;
      const used = process.cpuUsage();
      await new Promise((resolve) => setTimeout(resolve, 400));
      const { user, system } = process.cpuUsage(used);
      console.log(came ? "came" : "waits", user + system < 100_000 ? "calm" : "spins");
      fs.closeSync(taken.pop());
      fs.closeSync(taken.pop());
    });
    const taken = [];
    try { for (;;) taken.push(fs.openSync("/dev/null")); } catch (error) { console.log(error.code); }
    child.stdin.write("\\n");
  `;
  const { stdout, stderr } = run(script, { shell: "ulimit -n 60" });
  assert.equal(stdout, "EMFILE\nwaits calm\nhello\n", stderr);
});
