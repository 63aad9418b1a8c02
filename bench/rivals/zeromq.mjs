/** zeromq.js: REQ for one call after another, DEALER for many at once; the server is a ROUTER. */

import { Dealer, Request, Router } from "zeromq";
import { run } from "../contenders/measure.mjs";

const endpoint = (address) => address.replace("unix:", "ipc://");

async function serve(_role, address) {
  const router = new Router();
  await router.bind(endpoint(address));
  console.log(address);
  for await (const frames of router) await router.send(frames);
}

async function connect(address, workload) {
  return workload === "in-flight" ? new Many(address) : new One(address);
}

class One {
  #req = new Request();

  constructor(address) {
    this.#req.connect(endpoint(address));
  }

  async call(message) {
    await this.#req.send(message);
    const [reply] = await this.#req.receive();
    return reply;
  }

  close() {
    this.#req.close();
  }
}

/** Replies come in order: each is for whoever has waited longest. */
class Many {
  #dealer = new Dealer();
  #waiting = [];
  #received;

  constructor(address) {
    this.#dealer.connect(endpoint(address));
    this.#received = this.#receive();
  }

  async #receive() {
    for await (const [reply] of this.#dealer) this.#waiting.shift()(reply);
  }

  call(message) {
    return new Promise((resolve, reject) => {
      this.#waiting.push(resolve);
      this.#dealer.send(message).catch(reject);
    });
  }

  close() {
    this.#dealer.close();
    return this.#received;
  }
}

await run(serve, connect);
