/** `stdio:` or `-`: this process's own stdin and stdout. Whatever else the program prints goes to stderr from then on. */

import fs from "node:fs";

import type { Address } from "../wire/address.js";
import { Fault } from "../wire/error.js";
import { inputOf, kindOf, outputOf } from "./descriptor.js";
import type { Link, LinkListener, ListenerEvents, Transport } from "./link.js";
import { onlyLink } from "./only-link.js";
import { StreamLink } from "./stream.js";

/** The transport `stdio`. */
export const stdio: Transport = {
  info: {
    scheme: "stdio",
    form: "stdio: or -",
    reaches: "the parent or the shell's pipe",
    goodFor: "a program that another one starts",
    notFor: "more than one peer",
    options: [],
    check(target) {
      if (target !== "") throw new Fault("invalid-address", `stdio: takes no target, and ${JSON.stringify(target)} follows it`);
    },
  },

  async connect(): Promise<Link> {
    return open();
  },

  async listen(address: Address, events: ListenerEvents): Promise<LinkListener> {
    return onlyLink(address, events, open());
  },
};

let taken = false;

function open(): Link {
  if (taken) throw new Fault("address-in-use", "this process already uses its stdin and stdout");
  const input = inputOf(0);
  const output = outputOf(1);
  taken = true;
  // A stray console.log would be read as part of the protocol.
  process.stdout.write = process.stderr.write.bind(process.stderr) as typeof process.stdout.write;
  return new StreamLink(input, output, { remote: { transport: "stdio" }, afterEnd: giveUpStdout });
}

/** Node never closes descriptors 0 to 2, but the reader of a pipe waits for its end. */
function giveUpStdout(): void {
  if (kindOf(1) !== "pipe") return;
  fs.closeSync(1);
  // The lowest free number is 1 again, so that no later file becomes anybody's stdout.
  fs.openSync("/dev/null", "w");
}
