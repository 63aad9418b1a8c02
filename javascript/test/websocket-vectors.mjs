// The vectors of the WebSocket, as bytes to send and things to expect; vectors/websocket.md says what they mean.

import { readFileSync } from "node:fs";

export const vectors = JSON.parse(readFileSync(new URL("../../vectors/websocket.json", import.meta.url), "utf8"));

const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 };

/** A text of a vector. */
export function text(given) {
  if (typeof given === "string") return given;
  if (given.join !== undefined) return given.join.map(text).join("");
  return given.repeat[0].repeat(given.repeat[1]);
}

/** Bytes of a vector. */
export const bytes = (given) => Buffer.from(text(given), "hex");

/** A message of a vector. */
export const message = (given) => (typeof given === "object" && given.hex !== undefined ? bytes(given.hex) : Buffer.from(text(given)));

/** One frame, as a client or a server sends it. */
function frame(given, fromClient) {
  if (given.raw !== undefined) return bytes(given.raw);
  if (given.times !== undefined) {
    const once = Buffer.concat((given.frames ?? [given.frame]).map((each) => frame(each, fromClient)));
    return Buffer.concat(Array(given.times).fill(once));
  }
  let payload = given.hex !== undefined ? bytes(given.hex) : Buffer.from(text(given.text ?? ""));
  if (given.op === "close" && given.code !== undefined) payload = Buffer.concat([Buffer.from([given.code >> 8, given.code & 255]), Buffer.from(text(given.reason ?? ""))]);
  const length = given.announces === undefined ? BigInt(payload.length) : BigInt(given.announces);
  const form = given.form ?? (length < 126n ? 7 : length < 65536n ? 16 : 64);
  const masked = given.mask !== undefined || (given.masked ?? fromClient);
  const mask = Buffer.from(given.mask ?? "a1b2c3d4", "hex");
  const head = Buffer.alloc(form === 7 ? 2 : form === 16 ? 4 : 10);
  head[0] = (given.fin === false ? 0 : 0x80) | ((given.rsv ?? 0) << 4) | (opcodes[given.op] ?? given.op);
  head[1] = (masked ? 0x80 : 0) | (form === 7 ? Number(length) : form === 16 ? 126 : 127);
  if (form === 16) head.writeUInt16BE(Number(length), 2);
  if (form === 64) head.writeBigUInt64BE(length, 2);
  return Buffer.concat([head, ...(masked ? [mask] : []), masked ? payload.map((byte, at) => byte ^ mask[at % 4]) : payload]);
}

/** All that a case of `frames` sends. */
export const sent = ({ sends }, fromClient) => Buffer.concat(sends.map((each) => frame(each, fromClient)));

/** The head that a case of `requests` or `responses` sends, with what follows it. */
export function head(right, given, replace) {
  if (given.raw !== undefined) return given.raw.hex !== undefined ? bytes(given.raw.hex) : Buffer.from(replace(text(given.raw)));
  const fields = Object.entries({ ...right.fields, ...given.with }).filter(([name]) => !given.without?.includes(name));
  const lines = [text(given.line ?? right.line), ...fields.map(([name, value]) => `${name}: ${text(value)}`)];
  let fill = null;
  for (const line of given.more ?? []) {
    if (typeof line === "object" && line.fill !== undefined) fill = line.fill;
    else if (typeof line === "object" && line.repeat !== undefined) lines.push(...Array(line.repeat[1]).fill(line.repeat[0]));
    else lines.push(text(line));
  }
  if (fill !== null) {
    const without = Buffer.byteLength(replace([...lines, "X-Fill: ", "", ""].join("\r\n")));
    lines.push(`X-Fill: ${"x".repeat(fill - without)}`);
  }
  return Buffer.from(replace([...lines, "", given.body ?? ""].join("\r\n")));
}
