/** How a listener judges a request. Held by `vectors/websocket.json`. */

import { asSubprotocol, carriesToken, isSecret } from "../token.js";
import { allowsHost, originOf, readAuthority, readOrigin, type Authority, type HostRule } from "./authority.js";
import { fileBelow } from "./file.js";
import { BadHead, hasItem, isToken, readHead, type Fields } from "./head.js";
import { decoded } from "./target.js";

/** The version of WebSocket (RFC 6455, section 4.1). */
const version = "13";

/** The subprotocol of the panpipe protocol. */
export const subprotocol = "panpipe";

/** That of plain messages, for those who have to offer one. */
const plainSubprotocol = "panpipe.plain";

/** What a listener that speaks HTTP grants. */
export interface Policy {
  /** The path of the WebSocket, decoded, with its query if it has one. */
  path: string;
  /** The port that it listens on. */
  port: number;
  secure: boolean;
  /** The hosts that it answers to. */
  hosts: readonly HostRule[];
  /** The web origins that may connect, as `readOrigin` answers them. */
  origins: readonly string[];
  /** The token that has to be given; null for none. */
  token: string | null;
  /** Whether peers of the panpipe protocol may connect: those that offer its subprotocol. */
  panpipe: boolean;
  /** Whether peers of plain messages may: those that do not. */
  plain: boolean;
  /** Whether files are served; then the own origin may connect, too. */
  files: boolean;
}

/** The head of a request. */
export interface Request {
  method: string;
  /** As it was written. */
  target: string;
  /** The version is HTTP/1 point this. */
  minor: number;
  fields: Fields;
  /** Bytes of the head. */
  size: number;
}

/** What is to be done about a request. All but an upgrade ends with the connection. */
export type Answer =
  | { do: "upgrade"; key: string; panpipe: boolean; /** The subprotocol, if one is selected. */ selected: string | null }
  /** `path` is below the folder of files. It may be a folder, or not there. */
  | { do: "file"; path: string; headOnly: boolean }
  | { do: "refuse"; status: number; why: string; headOnly: boolean };

/** Reads the head of a request that `bytes` begin with; null while it is not whole. Throws a `BadHead`. */
export function readRequest(bytes: Uint8Array): Request | null {
  const head = readHead(bytes, checkLine);
  if (head === null) return null;
  const [method, target, protocol] = head.line.split(" ") as [string, string, string];
  if (!/^\/[\x21-\x22\x24-\x7e]*$/.test(target)) throw new BadHead(400, "a target that is no path");
  return { method, target, minor: Number(protocol.slice(-1)), fields: head.fields, size: head.size };
}

