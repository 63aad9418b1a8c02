/** panpipe, as a user writes it. */

import { connect, listen, serve } from "panpipe";
import { Sink, run } from "./measure.mjs";

async function serveRole(role, address) {
  if (role === "echo") {
    const server = await serve(address, (message) => message);
    console.log(server.address);
    return server.done;
  }
  const listener = await listen(address);
  console.log(listener.address);
  for await (const peer of listener) {
    const sink = new Sink();
    for await (const message of peer) {
      const count = sink.take(message);
      if (count !== null) await peer.send(count);
    }
    await peer.close();
  }
}

await run(serveRole, connect);
