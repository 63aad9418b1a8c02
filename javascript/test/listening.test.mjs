// Where one can listen and connect, what the socket file is, and what each obstacle is called.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import dns from "node:dns/promises";
import fs from "node:fs";
import net from "node:net";
import { once } from "node:events";
import { basename, dirname, join } from "node:path";
import test from "node:test";

import { connect, listen, serve } from "panpipe";
import { directory, path, until, upper } from "./place.mjs";

const mode = (file) => (fs.lstatSync(file).mode & 0o7777).toString(8);

/** A socket file that a process left behind when it was killed. */
function stale() {
  const file = path("stale");
  spawnSync(process.execPath, ["-e", `require("net").createServer().listen(${JSON.stringify(file)}, () => process.kill(process.pid, "SIGKILL"))`]);
  return file;
}

test("nobody listens: refused", async () => {
  await assert.rejects(connect("tcp://127.0.0.1:1"), { code: "refused", ran: "no", doing: "connecting to tcp://127.0.0.1:1" });
  await assert.rejects(connect("unix:@nobody-listens-here"), { code: "refused" });
  await assert.rejects(connect("mem:nobody"), { code: "refused" });
});

test("nothing is there: not-found", async () => {
  await assert.rejects(connect(`unix:${path()}`), { code: "not-found" });
  await assert.rejects(listen(`unix:${path()}/in/no/directory`), { code: "not-found" });
  await assert.rejects(connect("tcp://no-such-host.invalid:1?insecure=true"), { code: "not-found" });
  await assert.rejects(connect("fd:999"), { code: "not-found" });
  await assert.rejects(listen("fd:999"), { code: "not-found" });
});

test("somebody listens already: address-in-use", async () => {
  for (const address of ["tcp://127.0.0.1:0", "tcp://localhost:0", `unix:${path()}`, "unix:@panpipe-in-use-*", "mem:in-use"]) {
    const listener = await listen(address);
    await assert.rejects(listen(listener.address), { code: "address-in-use", doing: `listening on ${listener.address}` });
    await listener.close();
    await (await listen(listener.address)).close();
  }
});

test("a path of any length works, and a name that is too long is path-too-long", async () => {
  const limit = 107 - Buffer.byteLength(`${directory}/`);
  const longest = join(directory, "é".repeat(limit >> 1) + (limit % 2 === 0 ? "" : "x"));
  assert.equal(Buffer.byteLength(longest), 107);
  const server = await serve(`unix:${encodeURI(longest)}?protocol=plain`, upper);
  const peer = await connect(server.address);
  assert.equal(String(await peer.call("x")), "X");
  await peer.close();
  await server.close();
  assert.ok(!fs.existsSync(longest));
  // As long in its directory, where there is no room for the private directory that the file is born in.
  const deep = join(directory, "d".repeat(limit - 2));
  fs.mkdirSync(deep);
  await (await listen(`unix:${deep}/s?protocol=plain`)).close();
  assert.deepEqual(fs.readdirSync(deep), []);
  const far = join(directory, "e".repeat(100), "f".repeat(100));
  fs.mkdirSync(far, { recursive: true });
  const long = await serve(`unix:${far}/s?protocol=plain`, upper);
  await assert.rejects(listen(`unix:${far}/s`), { code: "address-in-use" });
  const there = await connect(long.address);
  assert.equal(String(await there.call("x")), "X");
  await there.close();
  await long.close();
  assert.deepEqual(fs.readdirSync(far), []);
  for (const open of [connect, listen]) {
    await assert.rejects(open(`unix:${directory}/${"x".repeat(104)}`), { code: "path-too-long" });
    await assert.rejects(open(`unix:@${"x".repeat(108)}`), { code: "path-too-long" });
  }
});

test("the system says no: permission", () => {
  // As nobody, because root is refused nothing.
  const locked = path("locked");
  fs.mkdirSync(locked, { mode: 0o700 });
  fs.chmodSync(directory, 0o755);
  const script = `
    import { connect, listen } from ${JSON.stringify(import.meta.resolve("panpipe"))};
    for (const open of [connect, listen]) await open("unix:${locked}/s").then(() => console.log("none"), (error) => console.log(error.code));
  `;
  const asNobody = process.getuid() === 0 ? { uid: 65534, gid: 65534 } : {};
  if (process.getuid() !== 0) fs.chmodSync(locked, 0);
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8", cwd: "/", ...asNobody });
  assert.equal(stdout, "permission\npermission\n", stderr);
});

