// Reads chunks with a real session and tells what came of it, in a form that two readings can be compared by.

import { Inbox } from "../dist/wire/inbox.js";
import { Session, Waiter } from "../dist/wire/session.js";
import { resolveFraming } from "../dist/wire/framing/mod.js";
import { toHex } from "./bytes.mjs";

export function read(framing, chunks, { max = 16 * 1024 * 1024, eof = false, lazy = false } = {}) {
  const session = new Session("test:", new Inbox(resolveFraming(framing).decoder(max)), false);
  const messages = [];
  const result = { messages, code: undefined, ended: false };
  const drain = () => {
    for (let step = 0; result.code === undefined && !result.ended; step++) {
      let message;
      try {
        message = session.take(() => {});
      } catch (error) {
        if (error.name !== "PanpipeError") throw error;
        result.code = error.code;
        return;
      }
      if (message === undefined) return;
      if (message === null) result.ended = true;
      else messages.push(toHex(message));
      if (step > 100_000) throw new Error("a decoder that makes no progress");
    }
  };
  for (const chunk of chunks) {
    session.receive(chunk);
    if (!lazy) drain();
  }
  if (eof) session.finish();
  drain();
  return result;
}

export function cut(bytes, size) {
  const chunks = [];
  for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.slice(at, at + size));
  return chunks;
}

export function write(framing, message, max = 16 * 1024 * 1024) {
  const { encoder } = resolveFraming(framing);
  encoder.check(message);
  const out = new Uint8Array(encoder.overhead + message.length);
  const from = encoder.head(message.length, out, 0);
  out.set(message, from);
  return out.slice(0, encoder.tail(out, from + message.length));
}

export { Inbox, Session, Waiter, resolveFraming };
