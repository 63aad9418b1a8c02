// Children: how they end, and that they never outlive us.

import assert from "node:assert/strict";
import { once } from "node:events";
import fs from "node:fs";
import test from "node:test";

import { spawn } from "panpipe";
import { path, until } from "./place.mjs";
import { panpipe, run, runAlone } from "./running.mjs";

const lines = "framing=lines&text=true";
const shell = (script) => ["sh", "-c", script];

/** Whether a process runs; a zombie is gone, because process 1 may not reap. */
function lives(pid) {
  try {
    return !/^State:\s*[ZX]/m.test(fs.readFileSync(`/proc/${pid}/status`, "latin1"));
  } catch {
    return false;
  }
}

test("a child answers over its stdin and stdout, and close waits until it has gone", async () => {
  const peer = await spawn(["cat"], "?framing=lines&text=true");
  assert.equal(peer.remote.transport, "spawn");
  assert.equal(fs.readFileSync(`/proc/${peer.remote.pid}/comm`, "utf8"), "cat\n");
  assert.equal(await peer.call("What? 100%"), "What? 100%");
  await peer.close();
  assert.ok(!lives(peer.remote.pid));
});

test("arguments with every sign of an address arrive as they are", async () => {
  const sent = ["?a=b&c", "100%", "%3F", 'a "quote"', "ü\n\\", ""];
  const peer = await spawn([process.execPath, "-e", "console.log(JSON.stringify(process.argv.slice(1)))", "--", ...sent], lines);
  assert.deepEqual(JSON.parse(await peer.recv()), sent);
  assert.equal(await peer.recv(), null);
  await peer.close();
});

test("a child that exits with 3 in the middle of a call: status and stderr are in the error", async () => {
  const peer = await spawn(shell("read request; echo this went wrong >&2; exit 3"), lines);
  const error = await peer.call("x").catch((error) => error);
  assert.equal(error.code, "connection-lost");
  assert.equal(error.ran, "maybe");
  assert.match(error.message, /the child exited with status 3; its stderr ended: this went wrong$/);
  await assert.rejects(peer.recv(), /exited with status 3/);
  await assert.rejects(peer.send("y"), { code: "connection-lost" });
  await peer.close();
});

test("what a child said before it died is received before the error", async () => {
  const peer = await spawn(shell("head -c 100000 /dev/zero | tr '\\0' 'a'; echo; exit 5"), lines);
  await new Promise((resolve) => setTimeout(resolve, 400));
  assert.equal((await peer.recv()).length, 100_000);
  await assert.rejects(peer.recv(), /status 5/);
  await peer.close();
});

test("a child that is killed by a signal: the error names it", async () => {
  const peer = await spawn(shell("read request; kill -SEGV $$"), lines);
  await assert.rejects(peer.call("x"), { code: "connection-lost", ran: "maybe", message: /was killed by signal 11 \(SIGSEGV\)/ });
  await peer.close();
});

test("a child that exits with 0 between messages is a clean end, and with a call waiting it is not", async () => {
  const peer = await spawn(shell("read request; echo one"), lines);
  assert.equal(await peer.call("x"), "one");
  assert.equal(await peer.recv(), null);
  await assert.rejects(peer.call("y"), { code: "connection-lost", ran: "no" });
  await assert.rejects(peer.send("y"), { code: "connection-lost", message: /exited with status 0/ });
  await peer.close();
  const silent = await spawn(shell("read request"), lines);
  await assert.rejects(silent.call("x"), { code: "connection-lost", ran: "maybe", message: /exited with status 0/ });
  await silent.close();
});

test("half a message and then nothing: the deadline ends the call, and the child's end the connection", async () => {
  const peer = await spawn(shell("read request; printf half; read request"), lines);
  await assert.rejects(peer.call("x", { timeout: 100 }), { code: "deadline-exceeded", ran: "maybe" });
  const receiving = peer.recv();
  await peer.send("now exit");
  await assert.rejects(receiving, { code: "connection-lost", message: /status 0 inside a message|closed its output inside a message|status 1/ });
  await peer.close();
});

test("a grandchild that holds stdout and stderr does not delay the end, and goes when the connection closes", async () => {
  const peer = await spawn(shell("read request; sleep 1000 & echo $!; read request; exit 4"), lines);
  const grandchild = Number(await peer.call("x"));
  const started = performance.now();
  await assert.rejects(peer.call("y"), /status 4/);
  assert.ok(performance.now() - started < 1500);
  await peer.close();
  assert.ok(!lives(grandchild));
  assert.ok(performance.now() - started < 2500);
});

