/**
 * The file of a Unix socket: born with its mode, never over a live one, removed only while it is ours.
 *
 * The socket is bound inside a private directory (0700) beside the path and then hard-linked to the path, which fails if something is there.
 * So the file appears with its final mode and already listening, without touching the umask, which belongs to the whole process;
 * and the name that Node itself unlinks when the server closes is one that nobody else can have taken.
 *
 * Rust guards the replacing of a stale file with `flock`, which Node does not have. Here it is done without a lock:
 * the stale file is moved aside, and if what was moved is not what was found to be stale, it is put back.
 */

import fs from "node:fs";
import net from "node:net";
import { basename, dirname, join, resolve } from "node:path";

import { Fault } from "../wire/error.js";
import { codeOf } from "./classify.js";
import { withShortPath } from "./short-path.js";

/** A socket file that exists until `remove`. */
export class SocketFile {
  private constructor(
    readonly path: string,
    readonly identity: string,
  ) {}

  /** Makes the file; `bind` must listen at the path that it is given. Throws `address-in-use` if somebody listens there or it is no socket. */
  static async create(path: string, mode: number, bind: (path: string) => Promise<net.Server>): Promise<SocketFile> {
    const absolute = resolve(path);
    // Before anything is bound, so that the usual failure leaves no trace.
    await clear(absolute);
    const nest = new Nest(absolute);
    let server: net.Server | undefined;
    try {
      // Named as its directory is: when it closes, Node unlinks the path that it was bound by, in which `/proc/self/fd/N` may be another directory by then.
      const born = join(nest.path, basename(nest.path));
      server = await withShortPath(born, bind);
      fs.chmodSync(born, mode);
      const identity = identify(born)!;
      await publish(born, absolute);
      const file = new SocketFile(absolute, identity);
      removeAtExit(file);
      return file;
    } catch (error) {
      server?.close();
      throw error;
    } finally {
      nest.remove();
    }
  }

  /** Removes the file, unless somebody has put another in its place. */
  remove(): void {
    atExit.delete(this);
    try {
      if (identify(this.path) === this.identity) fs.unlinkSync(this.path);
    } catch {
      // Gone already, or no longer ours to remove.
    }
  }
}

const atExit = new Set<{ remove(): void }>();
let watched = false;

function removeAtExit(file: { remove(): void }): void {
  atExit.add(file);
  if (!watched) process.on("exit", () => [...atExit].forEach((each) => each.remove()));
  watched = true;
}

/** A private directory beside a path, until `remove` or the end of this process. */
class Nest {
  readonly path: string;

  constructor(beside: string) {
    this.path = fs.mkdtempSync(join(dirname(beside), ".panpipe-"));
    removeAtExit(this);
  }

  remove(): void {
    atExit.delete(this);
    fs.rmSync(this.path, { recursive: true, force: true });
  }
}

async function publish(born: string, path: string): Promise<void> {
  for (let round = 0; ; round++) {
    try {
      fs.linkSync(born, path);
      return;
    } catch (error) {
      if (codeOf(error) !== "EEXIST" || round === 10) throw error;
      await clear(path);
    }
  }
}

/** Makes way at `path`: nothing to do, a stale socket removed, or `address-in-use`. */
async function clear(path: string): Promise<void> {
  const found = identify(path);
  if (found === null) return;
  if (fs.lstatSync(path, { throwIfNoEntry: false })?.isSocket() === false) throw new Fault("address-in-use", "there is a file that is not a socket, and it is left alone");
  if (await answers(path)) throw new Fault("address-in-use", "somebody listens there");
  const nest = new Nest(path);
  const aside = join(nest.path, "s");
  try {
    fs.renameSync(path, aside);
    if (identify(aside) === found) return;
    // Between the look and the move somebody else had replaced it.
    fs.linkSync(aside, path);
    throw new Fault("address-in-use", "somebody listens there");
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
  } finally {
    nest.remove();
  }
}

/** Whether somebody listens at this path; in doubt, yes. */
function answers(path: string): Promise<boolean> {
  const connects = (short: string) =>
    new Promise<boolean>((done) => {
      const socket = net.connect({ path: short });
      const settle = (answer: boolean) => {
        socket.destroy();
        done(answer);
      };
      socket.once("connect", () => settle(true));
      socket.once("error", (error) => settle(!["ECONNREFUSED", "ENOENT"].includes(codeOf(error))));
    });
  return withShortPath(path, connects);
}

/** What tells one file from another that later has its number: the time of its making too, which a rename does not change. */
function identify(path: string): string | null {
  const found = fs.lstatSync(path, { bigint: true, throwIfNoEntry: false });
  return found === undefined ? null : `${found.dev}:${found.ino}:${found.mtimeNs}`;
}
