/** `tcp://HOST:PORT`: TCP sockets, on the loopback interface unless `insecure=true` says otherwise. */

import { dial, readToDial, remoteOf } from "./dial.js";
import { checkOf, tokenOf } from "./gate.js";
import type { HostScheme } from "./host-port.js";
import type { Transport } from "./link.js";
import { listenAtPort } from "./port.js";
import { StreamLink } from "./stream.js";

const scheme: HostScheme = { scheme: "tcp", encrypted: false, port: null };

/** The transport `tcp`. */
export const tcp: Transport = {
  info: {
    scheme: "tcp",
    form: "tcp://HOST:PORT",
    reaches: "other machines",
    goodFor: "programs on different machines; anything that speaks sockets",
    notFor: "secrets across a network (no encryption; tls: has it)",
    options: ["backlog", "connections", "insecure", "accept", "host", "origin", "token", "static"],
    check: checkOf(scheme),
  },

  async connect(address, limits) {
    const place = readToDial(scheme, address);
    const token = tokenOf(address, false);
    const socket = await dial(scheme, place, address, limits);
    return new StreamLink(socket, socket, { remote: remoteOf("tcp", socket), token });
  },

  listen: (address, events) => listenAtPort(scheme, address, events),
};