function checkLine(line: string, whole: boolean): void {
  const [, protocol] = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+ [^ \t]+ (HTTP\/\d+(?:\.\d+)?)$/.exec(line) ?? [];
  if (whole && protocol === undefined) throw new BadHead(400, "no request");
  if (whole && !/^HTTP\/1\.[01]$/.test(protocol!)) throw new BadHead(505, "a version of HTTP other than 1.1");
  if (!whole && !/^([!#$%&'*+.^_`|~0-9A-Za-z-]+( .*)?)?$/.test(line)) throw new BadHead(400, "no request");
}

/** Judges a request by all but the state of the file system. */
export function judge(policy: Policy, request: Request): Answer {
  try {
    return decide(policy, request);
  } catch (error) {
    if (!(error instanceof BadHead)) throw error;
    return { do: "refuse", status: error.status, why: error.why, headOnly: request.method === "HEAD" };
  }
}

function decide(policy: Policy, request: Request): Answer {
  const { method, fields, target } = request;
  checkBody(fields);
  const host = checkHost(policy, fields);
  const headOnly = policy.files && method === "HEAD";
  if (method !== "GET" && !headOnly) throw new BadHead(405, policy.files ? "files are got with GET and HEAD" : "a WebSocket is asked for with GET");
  const upgrade = fields.one("upgrade");
  if (upgrade === null) {
    if (policy.files) return { do: "file", path: fileBelow(target.split("?", 1)[0]!), headOnly };
    throw decoded(target) === policy.path ? new BadHead(426, "a WebSocket is here, and nothing else") : new BadHead(404, "nothing is here");
  }
  if (headOnly) throw new BadHead(405, "a WebSocket is asked for with GET");
  if (request.minor !== 1) throw new BadHead(505, "a WebSocket is asked for with HTTP/1.1");
  checkOrigin(policy, fields, host);
  if (decoded(target) !== policy.path) throw new BadHead(404, "no WebSocket has this path");
  if (upgrade.toLowerCase() !== "websocket") throw new BadHead(400, "the field Upgrade is not websocket");
  return decideUpgrade(policy, fields);
}

/** RFC 6455, section 4.2. */
function decideUpgrade(policy: Policy, fields: Fields): Answer {
  if (!hasItem(required(fields, "connection"), "upgrade")) throw new BadHead(400, "the field Connection has no Upgrade");
  if (required(fields, "sec-websocket-version") !== version) throw new BadHead(426, `another version of WebSocket than ${version}`);
  const key = required(fields, "sec-websocket-key");
  // Base64 of 16 bytes, whose last bits are zero.
  if (!/^[A-Za-z0-9+/]{21}[AQgw]==$/.test(key)) throw new BadHead(400, "the field Sec-WebSocket-Key is not base64 of 16 bytes");
  const offered = fields.list("sec-websocket-protocol");
  checkToken(policy, fields, offered);
  if (!offered.every(isToken) || new Set(offered).size < offered.length) throw new BadHead(400, "a subprotocol that is no token, or offered twice");
  const panpipe = offered.includes(subprotocol);
  if (panpipe && !policy.panpipe) throw new BadHead(400, "the subprotocol panpipe, and plain messages are served here");
  if (!panpipe && !policy.plain) throw new BadHead(400, "no subprotocol panpipe, and only that is served here");
  // A browser fails where it offers some, as one for a token, and none is selected.
  const selected = [panpipe ? subprotocol : plainSubprotocol].find((each) => offered.includes(each)) ?? null;
  return { do: "upgrade", key, panpipe, selected };
}

function required(fields: Fields, name: string): string {
  const value = fields.one(name);
  if (value === null) throw new BadHead(400, `the field ${name} is missing`);
  return value;
}

/** Nothing that is answered here has a body, and what follows the head is the other protocol. */
function checkBody(fields: Fields): void {
  const length = fields.one("content-length") ?? "0";
  if (length !== "0" || fields.one("transfer-encoding") !== null) throw new BadHead(400, "a request with a body");
}

/** The host that a request names, if the listener answers to it. */
function checkHost(policy: Policy, fields: Fields): Authority {
  const value = required(fields, "host");
  const host = readAuthority(value);
  if (host === null) throw new BadHead(400, "the field Host is no host");
  if (allowsHost(policy.hosts, host, policy.port, schemeOf(policy))) return host;
  throw new BadHead(403, `the host ${JSON.stringify(value)} is not allowed here; the option host= allows one`);
}

/** Lets in who is no browser, and the pages that are allowed. */
function checkOrigin(policy: Policy, fields: Fields, host: Authority): void {
  const value = fields.one("origin");
  if (value === null) return;
  const origin = readOrigin(value);
  if (origin !== null && (policy.origins.includes(origin) || (policy.files && origin === originOf(schemeOf(policy), host)))) return;
  throw new BadHead(403, `the origin ${JSON.stringify(value)} is not allowed here; the option origin= allows one`);
}

/** Wants the token once at least, and no other one. */
function checkToken(policy: Policy, fields: Fields, offered: readonly string[]): void {
  const { token } = policy;
  if (token === null) return;
  const authorization = fields.one("authorization");
  const given = offered.filter(carriesToken).map((each) => isSecret(asSubprotocol(token), each));
  // RFC 6750, section 2.1.
  if (authorization !== null) given.push(isSecret(token, /^bearer +(.*)$/i.exec(authorization)?.[1] ?? ""));
  if (given.length === 0) throw new BadHead(401, "a token is needed, and none was given");
  if (given.includes(false)) throw new BadHead(401, "the token is not the right one");
}

function schemeOf(policy: Policy): string {
  return policy.secure ? "https" : "http";
}
