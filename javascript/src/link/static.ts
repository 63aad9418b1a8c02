/** Files that a listener gives out: those below a folder, and nothing else. */

import fs from "node:fs";
import { join, sep } from "node:path";
import type { Duplex } from "node:stream";

import { Fault } from "../wire/error.js";
import { fileHead } from "../wire/websocket/file.js";
import { classify } from "./classify.js";

/** So much of a file is read at a time, in bytes. The reading is not left to threads, of which Node would start some. */
const step = 64 * 1024;

/** The other end may take so many milliseconds for each of these pieces. The system announces room only when much of what it holds has been taken, which may be a megabyte. */
const longest = 30_000;

/** What is got of a folder. */
const index = "index.html";

/** A file that is open. */
export interface Served {
  fd: number;
  size: number;
  /** Its response up to the content. */
  head: string;
}

/** A folder whose files are given out. */
export class StaticFolder {
  readonly #root: string;

  /** Throws `not-found`, `permission`, `io`. */
  constructor(path: string) {
    try {
      this.#root = fs.realpathSync(path);
      fs.readdirSync(this.#root);
    } catch (error) {
      const { code, text } = classify(error);
      throw new Fault(code, `static=${path}: ${text}`);
    }
  }

  /** Opens the file that `path` names, as `fileBelow` answers it; null where there is none that may be given out. */
  open(path: string): Served | null {
    return this.#file(path) ?? this.#file(`${path}/${index}`);
  }

  #file(path: string): Served | null {
    let fd;
    try {
      const real = fs.realpathSync(join(this.#root, path));
      // A link may lead to another file here, and nowhere else.
      if (!this.#holds(real)) return null;
      // Whatever has been put there meanwhile is not waited for, as a FIFO would be.
      fd = fs.openSync(real, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK);
      const stat = fs.fstatSync(fd);
      if (stat.isFile() && this.#holds(fs.realpathSync(`/proc/self/fd/${fd}`))) return { fd, size: stat.size, head: fileHead(path, stat.size) };
    } catch {
      // Not there, or not for us: nobody is told which.
    }
    if (fd !== undefined) fs.closeSync(fd);
    return null;
  }

  #holds(real: string): boolean {
    const root = this.#root.endsWith(sep) ? this.#root : this.#root + sep;
    return real.startsWith(root) && !real.slice(root.length).split(sep).some((name) => name.startsWith("."));
  }
}

/** Sends a file, as fast as the other end takes it, and closes it. Done when the system has all of it, or never will. */
export async function sendFile(stream: Duplex, { fd, size, head }: Served, headOnly: boolean): Promise<void> {
  try {
    stream.write(head, "latin1");
    // One for all, since V8 collects late what is only Buffers.
    const piece = Buffer.allocUnsafeSlow(headOnly ? 0 : Math.min(step, size));
    for (let at = 0; !headOnly && at < size && !stream.destroyed; ) {
      const count = fs.readSync(fd, piece, 0, Math.min(step, size - at), at);
      // It has become shorter than its head says, which only the end of the connection can tell.
      if (count === 0) return void stream.destroy();
      at += count;
      await taken(stream, piece.subarray(0, count));
    }
  } finally {
    fs.closeSync(fd);
  }
}

/** Done when the system has these bytes, or the stream is closed. */
function taken(stream: Duplex, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => stream.destroy(), longest).unref();
    const go = () => {
      clearTimeout(timer);
      stream.off("close", go);
      resolve();
    };
    stream.on("close", go);
    stream.write(bytes, go);
  });
}
