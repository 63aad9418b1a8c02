/** A browser's own WebSocket against npm ws: an echo, answered in order. */

import { once } from "node:events";
import http from "node:http";

import { runPage } from "./page.mjs";

// Only a page of this machine may reach it.
const pages = http.createServer((_, response) => response.end()).listen(0, "127.0.0.1").unref();
await once(pages, "listening");

await runPage(`http://127.0.0.1:${pages.address().port}/`, process.argv[3], async (address) => {
  const socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  await new Promise((resolve) => (socket.onopen = resolve));
  const waiting = [];
  socket.onmessage = ({ data }) => waiting.shift()(new Uint8Array(data));
  return {
    call: (message) => new Promise((resolve) => (waiting.push(resolve), socket.send(message))),
    close: () => socket.close(),
  };
});
