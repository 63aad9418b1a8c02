/** The upgrade, as a client asks for it and reads the answer (RFC 6455, section 4.1). Held by `vectors/websocket.json`. */

import { Fault, type Code } from "../error.js";
import { BadHead, hasItem, readHead, type Fields } from "./head.js";
import { subprotocol } from "./policy.js";
import { encoded } from "./target.js";

/** So much of the body of a refusal is told, in characters. */
const mostTold = 200;

const codes: Readonly<Record<string, Code>> = { 401: "unauthenticated", 403: "permission", 404: "not-found" };

/** What a client asks for. */
export interface Upgrade {
  /** As the field Host has it: `name` or `name:port`. */
  host: string;
  /** Decoded, with its query if it has one. */
  path: string;
  /** Base64 of 16 random bytes. */
  key: string;
  panpipe: boolean;
  /** Null for none. */
  token: string | null;
}

/** The request. */
export function upgradeRequest({ host, path, key, panpipe, token }: Upgrade): string {
  return (
    `GET ${encoded(path)} HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n` +
    `${panpipe ? `Sec-WebSocket-Protocol: ${subprotocol}\r\n` : ""}${token === null ? "" : `Authorization: Bearer ${token}\r\n`}\r\n`
  );
}

/** A server's answer to it; `accept` answers the client's key, and `selected` is the subprotocol, if any is. */
export function upgradeResponse(accept: string, selected: string | null): string {
  return (
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n` +
    `${selected === null ? "" : `Sec-WebSocket-Protocol: ${selected}\r\n`}\r\n`
  );
}

/**
 * Reads the answer that `bytes` begin with: how many bytes its head has, behind which frames begin; null while it is not whole.
 *
 * Throws a `Fault`: `unauthenticated` for 401, `permission` for 403, `not-found` for 404, `bad-peer` for everything else.
 */
export function readResponse(bytes: Uint8Array, accept: string, panpipe: boolean): number | null {
  try {
    const head = readHead(bytes, checkLine);
    if (head === null) return null;
    const status = head.line.slice(9, 12);
    if (status !== "101") throw refused(status, bytes.subarray(head.size));
    if (!head.line.startsWith("HTTP/1.1")) throw new BadHead(0, "it upgrades with another version than HTTP/1.1");
    checkFields(head.fields, accept, panpipe);
    return head.size;
  } catch (error) {
    throw error instanceof BadHead ? new Fault("bad-peer", `the server answered with what is no WebSocket: ${error.why}`) : error;
  }
}

function checkLine(line: string, whole: boolean): void {
  const right = whole ? /^HTTP\/1\.[01] \d{3}( .*)?$/.test(line) : line.startsWith("HTTP/1.") || "HTTP/1.".startsWith(line);
  if (!right) throw new BadHead(0, "no HTTP");
}

function checkFields(fields: Fields, accept: string, panpipe: boolean): void {
  if (fields.one("upgrade")?.toLowerCase() !== "websocket") throw new BadHead(0, "an upgrade to something else");
  if (!hasItem(fields.one("connection") ?? "", "upgrade")) throw new BadHead(0, "an upgrade without the field Connection");
  if (fields.one("sec-websocket-accept") !== accept) throw new BadHead(0, "its Sec-WebSocket-Accept is not the answer to the key");
  if (fields.all("sec-websocket-extensions").length > 0) throw new BadHead(0, "an extension that was not offered");
  const selected = fields.one("sec-websocket-protocol");
  if (selected === (panpipe ? subprotocol : null)) return;
  throw new BadHead(0, selected === null ? "it does not take the subprotocol panpipe" : `the subprotocol ${JSON.stringify(selected)}, which was not offered`);
}

/** What another status than 101 means, with the first line of what has come of the body. */
function refused(status: string, body: Uint8Array): Fault {
  const line = new TextDecoder().decode(body).split("\n", 1)[0]!.slice(0, mostTold).trim();
  return new Fault(codes[status] ?? "bad-peer", `the server answered with the status ${status}${line === "" ? "" : `: ${JSON.stringify(line)}`}`);
}
