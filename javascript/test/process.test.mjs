// What a whole process does: when it ends, what it prints, which threads it has.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import { once } from "node:events";
import test from "node:test";

import { connect, listen, serve } from "panpipe";
import { path, upper } from "./place.mjs";
import { panpipe, run, runAlone } from "./running.mjs";

test("a process with an idle peer, listener and pair, with nothing awaited, exits by itself", async () => {
  const server = await serve("tcp://localhost:0?protocol=plain", upper);
  const started = performance.now();
  const { code, stdout, stderr } = await run(`
    const peer = await connect(${JSON.stringify(server.address)});
    const listener = await listen("tcp://localhost:0?protocol=plain");
    const [a, b] = pair("protocol=plain");
    b.recv().then((message) => b.send(message));
    console.log(String(await peer.call("call")), String(await a.call("pair")));
    peer.send("a last word");
  `).closed;
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "CALL pair\n", stderr: "" });
  // Not by the 10 s of the call's timeout.
  assert.ok(performance.now() - started < 5000);
  await server.close();
});

test("a process that awaits a call, a recv or a connection lives on", async () => {
  const listener = await listen("tcp://localhost:0?protocol=plain");
  const { child, closed, out } = run(`
    const peer = await connect(${JSON.stringify(listener.address)});
    const own = await listen("unix:${path()}?protocol=plain");
    console.log("waiting");
    const answers = [await peer.recv(), await peer.call("x", { timeout: 60_000 })];
    own.accept().then(() => console.log("accepted"));
    console.log(answers.map(String).join());
    console.log(own.address);
  `);
  const peer = await listener.accept();
  await once(child.stdout, "data");
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(child.exitCode, null);
  await peer.send("received");
  await peer.send(await peer.recv());
  while (!out.stdout.includes("unix:")) await once(child.stdout, "data");
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(child.exitCode, null);
  await (await connect(/unix:.*/.exec(out.stdout)[0])).close();
  const { code, stdout } = await closed;
  assert.equal(code, 0);
  assert.match(stdout, /^waiting\nreceived,x\nunix:.*\naccepted\n$/);
  await peer.close();
  await listener.close();
});

test("a serving process lives until it is closed, and Ctrl-C ends it at once", async () => {
  const file = path();
  const { child, closed } = run(`const server = await serve("unix:${file}?protocol=plain", (message) => message); console.log(server.address);`);
  await once(child.stdout, "data");
  const peer = await connect(`unix:${file}?protocol=plain`);
  assert.equal(String(await peer.call("x")), "x");
  child.kill("SIGINT");
  const { signal, stderr } = await closed;
  assert.equal(signal, "SIGINT", stderr);
  await assert.rejects(peer.call("x"), { code: "connection-lost" });
  await peer.close();

  const closing = run(`const server = await serve("unix:${file}?protocol=plain", (message) => message); await server.close();`);
  assert.equal((await closing.closed).code, 0);
});

test("process.exit removes the socket file", async () => {
  const file = path();
  const { code } = await run(`await listen("unix:${file}?protocol=plain"); process.exit(fs.existsSync(${JSON.stringify(file)}) ? 7 : 8);`).closed;
  assert.equal(code, 7);
  assert.ok(!fs.existsSync(file));
});

test("no thread is added by serving, connecting and calling, over any transport", async () => {
  const { code, stdout, stderr } = await runAlone(`
    const threads = () => fs.readdirSync("/proc/self/task").length;
    const before = threads();
    for (const address of ["tcp://localhost:0", "tcp://127.0.0.1:0", "unix:${path()}", "unix:@panpipe-threads-*", "mem:threads"]) {
      const server = await serve(address + "?protocol=plain", async (message) => message);
      const peer = await connect(server.address);
      await Promise.all(Array.from({ length: 100 }, () => peer.call(Buffer.alloc(1000))));
      if (threads() !== before) console.log(address, threads(), before);
      await peer.close();
      await server.close();
    }
    console.log("same");
  `);
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "same\n", stderr: "" });
});

const echo = `
  console.log("before");
  const server = await serve("stdio:?framing=lines", (message) => { console.log("a stray line"); process.stdout.write("another"); return message; });
  console.log("serving", server.address);
  await server.done;
  console.log("done");
`;

test("stdio: a stray console.log goes to stderr, and what was printed before stays", async () => {
  const { child, closed } = run(echo);
  child.stdin.write("one\ntwo\n");
  child.stdin.end("three\n");
  const { code, stdout, stderr } = await closed;
  assert.equal(stdout, "before\none\ntwo\nthree\n");
  assert.equal(code, 0, stderr);
  assert.match(stderr, /^serving stdio:\?framing=lines\n(a stray line\nanother){3}done\n$/);
});

