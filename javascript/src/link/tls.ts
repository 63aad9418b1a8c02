/** `tls://HOST:PORT`: TLS on TCP sockets. */

import { dial, readToDial, remoteOf } from "./dial.js";
import { checkOf, tokenOf } from "./gate.js";
import type { HostScheme } from "./host-port.js";
import type { Transport } from "./link.js";
import { listenAtPort } from "./port.js";
import { SecureClient } from "./secure.js";
import { StreamLink } from "./stream.js";

const scheme: HostScheme = { scheme: "tls", encrypted: true, port: null };

/** The transport `tls`. */
export const tls: Transport = {
  info: {
    scheme: "tls",
    form: "tls://HOST:PORT",
    reaches: "other machines",
    goodFor: "programs on different machines, over networks that others can read",
    notFor: "a first try (it needs a certificate: panpipe cert makes one)",
    options: ["backlog", "connections", "ca", "cert", "key", "client_ca", "fingerprint", "accept", "host", "origin", "token", "static"],
    check: checkOf(scheme),
  },

  async connect(address, limits) {
    const deadline = performance.now() + limits.timeout;
    const place = readToDial(scheme, address);
    const token = tokenOf(address, false);
    const client = new SecureClient(address, place.host, null);
    const socket = await dial(scheme, place, address, limits);
    const remote = remoteOf("tls", socket);
    const secure = await client.greet(socket, { ...limits, timeout: deadline - performance.now() });
    return new StreamLink(secure, secure, { remote, token });
  },

  listen: (address, events) => listenAtPort(scheme, address, events),
};
