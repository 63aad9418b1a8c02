/** Node's `net` with a length prefix, one write a message. */

import { createConnection, createServer } from "node:net";
import { Sink, run } from "./measure.mjs";

function frame(message) {
  const bytes = Buffer.allocUnsafe(4 + message.length);
  bytes.writeUInt32BE(message.length);
  bytes.set(message, 4);
  return bytes;
}

/** Calls `onMessage` with each whole message that arrives. */
function receive(socket, onMessage) {
  let chunks = [];
  let length = 0;
  let needed = 4;
  socket.on("data", (chunk) => {
    chunks.push(chunk);
    length += chunk.length;
    if (length < needed) return;
    let bytes = chunks.length === 1 ? chunk : Buffer.concat(chunks, length);
    while (bytes.length >= 4 && bytes.length >= 4 + bytes.readUInt32BE()) {
      const end = 4 + bytes.readUInt32BE();
      onMessage(bytes.subarray(4, end));
      bytes = bytes.subarray(end);
    }
    chunks = bytes.length > 0 ? [bytes] : [];
    length = bytes.length;
    needed = length >= 4 ? 4 + bytes.readUInt32BE() : 4;
  });
}

function serve(role, address) {
  const server = createServer({ noDelay: true }, (socket) => {
    const sink = new Sink();
    receive(socket, (message) => {
      const answer = role === "echo" ? message : sink.take(message);
      if (answer !== null) socket.write(frame(answer));
    });
  });
  const place = address.split("?")[0];
  if (place.startsWith("unix:")) {
    server.listen(place.slice(5), () => console.log(place));
  } else {
    const { hostname, port } = new URL(place);
    server.listen(Number(port), hostname, () => console.log(`tcp://${hostname}:${server.address().port}`));
  }
}

async function connect(address) {
  const place = address.split("?")[0];
  let where;
  if (place.startsWith("unix:")) {
    where = { path: place.slice(5) };
  } else {
    const { hostname, port } = new URL(place);
    where = { host: hostname, port: Number(port), noDelay: true };
  }
  const socket = createConnection(where);
  await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
  return new Client(socket);
}

class Client {
  #socket;
  // Replies come in order: each is for whoever has waited longest.
  #waiting = [];
  #first = 0;

  constructor(socket) {
    this.#socket = socket;
    receive(socket, (message) => {
      const resolve = this.#waiting[this.#first];
      this.#first += 1;
      if (this.#first === this.#waiting.length) {
        this.#waiting = [];
        this.#first = 0;
      } else if (this.#first === 1024) {
        this.#waiting.splice(0, this.#first);
        this.#first = 0;
      }
      resolve(message);
    });
  }

  call(message) {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#socket.write(frame(message));
    });
  }

  send(message) {
    if (this.#socket.write(frame(message))) return undefined;
    return new Promise((resolve) => this.#socket.once("drain", resolve));
  }

  close() {
    return new Promise((resolve) => this.#socket.once("close", resolve).end());
  }
}

await run(serve, connect);
