/** npm ws: an echo, without compression; in flight promises, resolved in order. */

import { once } from "node:events";
import { WebSocket, WebSocketServer } from "ws";

import { run } from "../contenders/measure.mjs";

async function serve() {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });
  server.on("connection", (socket) => socket.on("message", (message) => socket.send(message)));
  await once(server, "listening");
  console.log(`ws://127.0.0.1:${server.address().port}`);
}

async function connect(address) {
  const socket = new WebSocket(address, { perMessageDeflate: false });
  await once(socket, "open");
  const waiting = [];
  let first = 0;
  socket.on("message", (message) => {
    waiting[first](message);
    waiting[first++] = undefined;
    if (first === 4096) waiting.splice(0, first), (first = 0);
  });
  return {
    call: (message) =>
      new Promise((resolve) => {
        waiting.push(resolve);
        socket.send(message);
      }),
    async close() {
      socket.close();
      await once(socket, "close");
    },
  };
}

await run(serve, connect);
