// The peer of panpipe in Node.

import { listen, serve } from "panpipe";
import { nextLine, readRequest, tell } from "./conversation.mjs";
import { call } from "./plain_client.mjs";

const upper = (message) =>
  typeof message === "string" ? message.toUpperCase() : message.map((byte) => (byte >= 0x61 && byte <= 0x7a ? byte - 32 : byte));

const roles = {
  async child(address) {
    await (await serve(address, upper)).done;
  },

  async serve({ addresses }) {
    const servers = await Promise.all(addresses.map((address) => serve(address, upper)));
    tell(servers.map(({ address }) => ({ address, pid: process.pid })));
    await nextLine();
    await Promise.all(servers.map((server) => server.close()));
  },

  call: (request) => call(request, { tell, nextLine, accept }),
};

/** Listens where a job says, and answers its connections. */
async function accept({ address, connections, steps }) {
  const peers = [];
  const listener = await listen(address);
  if (steps.length > 0) {
    tell([{ address: listener.address, pid: process.pid }]);
    while (peers.length < connections) peers.push(await listener.accept());
  }
  await listener.close();
  return peers;
}

const [role, address] = process.argv.slice(2);
await roles[role](address ?? (await readRequest()));
