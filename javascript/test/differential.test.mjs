// Random conversations of the session in Rust, which this one must have in the same way: crates/wire/src/panpipe/tests/differential.rs.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { Driven } from "./driving.mjs";

const written = new URL("../../target/differential/sessions.json", import.meta.url);

function conversations() {
  try {
    return JSON.parse(readFileSync(written, "utf8"));
  } catch (cause) {
    throw new Error("there are no conversations; hint: cargo test -p panpipe-wire differential", { cause });
  }
}

test("conversations go as they went in Rust", () => {
  const all = conversations();
  assert.ok(all.length >= 100);
  for (const { name, side, steps } of all) {
    for (const chunk of [Infinity, 1000]) {
      const driven = new Driven({ side }, chunk);
      steps.forEach((step, index) => {
        try {
          driven.step(step);
        } catch (error) {
          error.message = `${name}, step ${index}, ${JSON.stringify(step).slice(0, 300)}, in chunks of ${chunk}: ${error.message}`;
          throw error;
        }
      });
    }
  }
});