test("stdio: works with files, and without another thread", async () => {
  const [input, output] = [path(), path()];
  fs.writeFileSync(input, "one\n".repeat(50_000));
  const files = [fs.openSync(input, "r"), fs.openSync(output, "w")];
  const script = `
    const before = fs.readdirSync("/proc/self/task").length;
    const server = await serve("-?framing=lines", (message) => message);
    await server.done;
    console.log(fs.readdirSync("/proc/self/task").length - before);
  `;
  const { code, stderr } = await runAlone(script, { stdio: [...files, "pipe"] });
  files.forEach((file) => fs.closeSync(file));
  assert.equal(stderr, "0\n");
  assert.equal(code, 0);
  assert.equal(fs.readFileSync(output, "utf8"), "one\n".repeat(50_000));
});

test("stdio: a client calls its parent, and closing ends the parent's input", async () => {
  const { child, closed } = run(`
    const peer = await connect("-?framing=lines&text=true");
    const answer = await peer.call("question");
    console.error(answer);
    await peer.close();
    await new Promise((resolve) => setTimeout(resolve, 60_000));
  `);
  const ended = once(child.stdout, "end");
  await once(child.stdout, "data");
  child.stdin.write("answer\n");
  await ended;
  child.kill("SIGKILL");
  assert.match((await closed).stderr, /answer/);
});

test("stdio: closing ends a shell's pipe too, and nothing later is written to it", async () => {
  const script = path();
  fs.writeFileSync(`${script}.mjs`, `
    import { connect } from ${panpipe};
    console.error(process.pid);
    const peer = await connect("-?framing=lines");
    await peer.send("x".repeat(1_000_000));
    await peer.close();
    console.log("stray");
    process.stdin.resume();
    await new Promise((resolve) => setTimeout(resolve, 60_000));
  `);
  // The reader's end comes while the writer still lives, or the line would never be printed.
  const child = spawn("sh", ["-c", `"$0" "$1" | { wc -c; echo ended; }`, process.execPath, `${script}.mjs`]);
  let stdout = "";
  let stderr = "";
  child.stderr.on("data", (data) => (stderr += data));
  for await (const data of child.stdout) {
    stdout += data;
    if (stdout.includes("ended")) break;
  }
  process.kill(Number(stderr.split("\n")[0]), "SIGKILL");
  assert.match(stdout, /^1000001\nended/);
});

test("stdio: may be taken once", async () => {
  const { stderr } = await run(`
    await connect("-");
    await connect("stdio:").catch((error) => console.error(error.code));
  `).closed;
  assert.equal(stderr, "address-in-use\n");
});

test("stdio: SIGINT kills a process that waits for its stdin", async () => {
  const { child, closed } = run(`const server = await serve("-?framing=lines", (message) => message);`);
  child.stdin.write("up\n");
  await once(child.stdout, "data");
  child.kill("SIGINT");
  assert.equal((await closed).signal, "SIGINT");
});

test("fd: an inherited socket is a connection, an inherited listening socket a listener", async () => {
  const connected = run(`const server = await serve("fd:3?framing=lines", (message) => String(message).toUpperCase()); await server.done;`, {
    stdio: ["ignore", "pipe", "pipe", "pipe"],
  });
  connected.child.stdio[3].end("hi\n");
  assert.equal(String(Buffer.concat(await connected.child.stdio[3].toArray())), "HI\n");
  assert.equal((await connected.closed).code, 0);

  for (const where of [{ host: "127.0.0.1", port: 0 }, { path: path() }]) {
    const server = net.createServer().listen(where);
    await once(server, "listening");
    const { child, closed } = run(`const server = await serve("fd:3?framing=lines", (message) => String(message).toUpperCase()); console.log("ready");`, {
      stdio: ["ignore", "pipe", "pipe", server._handle.fd],
    });
    await once(child.stdout, "data");
    const at = server.address();
    // Closed here, so that only the child accepts; a Unix server would take its file along.
    if (where.port === 0) server.close();
    else fs.renameSync(at, (where.path = `${at}x`));
    if (where.port !== 0) server.close();
    const peer = await connect(where.port === 0 ? `tcp://127.0.0.1:${at.port}?framing=lines` : `unix:${where.path}?framing=lines`);
    assert.equal(String(await peer.call("hi")), "HI");
    await peer.close();
    child.kill();
    await closed;
  }
});
