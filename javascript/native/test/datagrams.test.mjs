// Links of datagrams, one for each sender. They come from the link crate as those of packets do.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import test from "node:test";

import { Received, calm, native, path, python, until, writeAll } from "./native.mjs";

const open = (address) => native.open(address, { timeout: 5000 });

/** A listener whose links are gathered. */
function listen(t) {
  const links = [];
  const listener = native.listen(`unix-dgram:${path()}`, (link) => links.push(link));
  t.after(() => {
    listener.close();
    links.forEach((link) => link.close());
  });
  return { address: listener.address, file: listener.address.slice("unix-dgram:".length), listener, links };
}

test("each sender is a link of its own, and is answered", async (t) => {
  const { address, links } = listen(t);
  const senders = [await open(address), await open(address)];
  t.after(() => senders.forEach((sender) => sender.close()));
  for (const [index, sender] of senders.entries()) {
    sender.write(Buffer.from(`from ${index}`));
    await until(() => links.length === index + 1, "the sender's link");
    const received = new Received(links[index]);
    await received.count(1);
    assert.equal(String(received.packets[0]), `from ${index}`);
    const answered = new Received(sender);
    links[index].write(Buffer.from(`to ${index}`));
    await answered.count(1);
    assert.equal(String(answered.packets[0]), `to ${index}`);
  }
});

test("an empty datagram is a packet", async (t) => {
  const { address, links } = listen(t);
  const sender = await open(address);
  t.after(() => sender.close());
  for (const packet of ["a", "", "b"]) sender.write(Buffer.from(packet));
  await until(() => links.length, "the link");
  const received = new Received(links[0]);
  await received.count(3);
  assert.deepEqual(received.packets.map(String), ["a", "", "b"]);
});

test("a full receiver makes senders and answerers wait, and neither spins", async (t) => {
  const { address, links } = listen(t);
  const sender = await open(address);
  t.after(() => sender.close());
  const packets = Array.from({ length: 2000 }, (_, index) => Buffer.from(`${index}`));
  const all = writeAll(sender, packets);
  await until(() => links.length, "the link");
  const received = new Received(links[0]);
  await received.count(packets.length);
  await all;
  assert.deepEqual(received.packets.map(String), packets.map(String));

  let finished = false;
  const answers = writeAll(links[0], packets).then(() => (finished = true));
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(finished, false);
  assert.ok(await calm());
  const answered = new Received(sender);
  await answered.count(packets.length);
  await answers;
  assert.deepEqual(answered.packets.map(String), packets.map(String));
});

test("a sender without a name cannot be answered", async (t) => {
  const { file, links } = listen(t);
  python(t, `import socket, sys; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"hello", sys.argv[1])`, file);
  await until(() => links.length, "the link");
  const received = new Received(links[0]);
  await received.count(1);
  assert.throws(() => links[0].write(Buffer.from("hello")), { code: "connection-lost", message: /no name/ });
});

test("a datagram above the largest ends its sender's link, and no other", async (t) => {
  const { file, links } = listen(t);
  const send = `
import socket, sys
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
sender.bind("")
for size in sys.argv[2:]: sender.sendto(b"x" * int(size), sys.argv[1])
print("sent")
sys.stdin.readline()
`;
  const child = python(t, send, file, "5", "270000", "6");
  assert.equal(await child.line(), "sent");
  await until(() => links.length, "the link");
  const received = new Received(links[0]);
  await until(() => received.over, "the error");
  assert.equal(received.lost.code, "too-large");
  assert.match(received.lost.text, /270000/);
});

test("a receiver that is gone is lost, and closing a listener removes its file", async (t) => {
  const { address, file, listener, links } = listen(t);
  const sender = await open(address);
  t.after(() => sender.close());
  sender.write(Buffer.from("a"));
  await until(() => links.length, "the link");
  listener.close();
  assert.equal(existsSync(file), false);
  links[0].close();
  await until(() => {
    try {
      sender.write(Buffer.from("b"));
    } catch (error) {
      return error.code === "connection-lost";
    }
  }, "the loss");
  await assert.rejects(open(address), { code: "not-found" });
});
