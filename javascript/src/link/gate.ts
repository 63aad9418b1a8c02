/** Who may come in at a TCP port: what the options of its address say together, and the secret that they name. */

import { randomBytes } from "node:crypto";
import fs from "node:fs";

import type { Address, TransportInfo } from "../wire/address.js";
import { Fault } from "../wire/error.js";
import { isToken } from "../wire/token.js";
import { classify } from "./classify.js";
import { readHostPort, type HostScheme } from "./host-port.js";

/** Bytes of chance in a token that is made here. */
const chance = 24;

/** The check of an address of this scheme. */
export function checkOf(scheme: HostScheme): TransportInfo["check"] {
  // Where a port is known HTTP is spoken there.
  const isWeb = scheme.port !== null;
  return (target, options, given) => {
    readHostPort(scheme, target, options.insecure);
    const { accepts } = options;
    const forWeb = isWeb || accepts?.websocket === true ? undefined : ["host", "origin", "static"].find((name) => name in given);
    if (forWeb !== undefined) throw new Fault("invalid-address", `${forWeb} is for ports that speak HTTP: list ws in accept, or listen on ws:`);
    const hasPlain = options.protocol === "plain" || (accepts !== null && accepts.framing !== null);
    if (options.token !== null && hasPlain && !isWeb) throw new Fault("invalid-address", "a framing of plain messages has no place for a token: use protocol=panpipe, or ws:");
    if ((options.cert === "") !== (options.key === "")) throw new Fault("invalid-address", "cert and key belong together: cert=FILE&key=FILE");
  };
}

/** The secret that an address names; null for none. Throws `not-found`, `permission`, `invalid-address`, `io`. */
export function tokenOf({ token }: Address, listens: boolean): string | null {
  if (token === null) return null;
  const { kind, place } = token;
  if (kind === "new" && !listens) throw new Fault("invalid-address", `token=new: is for listening; read it with file:${place}`);
  const text = kind === "env" ? process.env[place] : withFile(place, kind === "file" ? readText : makeToken);
  if (text === undefined) throw new Fault("not-found", `there is no environment variable ${place} with the token`);
  const line = text.replace(/\r?\n$/, "");
  if (!isToken(line)) throw new Fault("invalid-address", `${place}: a token is 16 to 512 visible ASCII characters without spaces`);
  return line;
}

function withFile(path: string, act: (path: string) => string): string {
  try {
    return act(path);
  } catch (error) {
    const { code, text } = classify(error);
    throw new Fault(code, `the token in ${path}: ${text}`);
  }
}

function readText(path: string): string {
  return fs.readFileSync(path, "utf8");
}

/** Writes a fresh token, for its owner alone. */
function makeToken(path: string): string {
  const token = randomBytes(chance).toString("hex");
  // Made beside it and moved there: nobody reads half of it, and an older file's mode does not matter.
  const fresh = `${path}.${process.pid}`;
  fs.writeFileSync(fresh, `${token}\n`, { mode: 0o600, flag: "wx" });
  try {
    fs.renameSync(fresh, path);
  } catch (error) {
    fs.rmSync(fresh, { force: true });
    throw error;
  }
  return token;
}