test("off loopback needs insecure=true, in numbers and in names", async (t) => {
  t.mock.method(dns, "lookup", async () => [{ address: "127.0.0.1" }, { address: "192.0.2.1" }]);
  await assert.rejects(connect("tcp://some.host:1"), { code: "invalid-address", message: /192\.0\.2\.1 .*insecure=true/ });
  await assert.rejects(listen("tcp://some.host:0"), { code: "invalid-address" });
  await assert.rejects(listen("tcp://0.0.0.0:0"), { code: "invalid-address" });
  await assert.rejects(connect("tcp://[::]:1"), { code: "invalid-address" });
  await (await listen("tcp://0.0.0.0:0?insecure=true&protocol=plain")).close();
  await (await listen("tcp://127.8.9.1:0?protocol=plain")).close();
});

test("a connection that nobody accepts in time: busy, after the timeout", async (t) => {
  // A Unix socket whose queue is full: nobody accepts, and one may wait.
  const file = path();
  const script = `import socket, sys, time; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(0); print("ready", flush=True); time.sleep(60)`;
  const child = spawn("python3", ["-c", script, file], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  await once(child.stdout, "data");
  const waiting = [];
  const started = performance.now();
  let failure;
  for (let count = 0; count < 10 && failure === undefined; count++) {
    await connect(`unix:${file}?timeout=100ms&protocol=plain`).then((peer) => waiting.push(peer), (error) => (failure = error));
  }
  assert.equal(failure?.code, "busy");
  assert.ok(performance.now() - started >= 50);
});

test("localhost listens on both families with one port, and connects to whichever answers", async () => {
  const server = await serve("tcp://localhost:0?framing=lines", upper);
  const port = Number(/:(\d+)\?/.exec(server.address)[1]);
  assert.match(server.address, /^tcp:\/\/localhost:\d+\?framing=lines$/);
  for (const host of ["127.0.0.1", ...(hasIpv6() ? ["[::1]"] : [])]) {
    const peer = await connect(`tcp://${host}:${port}?framing=lines`);
    assert.equal(String(await peer.call("x")), "X");
    await peer.close();
  }
  await server.close();
  if (!hasIpv6()) return;
  const six = await serve("tcp://[::1]:0?protocol=plain", upper);
  const peer = await connect(six.address.replace("[::1]", "localhost"));
  assert.equal(String(await peer.call("x")), "X");
  assert.match(peer.remote.address, /^\[::1\]:\d+$/);
  await peer.close();
  await six.close();
});

test("a name that does not resolve in time: deadline-exceeded", async (t) => {
  t.mock.method(dns, "lookup", () => new Promise(() => {}));
  await assert.rejects(connect("tcp://slow.host:1?timeout=20ms"), { code: "deadline-exceeded", ran: "no" });
  const controller = new AbortController();
  const connecting = assert.rejects(connect("tcp://slow.host:1", { signal: controller.signal }), { code: "cancelled" });
  controller.abort();
  await connecting;
});

test("an empty host is loopback", async () => {
  const listener = await listen("tcp://:0?protocol=plain");
  assert.match(listener.address, /^tcp:\/\/localhost:\d+\?protocol=plain$/);
  await listener.close();
});

test("a socket file has mode 0600 or what mode= says, and goes when the listener closes", async () => {
  for (const [option, expected] of [["", "600"], ["?mode=0660", "660"], ["?mode=0606", "606"]]) {
    const file = path();
    const listener = await listen(`unix:${file}${option}`);
    assert.equal(mode(file), expected);
    assert.deepEqual(fs.readdirSync(dirname(file)).filter((name) => name.startsWith(".panpipe-")), []);
    await listener.close();
    assert.ok(!fs.existsSync(file));
  }
});

test("making a socket file leaves the umask alone", async () => {
  const before = process.umask();
  const opening = listen(`unix:${path()}?protocol=plain`);
  assert.equal(process.umask(), before);
  await (await opening).close();
});

test("a stale socket file is replaced", async () => {
  const file = stale();
  assert.ok(fs.lstatSync(file).isSocket());
  await assert.rejects(connect(`unix:${file}`), { code: "refused" });
  const server = await serve(`unix:${file}?protocol=plain`, upper);
  const peer = await connect(server.address);
  assert.equal(String(await peer.call("x")), "X");
  await peer.close();
  await server.close();
});

test("of many who replace a stale file at once, one wins and is reached", async () => {
  const file = stale();
  const results = await Promise.allSettled(Array.from({ length: 8 }, (_, index) => serve(`unix:${file}?protocol=plain`, () => `${index}`)));
  const winners = results.flatMap((result, index) => (result.status === "fulfilled" ? [{ index, server: result.value }] : []));
  assert.equal(winners.length, 1);
  for (const result of results) if (result.status === "rejected") assert.equal(result.reason.code, "address-in-use");
  const peer = await connect(`unix:${file}?protocol=plain`);
  assert.equal(String(await peer.call("x")), String(winners[0].index));
  await peer.close();
  await winners[0].server.close();
});

test("a live socket of somebody else is never stolen", async () => {
  const file = path();
  const other = net.createServer((socket) => socket.on("error", () => {}).end("mine")).listen(file);
  await once(other, "listening");
  const { ino } = fs.lstatSync(file);
  await assert.rejects(listen(`unix:${file}`), { code: "address-in-use" });
  assert.equal(fs.lstatSync(file).ino, ino);
  assert.equal(String(Buffer.concat(await net.connect(file).toArray())), "mine");
  other.close();
});

test("a file that is no socket is never removed", async () => {
  const file = path();
  fs.writeFileSync(file, "precious");
  await assert.rejects(listen(`unix:${file}`), { code: "address-in-use", message: /not a socket/ });
  assert.equal(fs.readFileSync(file, "utf8"), "precious");
});

test("closing removes only our own file", async () => {
  const file = path();
  const first = await listen(`unix:${file}?protocol=plain`);
  fs.unlinkSync(file);
  const second = await serve(`unix:${file}?protocol=plain`, upper);
  await first.close();
  const peer = await connect(second.address);
  assert.equal(String(await peer.call("x")), "X");
  await peer.close();
  await second.close();
});

test("a trailing * picks a free name, which the listener tells", async () => {
  const listeners = await Promise.all([1, 2].map(() => listen(`unix:${directory}/free%20name-*?framing=lines`)));
  const names = listeners.map((listener) => decodeURIComponent(listener.address.slice(5).split("?")[0]));
  assert.notEqual(names[0], names[1]);
  for (const name of names) assert.match(basename(name), /^free name-[0-9a-f]{8}$/);
  for (const listener of listeners) await Promise.all([connect(listener.address).then((peer) => peer.close()), listener.accept().then((peer) => peer.close())]);
  await Promise.all(listeners.map((listener) => listener.close()));
});

test("abstract names: both ends of this Node meet, and Python meets a name that fills the space", async () => {
  const name = `panpipe-${process.pid}-`.padEnd(107, "x");
  const server = await serve(`unix:@${name}?framing=lines`, upper);
  const script = `import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(b"\\0" + sys.argv[1].encode()); s.sendall(b"hi\\n"); print(s.recv(9))`;
  const { stdout, stderr } = await run("python3", ["-c", script, name]);
  assert.equal(stdout, "b'HI\\n'\n", stderr);
  await server.close();
});

test("a listener above its limit of connections closes the excess with a warning", async () => {
  const { SocketServers } = await import("../dist/link/socket.js");
  let open = 0;
  const servers = new SocketServers("accepting on test:", 3, () => open++);
  const file = path();
  await servers.add({ path: file });
  const warning = once(process, "warning");
  const sockets = [];
  let closed = false;
  for (let count = 0; count < 4; count++) {
    const socket = net.connect(file);
    socket.on("error", () => {});
    socket.on("close", () => (closed = true));
    await once(socket, "connect");
    sockets.push(socket);
  }
  const [{ name, message }] = await warning;
  assert.equal(name, "PanpipeBusyWarning");
  assert.match(message, /accepting on test:: busy/);
  await until(() => closed, "one was closed");
  assert.equal(open, 3);
  for (const socket of sockets) socket.destroy();
  servers.close();
});

function hasIpv6() {
  return fs.existsSync("/proc/net/if_inet6") && fs.readFileSync("/proc/net/if_inet6", "utf8").includes(" lo");
}

function run(command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args);
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (data) => (stdout += data));
    child.stderr.on("data", (data) => (stderr += data));
    child.on("close", (code) => resolve({ code, stdout, stderr }));
  });
}
