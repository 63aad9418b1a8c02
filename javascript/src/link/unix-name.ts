/** The names of Unix sockets: a path, or `@` and an abstract name. */

import { Fault } from "../wire/error.js";

/** The path as the system wants it; an abstract name begins with a zero byte. */
export function readUnixName(target: string): string {
  if (target === "" || target === "@") throw new Fault("invalid-address", "a Unix address needs a path or @name, as in unix:/tmp/a.sock");
  if (target.startsWith("@")) return `\0${target.slice(1)}`;
  if (!target.startsWith("//")) return target;
  if (!target.startsWith("///")) throw new Fault("invalid-address", "a Unix address names no host; an absolute path is unix:/PATH or unix:///PATH");
  return target.slice(2);
}

/** Checks a target together with the options that were given. */
export function checkUnixName(target: string, given: Readonly<Record<string, string>>): void {
  if (readUnixName(target).startsWith("\0") && "mode" in given) {
    throw new Fault("invalid-address", "an abstract name has no file, and so no mode: any user of this machine may connect");
  }
}

/** Refuses a name that is none yet; asked before connecting. */
export function refuseFreeName(path: string): void {
  if (path.endsWith("*")) throw new Fault("invalid-address", "a trailing * is for listening");
}
