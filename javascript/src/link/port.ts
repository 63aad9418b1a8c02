/** A listener at a TCP port, whoever may come there. */

import type { Address } from "../wire/address.js";
import { HttpGuard } from "../wire/http.js";
import { bind, remoteOf } from "./dial.js";
import { tokenOf } from "./gate.js";
import { readHostPort, writeHostPort, type HostScheme } from "./host-port.js";
import type { LinkListener, ListenerEvents } from "./link.js";
import { Reception } from "./reception.js";
import { SecureListener } from "./secure.js";
import { SocketServers } from "./socket.js";
import { StreamLink } from "./stream.js";

/** What HTTP over TLS is called there (RFC 7301). */
export const alpn = "http/1.1";

/** Listens; throws what the files that the address names throw, and the system's errors. */
export async function listenAtPort(scheme: HostScheme, address: Address, events: ListenerEvents): Promise<LinkListener> {
  const place = readHostPort(scheme, address.target, address.insecure);
  const isWeb = scheme.port !== null;
  const secure = scheme.encrypted ? new SecureListener(address, isWeb ? alpn : null) : null;
  const token = tokenOf(address, true);
  const http = isWeb ? "all" : address.accepts?.websocket === true ? "some" : "none";
  const alike = http === "none" && secure === null && token === null && address.accepts === null;
  const reception = alike ? null : new Reception({ address, http, secure, token }, place, (link) => events.onLink(link));
  const servers = new SocketServers(`accepting on ${address.text}`, address.connections, (socket) => {
    if (reception !== null) return reception.admit(socket);
    // Messages are small and each is flushed; Nagle's algorithm would only delay them.
    socket.setNoDelay(true);
    // The first bytes of the panpipe protocol tell by themselves, and the other side is told in its words.
    const guard = address.protocol === "panpipe" ? {} : { guard: new HttpGuard() };
    events.onLink(new StreamLink(socket, socket, { remote: remoteOf(scheme.scheme, socket), ...guard }));
  });
  const bound = await bind(servers, scheme, place, address);
  if (reception !== null) reception.port = bound;
  return {
    target: `//${writeHostPort(place.host, bound)}${encodeURI(place.path).replaceAll("?", "%3F")}`,
    ref: () => servers.ref(),
    unref: () => servers.unref(),
    async close() {
      servers.close();
      reception?.close();
      events.onEnd();
    },
  };
}
