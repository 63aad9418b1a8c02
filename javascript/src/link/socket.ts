/** What tcp and unix share: connecting a socket within limits, and listening on one. */

import net from "node:net";

import { Fault } from "../wire/error.js";
import { codeOf } from "./classify.js";
import type { Limits } from "./link.js";

/** Connects a socket; it is not read from, and it does not keep the process alive once it is connected. */
export async function connectSocket(options: net.NetConnectOpts, limits: Limits): Promise<net.Socket> {
  const deadline = performance.now() + limits.timeout;
  for (let pause = 1; ; pause = Math.min(pause * 2, 50)) {
    try {
      return await attempt(options, deadline - performance.now(), limits.signal);
    } catch (error) {
      // A Unix socket whose queue of waiting connections is full says so at once; the same moment of patience that TCP shows.
      if (codeOf(error) !== "EAGAIN" || performance.now() + pause > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
}

function attempt(options: net.NetConnectOpts, timeout: number, signal: AbortSignal | undefined): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(new Fault("cancelled", "the caller gave up"));
    const socket = net.connect({ ...options, allowHalfOpen: true });
    const settle = (act: () => void) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      socket.off("error", fail);
      act();
    };
    const fail = (error: unknown) =>
      settle(() => {
        socket.on("error", () => {});
        socket.destroy();
        reject(error);
      });
    const abort = () => fail(new Fault("cancelled", "the caller gave up"));
    const timer = setTimeout(() => fail(new Fault("deadline-exceeded", "the timeout passed")), Math.min(Math.max(timeout, 0), 2 ** 31 - 1));
    signal?.addEventListener("abort", abort);
    socket.on("error", fail);
    socket.once("connect", () => settle(() => resolve(socket)));
  });
}

/** What `work` gives, unless the limits are reached before; the work itself goes on unseen. */
export function within<T>(limits: Limits, work: Promise<T>): Promise<T> {
  const { timeout, signal } = limits;
  let abort = (): void => {};
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    abort = () => reject(new Fault("cancelled", "the caller gave up"));
    timer = setTimeout(() => reject(new Fault("deadline-exceeded", "the timeout passed")), Math.min(Math.max(timeout, 0), 2 ** 31 - 1));
    signal?.addEventListener("abort", abort);
    if (signal?.aborted === true) abort();
  });
  return Promise.race([work, limit]).finally(() => {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  });
}

/** Sockets that listen as one, as `localhost` does on two addresses. */
export class SocketServers {
  readonly #servers: net.Server[] = [];
  #open = 0;
  #turnedAway = 0;

  constructor(
    readonly doing: string,
    readonly most: number,
    readonly onSocket: (socket: net.Socket) => void,
  ) {}

  /** Listens on one more address; throws the system's error. */
  async add(options: net.ListenOptions | { fd: number }): Promise<net.Server> {
    const server = net.createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(options, () => {
        server.off("error", reject);
        resolve();
      });
    });
    // Failures to accept one connection are not the end of the listener.
    server.on("error", () => {});
    this.#servers.push(server);
    return server;
  }

  ref(): void {
    for (const server of this.#servers) server.ref();
  }

  unref(): void {
    for (const server of this.#servers) server.unref();
  }

  /** Takes no more connections. It does not wait for those that it took. */
  close(): void {
    for (const server of this.#servers.splice(0)) server.close();
  }

  #accept(socket: net.Socket): void {
    if (this.#open >= this.most) {
      // net cannot leave a connection waiting in the kernel, so the only bound that it allows is to close it.
      socket.destroy();
      if (this.#turnedAway++ === 0) {
        process.emitWarning(`${this.doing}: busy: closed a connection above the ${this.most} that are open`, "PanpipeBusyWarning");
      }
      return;
    }
    this.#open++;
    socket.once("close", () => {
      this.#open--;
      this.#turnedAway = 0;
    });
    this.onSocket(socket);
  }
}
