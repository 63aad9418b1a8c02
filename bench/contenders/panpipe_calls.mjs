/** panpipe's calls and topics, as a user writes them. */

import { Service, connect, serve } from "panpipe";
import { Rate, check, message, run, same } from "./measure.mjs";

// Items that are published ahead of those that have come.
const ahead = 64;

const topic = (number) => `topic-${number}`;

async function serveRole(role, address) {
  const service = new Service();
  service.method("echo", (sent) => sent);
  if (role.startsWith("topics:")) {
    for (let number = 0; number < Number(role.slice("topics:".length)); number += 1) service.topic(topic(number));
  }
  const server = await serve(address, service);
  console.log(server.address);
  return server.done;
}

async function connectAs(address) {
  const peer = await connect(address);
  return { address, peer, call: (sent) => peer.call("echo", sent), close: () => peer.close() };
}

/** Items per second on as many topics as the task says, with one subscriber each. */
async function topics({ address, peer }, task) {
  const subscriber = await connect(address);
  const names = Array.from({ length: task.count }, (_, number) => topic(number));
  const subscriptions = await Promise.all(names.map((name) => subscriber.subscribe(name)));
  return items(task, peer, [subscriber], subscriptions, names, 1);
}

/** Items per second that come to as many subscribers of one topic as the task says. */
async function subscribers({ address, peer }, task) {
  const peers = await Promise.all(Array.from({ length: task.count }, () => connect(address)));
  const subscriptions = await Promise.all(peers.map((subscriber) => subscriber.subscribe(topic(0))));
  return items(task, peer, peers, subscriptions, [topic(0)], task.count);
}

/**
 * For `each` items that have come another one is published, on the next of the topics, so that there are as many on
 * their way at any time.
 */
async function items(task, publisher, peers, subscriptions, names, each) {
  const sent = message(task.size, 0);
  const rate = new Rate(task);
  let next = 0;
  const publish = () => publisher.publish(names[next++ % names.length], sent);
  let hasEnded = false;
  const read = async (subscription) => {
    let isFirst = true;
    for await (const item of subscription) {
      if (hasEnded) return;
      if (isFirst) check(same(item, sent));
      isFirst = false;
      hasEnded = !rate.tick();
      if (hasEnded) return;
      if (rate.operations % each === 0) await publish();
    }
    check(hasEnded);
  };
  const readers = subscriptions.map(read);
  for (let published = 0; published < ahead; published += 1) await publish();
  // The first reader that sees the end ends it for all.
  await Promise.race(readers);
  await Promise.all(peers.map((peer) => peer.close()));
  await Promise.allSettled(readers);
  return rate.end();
}

await run(serveRole, connectAs, { topics, subscribers });
