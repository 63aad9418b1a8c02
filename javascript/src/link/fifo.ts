/** `fifo:PATH`: a named pipe, which any program can write to. The listener reads; `reply=` names one for the way back. */

import fs from "node:fs";
import net from "node:net";
import { Readable, Writable } from "node:stream";

import { writtenTarget, type Address } from "../wire/address.js";
import { Fault } from "../wire/error.js";
import { codeOf } from "./classify.js";
import { FifoFile, checkFifo } from "./fifo-file.js";
import type { Limits, Link, LinkListener, ListenerEvents, OneWay, Transport } from "./link.js";
import { claimToRead } from "./native.js";
import { onlyLink } from "./only-link.js";
import { StreamLink, type Held } from "./stream.js";
import { WholeWrites, whole } from "./whole-writes.js";

const { O_RDONLY, O_WRONLY, O_RDWR, O_NONBLOCK, O_NOFOLLOW } = fs.constants;

/** How often to look whether somebody reads, in milliseconds; no system tells. */
const pollEvery = 5;

const onlyReads: OneWay = { way: "reads", why: "this end of the FIFO only reads; reply=PATH2 makes it two-way" };
const onlyWrites: OneWay = { way: "writes", why: "this end of the FIFO only writes; reply=PATH2 makes it two-way" };
const anotherReads = "another process reads this FIFO";
const nobody = "no reader has opened the FIFO";

/** The transport `fifo`. */
export const fifo: Transport = {
  info: {
    scheme: "fifo",
    form: "fifo:PATH",
    reaches: "this machine",
    goodFor: "shell scripts: `echo hi > PATH`; many writers, one reader",
    notFor: "replies without a second FIFO; messages beyond 4,096 bytes with several writers",
    options: ["reply", "mode", "once", "exclusive"],
    plain: true,
    check(target, { reply }) {
      if (readTarget(target) === reply) throw new Fault("invalid-address", "a FIFO cannot carry its own replies");
    },
  },

  async connect(address: Address, limits: Limits): Promise<Link> {
    const path = readTarget(address.target);
    refuseExclusive(address);
    const { reply } = address;
    const deadline = performance.now() + limits.timeout;
    // In this order, so that whoever answers finds a reader.
    const replies = reply === "" ? null : await patiently(deadline, limits.signal, () => openReplies(reply));
    try {
      const output = new WholeWrites(await patiently(deadline, limits.signal, () => openToWrite(path) ?? `${nobody} ${JSON.stringify(path)}`));
      if (replies === null) return link(new Readable({ read() {} }), output, onlyWrites);
      return link(input(replies), output);
    } catch (error) {
      if (replies !== null) fs.closeSync(replies);
      throw error;
    }
  },

  async listen(address: Address, events: ListenerEvents): Promise<LinkListener> {
    const path = readTarget(address.target);
    refuseExclusive(address);
    const file = FifoFile.make(path, address.mode);
    try {
      if (hasReader(path)) throw new Fault("address-in-use", anotherReads);
      if (address.reply !== "") return new Reception(address, path, file, events);
      // With a writer of our own the others may come and go, and none is taken for the last.
      const source = input(openAlone(path, address.once ? O_RDONLY : O_RDWR));
      source.once("close", () => file.remove());
      return onlyLink(address, events, link(source, new Writable(), onlyReads));
    } catch (error) {
      file.remove();
      throw error;
    }
  },
};

function readTarget(target: string): string {
  if (target === "") throw new Fault("invalid-address", "the path is missing: fifo:PATH");
  if (!target.startsWith("//")) return target;
  if (!target.startsWith("///")) throw new Fault("invalid-address", "a FIFO's address names no host; an absolute path is fifo:/PATH or fifo:///PATH");
  return target.slice(2);
}

function refuseExclusive({ exclusive }: Address): void {
  if (exclusive) throw new Fault("unsupported", "exclusive=true needs flock, which Node does not have");
}