test("a child that ignores SIGTERM and the end of its input is killed, with all of its group", async () => {
  const peer = await spawn(shell('trap "" TERM; sleep 1000 & echo $!; while :; do sleep 1000; done'), lines);
  const grandchild = Number(await peer.recv());
  const started = performance.now();
  await peer.close();
  const took = performance.now() - started;
  assert.ok(took > 6500 && took < 9000, `${took} ms`);
  await until(() => !lives(peer.remote.pid) && !lives(grandchild), "the group ends");
});

test("1 GiB of stderr is passed on, and memory stays flat", async () => {
  const { code, stdout, stderr } = await runAlone(
    `
    const peer = await spawn(["sh", "-c", "head -c 1073741824 /dev/zero >&2; read request; echo answered; exit 2"], "framing=lines&text=true");
    await peer.recv({ timeout: 1 }).catch(() => {});
    const before = process.memoryUsage().rss;
    console.log(await peer.call("x", { timeout: 120_000 }));
    console.log(await peer.recv().catch((error) => error.message.length < 10_000 && error.code));
    await peer.close();
    console.log(Math.round((process.memoryUsage().rss - before) / 2 ** 20) < 100 ? "flat" : process.memoryUsage().rss - before);
  `,
    { stdio: ["ignore", "pipe", fs.openSync("/dev/null", "w")] },
  );
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "answered\nconnection-lost\nflat\n", stderr: "" });
});

test("stderr goes to ours, or nowhere", async () => {
  for (const [option, seen, tail] of [["tail", "seen\n", true], ["inherit", "seen\n", false], ["null", "", false]]) {
    const { stdout, stderr } = await run(`
      const peer = await spawn(["sh", "-c", "read request; echo seen >&2; exit 1"], "framing=lines&stderr=${option}");
      await peer.call("x").catch((error) => console.log(error.message.includes("stderr ended: seen"), error.code));
      await peer.close();
    `).closed;
    assert.equal(stderr, seen, option);
    assert.equal(stdout, `${tail} connection-lost\n`, option);
  }
});

for (const end of ["process.kill(process.pid, 'SIGKILL')", "process.exit(0)", "setImmediate(() => { throw new Error('a bug') })", "await new Promise(() => {})"]) {
  test(`a child that never reads is gone soon after its parent: ${end}`, async () => {
    const { closed } = run(`
      const peer = await spawn(["sh", "-c", "sleep 1000 & echo $!; exec sleep 1000"], "framing=lines&text=true");
      fs.writeSync(1, [peer.remote.pid, await peer.recv()].join(" "));
      ${end};
    `);
    const { stdout } = await closed;
    const pids = stdout.split(" ").map(Number);
    assert.ok(pids.length === 2 && pids.every((pid) => pid > 1), stdout);
    const started = performance.now();
    await until(() => !pids.some(lives), "the child goes");
    assert.ok(performance.now() - started < 1000);
  });
}

test("a watcher that was killed is replaced, and ends the children of before", async () => {
  const { closed } = run(`
    const peer = await spawn(["sleep", "1000"]);
    const watchers = () => fs.readdirSync("/proc").filter((pid) => {
      try {
        return fs.readFileSync("/proc/" + pid + "/cmdline", "latin1").startsWith("/bin/sh") && fs.readFileSync("/proc/" + pid + "/environ", "latin1").includes("PANPIPE_TEST=${process.pid}")
          && !fs.readFileSync("/proc/" + pid + "/status", "latin1").includes("PPid:\\t" + process.pid + "\\n");
      } catch {
        return false;
      }
    });
    while (watchers().length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    const [first] = watchers();
    process.kill(Number(first), "SIGKILL");
    while (!watchers().some((each) => each !== first)) await new Promise((resolve) => setTimeout(resolve, 5));
    fs.writeSync(1, [peer.remote.pid, watchers().length].join(" "));
    process.kill(process.pid, "SIGKILL");
  `, { env: { ...process.env, PANPIPE_TEST: String(process.pid) } });
  const { stdout, stderr } = await closed;
  const [pid, watchers] = stdout.split(" ").map(Number);
  assert.equal(watchers, 1, stderr);
  await until(() => !lives(pid), "the child goes");
});

