/** `spawn:["PROGRAM","ARG"]`: a child process and its stdin and stdout, or a socket that it is given. It dies with us. */

import { spawn as start, type ChildProcess, type StdioOptions } from "node:child_process";
import { once } from "node:events";
import type { Duplex, Readable, Writable } from "node:stream";

import type { Address } from "../wire/address.js";
import { Fault } from "../wire/error.js";
import { Child } from "./child.js";
import { codeOf } from "./classify.js";
import type { Link, LinkEvents, LinkListener, Remote, Transport } from "./link.js";
import { StreamLink } from "./stream.js";

/** How long output may still come once the child has exited, and its exit once its output has ended: in milliseconds. */
const grace = 250;

/** What may still come then; more is no longer the child's but that of somebody who holds its stdout. */
const mostAfterwards = 1024 * 1024;

/** The transport `spawn`. */
export const spawn: Transport = {
  info: {
    scheme: "spawn",
    form: 'spawn:["PROGRAM","ARG"]',
    reaches: "a child process",
    goodFor: "starting a worker and talking over its stdin and stdout; it dies with us",
    notFor: "programs that were started already",
    options: ["stderr", "socket"],
    check: (target) => void readTarget(target),
  },

  async connect(address: Address): Promise<Link> {
    const [program, ...args] = readTarget(address.target) as [string, ...string[]];
    const { socket, stderr } = address;
    const errors = { tail: "pipe", inherit: 2, null: "ignore" }[stderr] as "pipe" | 2 | "ignore";
    const stdio: StdioOptions = socket ? ["ignore", 2, errors, "pipe"] : ["pipe", "pipe", errors];
    const { PANPIPE_FD: _, ...env } = process.env;
    env["PYTHONUNBUFFERED"] ??= "1";
    if (socket) env["PANPIPE_FD"] = "3";
    const started = start(program, args, { detached: true, stdio, env });
    // In the turn of its birth, so that there is no moment in which nobody would end it.
    const child = started.pid === undefined ? null : new Child(started, started.pid);
    try {
      await once(started, "spawn");
    } catch (error) {
      throw reason(program, error);
    }
    return new SpawnLink(child!, ...streams(started, socket));
  },

  async listen(): Promise<LinkListener> {
    throw new Fault("unsupported", "a child process is connected to, and nothing can listen there");
  },
};

/** The address that starts a command. */
export function spawnAddress(command: readonly string[], options: string): string {
  const target = String(JSON.stringify(command)).replace(/[%?]/g, encodeURIComponent);
  return `spawn:${target}${options === "" ? "" : `?${options.replace(/^\?/, "")}`}`;
}

function readTarget(target: string): string[] {
  let command: unknown;
  try {
    command = JSON.parse(target);
  } catch {
    // Said below.
  }
  const strings = Array.isArray(command) && command.every((part) => typeof part === "string" && !part.includes("\0"));
  if (strings && (command as string[])[0]) return command as string[];
  throw new Fault("invalid-address", 'spawn: needs a program and its arguments as a JSON array of strings without zero bytes, as in spawn:["sort","-n"]');
}

function reason(program: string, error: unknown): unknown {
  const name = JSON.stringify(program);
  if (codeOf(error) === "ENOENT") return new Fault("not-found", `there is no program ${name}`);
  if (codeOf(error) === "EACCES") return new Fault("permission", `the system does not let ${name} be run`);
  return error;
}

function streams(started: ChildProcess, socket: boolean): [Readable, Writable] {
  if (!socket) return [started.stdout!, started.stdin!];
  const own = started.stdio[3] as Duplex;
  own.allowHalfOpen = true;
  return [own, own];
}

/** A stream link whose end waits for the child's: why it ended is what a caller has to know. */
class SpawnLink implements Link {
  readonly remote: Remote;
  readonly #inner: StreamLink;
  #events: LinkEvents | null = null;
  #paused = false;
  #inputOver = false;
  #told = false;
  // What came since the child has exited.
  #afterwards = 0;
  #timer: NodeJS.Timeout | null = null;
  #closing: Promise<boolean> | null = null;

  constructor(
    readonly child: Child,
    readonly input: Readable,
    output: Writable,
  ) {
    this.remote = { transport: "spawn", pid: child.pid };
    this.#inner = new StreamLink(input, output, { remote: this.remote });
  }

  get pending(): number {
    return this.#inner.pending;
  }

  get left(): number {
    return this.#inner.left;
  }

  start(events: LinkEvents): void {
    this.#events = events;
    this.#inner.start({
      ...events,
      onData: (chunk) => {
        this.#afterwards += this.child.ended ? chunk.length : 0;
        this.#events?.onData(chunk);
      },
      onEnd: () => this.#inputEnded(),
      onLost: () => this.#inputEnded(),
      onOutputLost: () => this.#outputLost(new Fault("connection-lost", "the child has closed its input")),
    });
    void this.child.exited.then(() => this.#exited());
  }

  write(parts: readonly Uint8Array[]): void {
    this.#inner.write(parts);
  }

  pause(): void {
    this.#paused = true;
    this.#inner.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#inner.resume();
    if (this.child.ended) this.#await();
  }

  ref(): void {
    this.#inner.ref();
  }

  unref(): void {
    this.#inner.unref();
  }

  close(timeout: number): Promise<boolean> {
    return (this.#closing ??= this.#close(timeout));
  }

  destroy(): void {
    this.#events = null;
    this.#inner.destroy();
    void this.child.end(0, 0);
  }

  async #close(timeout: number): Promise<boolean> {
    this.#events = null;
    if (this.#timer !== null) clearTimeout(this.#timer);
    const written = await this.#inner.close(timeout);
    await this.child.end();
    this.#inner.destroy();
    return written;
  }

  #inputEnded(): void {
    this.#inputOver = true;
    if (this.child.ended) this.#finish();
    else this.#await();
  }

  #outputLost(fault: Fault): void {
    // Most often the child is about to be seen as dead, which says more.
    if (!this.child.ended) setTimeout(() => this.#told || this.#events?.onOutputLost(fault), grace);
  }

  #exited(): void {
    if (this.#inputOver || this.input.destroyed) return this.#finish();
    // Node resumes what is paused when a child exits.
    setImmediate(() => this.#paused && this.#inner.pause());
    this.#await();
  }

  /** Gives whatever else is to come its moment; while nobody reads, what there is stays and the moment has not begun. */
  #await(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = this.#paused && !this.#inputOver ? null : setTimeout(() => this.#look(), grace);
  }

  #look(): void {
    const before = this.#afterwards;
    // The loop may have been busy for all of the moment: one more look at what is there.
    setImmediate(() => {
      if (this.#afterwards > before && this.#afterwards < mostAfterwards && !this.#inputOver) this.#look();
      else if (!this.#paused || this.#inputOver) this.#finish();
    });
  }

  #finish(): void {
    const events = this.#events;
    if (this.#told || events === null) return;
    this.#told = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    void this.child.lastWords().then(({ text, clean }) => {
      const fault = new Fault("connection-lost", text);
      if (!clean) return events.onLost(fault);
      if (this.child.ended) events.onOutputLost(fault);
      events.onEnd(text);
    });
  }
}