/** Opens without waiting, and only what is a FIFO. */
function open(path: string, access: number): number {
  // Opening anything else could do something.
  checkFifo(path, fs.lstatSync(path));
  const fd = fs.openSync(path, access | O_NONBLOCK | O_NOFOLLOW);
  try {
    checkFifo(path, fs.fstatSync(fd));
    return fd;
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
}

/** Opens to read, as the only listener. */
function openAlone(path: string, access: number): number {
  const fd = open(path, access);
  try {
    if (claimToRead(fd)) return fd;
    throw new Fault("address-in-use", anotherReads);
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
}

/** Tries until it gives a descriptor; what it says in place of one is why it took too long. */
async function patiently(deadline: number, signal: AbortSignal | undefined, attempt: () => number | string): Promise<number> {
  for (;;) {
    const outcome = attempt();
    if (typeof outcome === "number") return outcome;
    if (signal?.aborted === true) throw new Fault("cancelled", "the caller gave up");
    const left = deadline - performance.now();
    if (left <= 0) throw new Fault("deadline-exceeded", outcome);
    await new Promise((resolve) => setTimeout(resolve, Math.min(pollEvery, Math.max(left, 1))));
  }
}

/** Opens to write; null while nobody reads. */
function openToWrite(path: string): number | null {
  try {
    return open(path, O_WRONLY);
  } catch (error) {
    if (codeOf(error) === "ENXIO") return null;
    throw error;
  }
}

/** Opens the FIFO for replies once nobody writes them to somebody who came before. */
function openReplies(path: string): number | string {
  const fd = open(path, O_RDONLY);
  try {
    const mine = claimToRead(fd);
    if (mine && isFree(fd)) return fd;
    fs.closeSync(fd);
    return mine ? "the listener did not end its last connection" : "another client did not leave the FIFO for replies";
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
}

/** Whether nobody writes. A writer that leaves while this end is open would look as if the listener had closed. */
function isFree(fd: number): boolean {
  try {
    return fs.readSync(fd, Buffer.allocUnsafe(whole)) === 0;
  } catch (error) {
    if (codeOf(error) === "EAGAIN") return false;
    throw error;
  }
}

/** Whether somebody reads this FIFO: without a reader it cannot be opened to write. */
function hasReader(path: string): boolean {
  const fd = openToWrite(path);
  if (fd !== null) fs.closeSync(fd);
  return fd !== null;
}

function input(fd: number): net.Socket {
  return new net.Socket({ fd, readable: true, writable: false, allowHalfOpen: true });
}

function link(source: Readable, output: Writable, oneWay?: OneWay): Link {
  return new StreamLink(source, output, { remote: { transport: "fifo" }, whole, oneWay });
}

/** Reads from what writers wrote before `fd` was opened; if they have left too, the system tells their end to nobody else, and what comes is not theirs. */
function takeOver(fd: number): Readable {
  const chunks: Buffer[] = [];
  let left = false;
  try {
    while (!left) {
      const bytes = Buffer.allocUnsafeSlow(64 * 1024);
      const count = fs.readSync(fd, bytes);
      if (count > 0) chunks.push(bytes.subarray(0, count));
      else left = true;
    }
  } catch (error) {
    if (codeOf(error) !== "EAGAIN") throw error;
  }
  const over = left && chunks.length > 0;
  if (over) fs.closeSync(fd);
  const source = over ? new Readable({ read() {} }) : input(fd);
  for (const chunk of chunks) source.push(chunk);
  if (over) source.push(null);
  return source;
}

/** The writing end of a connection. Nothing that the next client writes once it is closed may come to this connection's reader. */
class Replies extends WholeWrites {
  constructor(
    fd: number,
    readonly source: Readable,
  ) {
    super(fd);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.source.destroy();
    super._destroy(error, done);
  }
}

/** The listener of a FIFO with another for replies: a connection begins with the first bytes that come when somebody reads the replies, and ends with the last writer. */
class Reception implements LinkListener {
  readonly target: string;
  // Keeps what a writer writes between two connections.
  readonly #spare: number;
  readonly #replies: FifoFile;
  #source: (Held & Readable) | null = null;
  #timer: NodeJS.Timeout | undefined;
  #warned = false;
  #held = false;
  #closed = false;

  constructor(
    readonly address: Address,
    readonly path: string,
    readonly file: FifoFile,
    readonly events: ListenerEvents,
  ) {
    this.target = writtenTarget(address);
    this.#spare = openAlone(path, O_RDONLY);
    try {
      this.#replies = FifoFile.make(address.reply, address.mode);
      this.#wait();
    } catch (error) {
      fs.closeSync(this.#spare);
      throw error;
    }
  }

  ref(): void {
    this.#held = true;
    this.#source?.ref?.();
    this.#timer?.ref();
  }

  unref(): void {
    this.#held = false;
    this.#source?.unref?.();
    this.#timer?.unref();
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#source?.destroy();
    fs.closeSync(this.#spare);
    this.file.remove();
    this.#replies.remove();
    this.events.onEnd();
  }

  /** Waits for the first bytes. */
  #wait(): void {
    const source: Held & Readable = takeOver(open(this.path, O_RDONLY));
    this.#source = source;
    if (!this.#held) source.unref?.();
    // A stream that tells when it is readable flows again only in a later turn.
    source.once("readable", () => setImmediate(() => this.#begin(source)));
  }

  #begin(source: Readable): void {
    if (this.#closed) return;
    if (source.readableLength === 0) {
      // They went without a word.
      source.destroy();
      return this.#wait();
    }
    const fd = this.#openReplies();
    if (fd === null) {
      this.#timer = setTimeout(() => this.#begin(source), pollEvery);
      if (!this.#held) this.#timer.unref();
      return;
    }
    this.#source = null;
    const output = new Replies(fd, source);
    output.once("close", () => {
      if (!this.#closed && !this.address.once) this.#wait();
    });
    this.events.onLink(link(source, output));
    if (this.address.once) this.events.onEnd();
  }

  #openReplies(): number | null {
    try {
      return openToWrite(this.address.reply);
    } catch (error) {
      // It may be put back; until then nobody can be answered.
      if (!this.#warned) process.emitWarning(`accepting on ${this.address.text}: ${(error as Error).message}`, "PanpipeReplyWarning");
      this.#warned = true;
      return null;
    }
  }
}