test("an idle child keeps nobody alive, and an awaited one does", async () => {
  const { code, stdout } = await run(`
    const peer = await spawn(["cat"], "framing=lines&text=true");
    console.log(await peer.call("called"));
    const other = await spawn(["sh", "-c", "sleep 0.3; echo late"], "framing=lines&text=true");
    console.log(await other.recv());
  `).closed;
  assert.deepEqual({ code, stdout }, { code: 0, stdout: "called\nlate\n" });
});

test("200 children leave no zombie, no descriptor and no thread", async () => {
  const { code, stdout, stderr } = await runAlone(`
    const descriptors = () => fs.readdirSync("/proc/self/fd").length;
    const threads = () => fs.readdirSync("/proc/self/task").length;
    const children = () => fs.readFileSync("/proc/self/task/" + process.pid + "/children", "latin1").trim();
    const once = async (index) => {
      const peer = await spawn(index % 2 ? ["true"] : ["cat"], "framing=lines&stderr=" + (index % 4 < 2 ? "tail" : "inherit"));
      if (index % 2 === 0) await peer.call("x");
      await peer.close();
      await spawn(["/nowhere/at/all"]).catch(() => {});
    };
    await once(0);
    await once(1);
    await new Promise((resolve) => setTimeout(resolve, 100));
    const before = [descriptors(), threads()];
    for (let index = 0; index < 200; index += 10) await Promise.all(Array.from({ length: 10 }, (_, more) => once(index + more)));
    await new Promise((resolve) => setTimeout(resolve, 200));
    console.log(descriptors() - before[0], threads() - before[1], JSON.stringify(children()));
  `);
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: '0 0 ""\n', stderr: "" });
});

test("64 MiB both ways at once over cat", async () => {
  const peer = await spawn(["cat"], "framing=length&max=1MiB");
  const message = Buffer.alloc(1024 * 1024, "x");
  const receiving = (async () => {
    for (let count = 0; count < 64; count++) assert.equal((await peer.recv()).length, message.length);
  })();
  for (let count = 0; count < 64; count++) await peer.send(message);
  await receiving;
  await peer.close();
});

test("a program that is not there is not-found, one that may not run is permission", async () => {
  await assert.rejects(spawn(["no-such-program"]), { code: "not-found", message: /"no-such-program"/ });
  await assert.rejects(spawn(["/no/such/program"]), { code: "not-found", message: /"\/no\/such\/program"/ });
  await assert.rejects(spawn(["/etc/passwd"]), { code: "permission", message: /"\/etc\/passwd"/ });
});

test("socket=true: the child finds a socket by PANPIPE_FD, and what it prints corrupts nothing", async () => {
  const script = path();
  fs.writeFileSync(`${script}.mjs`, `
    import { serve } from ${panpipe};
    console.log("stray");
    const server = await serve("fd:" + process.env.PANPIPE_FD + "?${lines}", (message) => { console.log("stray"); return message.toUpperCase(); });
    await server.done;
  `);
  const peer = await spawn([process.execPath, `${script}.mjs`], `${lines}&socket=true&stderr=null`);
  assert.equal(await peer.call("hello"), "HELLO");
  const started = performance.now();
  await peer.close();
  assert.ok(performance.now() - started < 1500);
  assert.ok(!lives(peer.remote.pid));
});

test("a stray console.log of a child that uses stdio: corrupts nothing", async () => {
  const script = path();
  fs.writeFileSync(`${script}.mjs`, `
    import { serve } from ${panpipe};
    const server = await serve("stdio:?${lines}", (message) => { console.log("stray"); return message.toUpperCase(); });
    await server.done;
  `);
  const peer = await spawn([process.execPath, `${script}.mjs`], `${lines}&stderr=null`);
  assert.deepEqual(await Promise.all(["a", "b"].map((message) => peer.call(message))), ["A", "B"]);
  await peer.close();
});

test("python's stdout is not buffered, and PANPIPE_FD of ours is not handed on", async () => {
  process.env.PANPIPE_FD = "77";
  const peer = await spawn(["python3", "-c", "import os\nimport sys\nfor line in sys.stdin: print(line.strip(), os.environ.get('PANPIPE_FD'))"], lines);
  delete process.env.PANPIPE_FD;
  assert.equal(await peer.call("x"), "x None");
  await peer.close();
});
