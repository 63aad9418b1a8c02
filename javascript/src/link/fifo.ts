/** `fifo:PATH`: a named pipe, which any program can write to. The listener reads; `reply=` names one for the way back. */

import fs from "node:fs";
import net from "node:net";
import { Readable, Writable } from "node:stream";

import type { Address } from "../wire/address.js";
import { Fault } from "../wire/error.js";
import { codeOf } from "./classify.js";
import { FifoFile, checkFifo } from "./fifo-file.js";
import type { Limits, Link, LinkListener, ListenerEvents, OneWay, Transport } from "./link.js";
import { onlyLink } from "./only-link.js";
import { StreamLink } from "./stream.js";
import { WholeWrites, whole } from "./whole-writes.js";

const { O_RDONLY, O_WRONLY, O_RDWR, O_NONBLOCK, O_NOFOLLOW } = fs.constants;

/** How often to look whether somebody reads, in milliseconds; no system tells. */
const pollEvery = 5;

const onlyReads: OneWay = { way: "reads", why: "this end of the FIFO only reads; reply=PATH2 makes it two-way" };
const onlyWrites: OneWay = { way: "writes", why: "this end of the FIFO only writes; reply=PATH2 makes it two-way" };
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
    check(target, { reply }) {
      if (readTarget(target) === reply) throw new Fault("invalid-address", "a FIFO cannot carry its own replies");
    },
  },

  async connect(address: Address, limits: Limits): Promise<Link> {
    const path = readTarget(address.target);
    refuseExclusive(address);
    const { reply } = address;
    // In this order, so that whoever answers finds a reader.
    const replies = reply === "" ? null : open(reply, O_RDONLY);
    try {
      const output = new WholeWrites(await openToWrite(path, limits));
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
      if (hasReader(path)) throw new Fault("address-in-use", "another process reads this FIFO");
      if (address.reply !== "") return new Reception(address, path, file, events);
      // With a writer of our own the others may come and go, and none is taken for the last.
      const source = input(open(path, address.once ? O_RDONLY : O_RDWR));
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

/** Opens to write once somebody reads. */
async function openToWrite(path: string, { timeout, signal }: Limits): Promise<number> {
  for (const deadline = performance.now() + timeout; ; ) {
    try {
      return open(path, O_WRONLY);
    } catch (error) {
      if (codeOf(error) !== "ENXIO") throw error;
    }
    if (signal?.aborted === true) throw new Fault("cancelled", "the caller gave up");
    if (performance.now() >= deadline) throw new Fault("deadline-exceeded", `${nobody} ${JSON.stringify(path)}`);
    await new Promise((resolve) => setTimeout(resolve, Math.min(pollEvery, Math.max(deadline - performance.now(), 1))));
  }
}

/** Whether somebody reads this FIFO: without a reader it cannot be opened to write. */
function hasReader(path: string): boolean {
  try {
    fs.closeSync(open(path, O_WRONLY));
    return true;
  } catch (error) {
    if (codeOf(error) === "ENXIO") return false;
    throw error;
  }
}

function input(fd: number): net.Socket {
  return new net.Socket({ fd, readable: true, writable: false, allowHalfOpen: true });
}

function link(source: Readable, output: Writable, oneWay?: OneWay): Link {
  return new StreamLink(source, output, { remote: { transport: "fifo" }, whole, oneWay });
}

/** Gives the stream what writers wrote before this descriptor was opened; if they have left too, the system tells its end to nobody else. */
function takeOver(fd: number, source: net.Socket): void {
  try {
    for (let any = false; ; any = true) {
      const bytes = Buffer.allocUnsafeSlow(64 * 1024);
      const count = fs.readSync(fd, bytes);
      if (count > 0) source.push(bytes.subarray(0, count));
      else return void (any && source.push(null));
    }
  } catch (error) {
    if (codeOf(error) !== "EAGAIN") throw error;
  }
}

/** The listener of a FIFO with another for replies: a connection begins with the first writer and ends with the last. */
class Reception implements LinkListener {
  readonly target: string;
  // Keeps what a writer writes between two connections.
  readonly #spare: number;
  readonly #replies: FifoFile;
  #source: net.Socket | null = null;
  #held = false;
  #closed = false;

  constructor(
    readonly address: Address,
    readonly path: string,
    readonly file: FifoFile,
    readonly events: ListenerEvents,
  ) {
    this.target = address.text.slice("fifo:".length).split("?", 1)[0]!;
    this.#replies = FifoFile.make(address.reply, address.mode);
    this.#spare = open(path, O_RDONLY);
    this.#wait();
  }

  ref(): void {
    this.#held = true;
    this.#source?.ref();
  }

  unref(): void {
    this.#held = false;
    this.#source?.unref();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#source?.destroy();
    fs.closeSync(this.#spare);
    this.file.remove();
    this.#replies.remove();
    this.events.onEnd();
  }

  /** Waits for the first writer. */
  #wait(): void {
    const fd = open(this.path, O_RDONLY);
    const source = input(fd);
    takeOver(fd, source);
    this.#source = source;
    if (!this.#held) source.unref();
    source.once("readable", () => {
      this.#source = null;
      // A stream that tells when it is readable flows again only in a later turn.
      setImmediate(() => this.#begin(source));
    });
  }

  #begin(source: net.Socket): void {
    if (this.#closed) return void source.destroy();
    const output = new WholeWrites(() => {
      try {
        return open(this.address.reply, O_WRONLY);
      } catch (error) {
        if (codeOf(error) === "ENXIO") return null;
        throw error;
      }
    });
    output.once("close", () => {
      source.destroy();
      if (!this.#closed) this.#wait();
    });
    this.events.onLink(link(source, output));
  }
}
