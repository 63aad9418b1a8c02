/** Socket paths that do not fit into a `sockaddr_un`, reached through their folder. */

import fs from "node:fs";
import { basename, dirname } from "node:path";

import { Fault } from "../wire/error.js";

/** What a socket path may have in bytes. */
export const longestPath = 107;

/** What is left of that behind `/proc/self/fd/N/`. */
const longestName = 80;

/** Throws `path-too-long` if nobody could connect to this path. */
export function checkPath(path: string): void {
  const size = Buffer.byteLength(path);
  if (size <= longestPath) return;
  const limit = `a socket path of ${size} bytes, and the system takes at most ${longestPath}`;
  if (!fs.existsSync("/proc/self/fd")) throw new Fault("path-too-long", limit);
  if (Buffer.byteLength(basename(path)) <= longestName) return;
  throw new Fault("path-too-long", `${limit}; a longer path works if its last name has at most ${longestName}`);
}

/** Calls `use` with the path, or with a shorter one that leads to the same file until it has answered. */
export async function withShortPath<T>(path: string, use: (path: string) => Promise<T>): Promise<T> {
  checkPath(path);
  if (Buffer.byteLength(path) <= longestPath) return use(path);
  const folder = fs.openSync(dirname(path), fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
  try {
    return await use(`/proc/self/fd/${folder}/${basename(path)}`);
  } finally {
    fs.closeSync(folder);
  }
}
