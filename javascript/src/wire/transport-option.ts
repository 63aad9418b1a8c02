/** Options of single transports, and how each value is read. */

import { Fault } from "./error.js";
import { resolveFraming } from "./framing/mod.js";
import { isMulticast } from "./host.js";
import { ownFraming, truth, type Accepts, type Allow, type Option, type Options, type Token } from "./option.js";
import { readAuthority, readOrigin, type Authority } from "./websocket/authority.js";

/** All of them; which a transport takes is its own to say. */
export const transportOptions: readonly Option[] = [
  {
    info: { name: "framing", value: "a framing", default: "panpipe; length where the protocol is plain" },
    read: (value, into) => void (into.framing = value === ownFraming ? value : resolveFraming(value).name),
  },
  {
    info: { name: "backlog", value: "1 to 65535", default: "1024" },
    read: (value, into) => void (into.backlog = count("backlog", value, 65_535)),
  },
  {
    info: { name: "connections", value: "1 to 1000000", default: "1024" },
    read: (value, into) => void (into.connections = count("connections", value, 1_000_000)),
  },
  {
    info: { name: "insecure", value: "true or false", default: "false" },
    read: (value, into) => void (into.insecure = truth("insecure", value)),
  },
  { info: { name: "mode", value: "octal file mode up to 0777", default: "0600" }, read: readMode },
  { info: { name: "allow", value: "users and groups, as uid:1000,gid:100", default: "whom the file's mode lets in; for an abstract name this user and root" }, read: readAllow },
  { info: { name: "reply", value: "the path of another FIFO", default: "none: the listener only reads, and who connects only writes" }, read: readReply },
  { info: { name: "once", value: "true or false", default: "false" }, read: (value, into) => void (into.once = truth("once", value)) },
  { info: { name: "exclusive", value: "true or false", default: "false" }, read: (value, into) => void (into.exclusive = truth("exclusive", value)) },
  { info: { name: "group", value: "a multicast address, as in 239.1.2.3", default: "none" }, read: readGroup },
  { info: { name: "broadcast", value: "true or false", default: "false" }, read: (value, into) => void (into.broadcast = truth("broadcast", value)) },
  { info: { name: "stderr", value: "tail, inherit or null", default: "tail" }, read: readStderr },
  { info: { name: "socket", value: "true or false", default: "false" }, read: (value, into) => void (into.socket = truth("socket", value)) },
  { info: { name: "chaos", value: "a seed, a whole number below 2^64, or one followed by ,cut", default: "none" }, read: readChaos },
  { info: { name: "accept", value: "a list of panpipe, ws and a framing of plain messages", default: "what framing and protocol say" }, read: readAccept },
  { info: { name: "host", value: "a list of names, as app.example or app.example:8443", default: "the address's own, and on loopback localhost, 127.0.0.1 and [::1]" }, read: readHosts },
  { info: { name: "origin", value: "a list of origins, as https://app.example", default: "none: only programs, and pages of static" }, read: readOrigins },
  { info: { name: "token", value: "env:NAME or file:PATH, or new:PATH to write a fresh one there", default: "none: whoever reaches it may connect" }, read: readToken },
  { info: { name: "static", value: "a folder", default: "none" }, read: (value, into) => void (into.static = filled("static", value)) },
  { info: { name: "ca", value: "a PEM file", default: "the system's roots" }, read: (value, into) => void (into.ca = filled("ca", value)) },
  { info: { name: "cert", value: "a PEM file", default: "none; a listener needs one" }, read: (value, into) => void (into.cert = filled("cert", value)) },
  { info: { name: "key", value: "a PEM file", default: "none" }, read: (value, into) => void (into.key = filled("key", value)) },
  { info: { name: "client_ca", value: "a PEM file", default: "none: whoever reaches it may connect" }, read: (value, into) => void (into.clientCa = filled("client_ca", value)) },
  { info: { name: "fingerprint", value: "a list of sha256: and 64 hex digits", default: "none" }, read: readFingerprints },
];

function count(name: string, value: string, most: number): number {
  const number = /^\d{1,7}$/.test(value) ? Number(value) : 0;
  if (number < 1 || number > most) throw new Fault("invalid-address", `${name}=${value} must be 1 to ${most}`);
  return number;
}

