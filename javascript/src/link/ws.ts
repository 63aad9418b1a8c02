/** `ws://HOST:PORT/PATH` and `wss://HOST:PORT/PATH`: WebSocket (RFC 6455) on TCP and on TLS, each message a packet. */

import { randomBytes } from "node:crypto";
import type { Duplex } from "node:stream";

import type { Address, TransportInfo } from "../wire/address.js";
import { Fault } from "../wire/error.js";
import { readResponse, upgradeRequest } from "../wire/websocket/upgrade.js";
import { dial, readToDial, remoteOf } from "./dial.js";
import { FirstBytes, Patience } from "./first-bytes.js";
import { checkOf, tokenOf } from "./gate.js";
import { writeHostPort, type HostPort, type HostScheme } from "./host-port.js";
import type { Limits, Transport } from "./link.js";
import { alpn, listenAtPort } from "./port.js";
import { SecureClient } from "./secure.js";
import { WebSocketLink, acceptOf } from "./web-socket.js";

type Words = Pick<TransportInfo, "goodFor" | "notFor" | "options">;

function transport(scheme: HostScheme, words: Words): Transport {
  return {
    info: { ...words, scheme: scheme.scheme, form: `${scheme.scheme}://HOST:PORT/PATH`, reaches: "other machines", packets: true, check: checkOf(scheme) },

    async connect(address, limits) {
      const deadline = performance.now() + limits.timeout;
      const left = () => ({ ...limits, timeout: deadline - performance.now() });
      const place = readToDial(scheme, address);
      const token = tokenOf(address, false);
      const client = scheme.encrypted ? new SecureClient(address, place.host, alpn) : null;
      const socket = await dial(scheme, place, address, limits);
      const remote = remoteOf(scheme.scheme, socket);
      const stream = client === null ? socket : await client.greet(socket, left());
      const panpipe = address.protocol === "panpipe";
      const first = await upgraded(stream, scheme, place, panpipe, token, left());
      const carries = panpipe ? "frames" : address.textMode ? "text" : "binary";
      return new WebSocketLink(stream, { client: true, max: address.max, carries, remote, first });
    },

    listen: (address: Address, events) => listenAtPort(scheme, address, events),
  };
}

/** Asks for the upgrade; answers what was read behind the answer. */
async function upgraded(stream: Duplex, scheme: HostScheme, { host, port, path }: HostPort, panpipe: boolean, token: string | null, { timeout, signal }: Limits): Promise<Uint8Array> {
  const key = randomBytes(16).toString("base64");
  const accept = acceptOf(key);
  const named = writeHostPort(host, port);
  const patience = new Patience();
  const timer = setTimeout(() => patience.end(new Fault("deadline-exceeded", "the timeout passed before the server had answered")), Math.min(Math.max(timeout, 0), 2 ** 31 - 1));
  const abort = () => patience.end(new Fault("cancelled", "the caller gave up"));
  signal?.addEventListener("abort", abort);
  if (signal?.aborted === true) abort();
  const first = new FirstBytes(stream);
  // What breaks it is told when it is read.
  stream.on("error", () => {});
  try {
    stream.write(upgradeRequest({ host: port === scheme.port ? named.slice(0, named.lastIndexOf(":")) : named, path: path === "" ? "/" : path, key, panpipe, token }));
    const size = await first.until((bytes) => readResponse(bytes, accept, panpipe), patience);
    return first.bytes.subarray(size);
  } catch (error) {
    stream.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

/** The transport `ws`. */
export const ws = transport(
  { scheme: "ws", encrypted: false, port: 80 },
  {
    goodFor: "browsers, and what only lets HTTP through",
    notFor: "secrets across a network (no encryption; wss: has it)",
    options: ["backlog", "connections", "insecure", "host", "origin", "token", "static"],
  },
);

/** The transport `wss`. */
export const wss = transport(
  { scheme: "wss", encrypted: true, port: 443 },
  {
    goodFor: "browsers on other machines; networks that others can read",
    notFor: "a first try (it needs a certificate: panpipe cert makes one)",
    options: ["backlog", "connections", "ca", "cert", "key", "client_ca", "fingerprint", "host", "origin", "token", "static"],
  },
);
