/** The file of a FIFO: made with its mode where there is none, and removed only while it is ours. */

import { spawnSync } from "node:child_process";
import fs from "node:fs";
import { dirname, resolve } from "node:path";

import { Fault } from "../wire/error.js";
import { removeAtExit } from "./at-exit.js";

/** A FIFO that was found or made; one that was made exists until `remove`. */
export class FifoFile {
  readonly #identity: string | null;
  #forget: (() => void) | null = null;

  private constructor(
    readonly path: string,
    made: boolean,
  ) {
    this.#identity = made ? identify(path) : null;
    if (made) this.#forget = removeAtExit(this);
  }

  /** Finds or makes it; throws `address-in-use` for a file that is no FIFO and `permission` for one of another user. */
  static make(given: string, mode: number): FifoFile {
    const path = resolve(given);
    const made = !exists(path) && mkfifo(path, mode);
    const file = new FifoFile(path, made);
    try {
      checkFifo(path, fs.lstatSync(path), "address-in-use");
      return file;
    } catch (error) {
      file.remove();
      throw error;
    }
  }

  /** Removes it if it was made here, unless somebody has put another in its place. */
  remove(): void {
    this.#forget?.();
    this.#forget = null;
    try {
      if (this.#identity !== null && identify(this.path) === this.#identity) fs.unlinkSync(this.path);
    } catch {
      // Gone already, or no longer ours to remove.
    }
  }
}

/** Whoever owns a FIFO decides who else may read it, so that it must be ours. */
export function checkFifo(path: string, found: fs.Stats, otherwise: "address-in-use" | "refused" = "refused"): void {
  if (!found.isFIFO()) throw new Fault(otherwise, `${path} is a file that is no FIFO, and is left alone`);
  if (found.uid !== 0 && found.uid !== process.geteuid?.()) throw new Fault("permission", `${path} belongs to the user ${found.uid}`);
}

function exists(path: string): boolean {
  return fs.lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** Makes a FIFO, for which Node has no call; false if somebody else did meanwhile. */
function mkfifo(path: string, mode: number): boolean {
  // What the program would only say in words.
  fs.accessSync(dirname(path), fs.constants.W_OK | fs.constants.X_OK);
  const { status, stderr, error } = spawnSync("mkfifo", ["-m", mode.toString(8).padStart(4, "0"), "--", path], { stdio: ["ignore", "ignore", "pipe"] });
  if (error !== undefined) throw new Fault("unsupported", `making a FIFO needs the program mkfifo: ${error.message}`);
  if (status === 0) return true;
  if (exists(path)) return false;
  throw new Fault("io", stderr.toString("utf8").trim());
}

/** What tells one file from another that later has its number. */
function identify(path: string): string | null {
  const found = fs.lstatSync(path, { bigint: true, throwIfNoEntry: false });
  return found === undefined ? null : `${found.dev}:${found.ino}:${found.birthtimeNs}`;
}