function readMode(value: string, into: Options): void {
  if (!/^0*[0-7]{1,3}$/.test(value)) throw new Fault("invalid-address", `mode=${value} must be an octal file mode, as in 0600`);
  into.mode = parseInt(value, 8);
}

function readAllow(value: string, into: Options): void {
  const allow: Allow = { uids: [], gids: [] };
  for (const part of value.split(",")) {
    const [, kind, number] = /^(uid|gid):(\d+)$/.exec(part) ?? [];
    if (number === undefined || Number(number) >= 2 ** 32) throw new Fault("invalid-address", `allow=${value} must be users and groups, as in uid:1000,gid:100`);
    (kind === "uid" ? allow.uids : allow.gids).push(Number(number));
  }
  into.allow = allow;
}

function readStderr(value: string, into: Options): void {
  if (value !== "tail" && value !== "inherit" && value !== "null") throw new Fault("invalid-address", `stderr=${value} must be tail, inherit or null`);
  into.stderr = value;
}

function readGroup(value: string, into: Options): void {
  if (!isMulticast(value)) throw new Fault("invalid-address", `group=${value} must be a multicast address, as in 239.1.2.3 or ff02::1234`);
  into.group = value;
}

function readReply(value: string, into: Options): void {
  if (value === "") throw new Fault("invalid-address", "reply= needs the path of another FIFO");
  into.reply = value;
}

function readChaos(value: string, into: Options): void {
  const parts = /^(\d{1,20})(,cut)?$/.exec(value);
  const seed = BigInt(parts?.[1] ?? -1);
  if (parts === null || seed >= 2n ** 64n) throw new Fault("invalid-address", `chaos=${value} must be a whole number below 2^64, or one followed by ,cut`);
  into.chaos = { seed, cuts: parts[2] !== undefined };
}

function filled(name: string, value: string): string {
  if (value === "") throw new Fault("invalid-address", `${name}= needs a path`);
  return value;
}

function readAccept(value: string, into: Options): void {
  const accepts: Accepts = { panpipe: false, websocket: false, framing: null };
  if (value === "") throw new Fault("invalid-address", "accept= needs a list of panpipe, ws and a framing");
  for (const part of value.split(",")) {
    const twice = part === ownFraming ? accepts.panpipe : part === "ws" ? accepts.websocket : accepts.framing !== null;
    if (part === ownFraming) accepts.panpipe = true;
    else if (part === "ws") accepts.websocket = true;
    else accepts.framing = resolveFraming(part).name;
    if (twice) throw new Fault("invalid-address", `accept=${value} has ${part} beside another of its kind: one each of panpipe, ws and a framing`);
  }
  if (!accepts.panpipe && accepts.framing === null) throw new Fault("invalid-address", `accept=${value} says how, and not what: add panpipe or a framing`);
  into.accepts = accepts;
}

function readHosts(value: string, into: Options): void {
  const hosts = value.split(",").map(readAuthority);
  if (hosts.includes(null)) throw new Fault("invalid-address", `host=${value} must be names, as in app.example,app.example:8443`);
  into.hosts = hosts as Authority[];
}

function readOrigins(value: string, into: Options): void {
  const origins = value.split(",").map((origin) => (/^https?:/i.test(origin) ? readOrigin(origin) : null));
  if (origins.includes(null)) throw new Fault("invalid-address", `origin=${value} must be web origins, as in https://app.example,http://localhost:5173`);
  into.origins = origins as string[];
}

function readToken(value: string, into: Options): void {
  const [, kind, place] = /^(env|file|new):(.+)$/s.exec(value) ?? [];
  // The value is not shown: it may be the secret itself, put in the wrong place.
  if (place === undefined) throw new Fault("invalid-address", "token= says where the secret is, and not what: env:NAME, file:PATH, or new:PATH to write a fresh one there");
  into.token = { kind: kind as Token["kind"], place };
}

function readFingerprints(value: string, into: Options): void {
  const fingerprints = value.split(",").map((part) => /^sha256:(.*)$/.exec(part)?.[1]!.replaceAll(":", "").toLowerCase() ?? "");
  if (!fingerprints.every((hex) => /^[0-9a-f]{64}$/.test(hex))) throw new Fault("invalid-address", `fingerprint=${value} must be sha256: and 64 hex digits, or a list of such`);
  into.fingerprints = fingerprints;
}
