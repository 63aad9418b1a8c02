// The texts that requests and answers name by their place.

import { same } from "./same.mjs";

/** The texts of a request as bytes. */
export function decoded(texts) {
  return texts.map((text) => {
    const [part, times] = text.split("*");
    const bytes = Uint8Array.from(part.match(/../g) ?? [], (digits) => parseInt(digits, 16));
    const whole = new Uint8Array(bytes.length * Number(times ?? 1));
    for (let at = 0; at < whole.length; at += bytes.length) whole.set(bytes, at);
    return whole;
  });
}

/** What a message is in an answer: the place of its text, or itself in hexadecimal. */
export function answerOf(message, job, texts) {
  if (message === null) return null;
  const kind = job.address.includes("text=true") ? "string" : "object";
  if (typeof message !== kind) throw new Error(`${message} is no ${kind}`);
  const bytes = kind === "string" ? new TextEncoder().encode(message) : message;
  const place = texts.findIndex((text) => same(text, bytes));
  return place < 0 ? Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("") : place;
}
