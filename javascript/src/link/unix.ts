/** `unix:PATH`, `unix:@NAME`: Unix stream sockets, in the file system or in Linux's abstract names. */

import { randomBytes } from "node:crypto";
import type net from "node:net";

import { writtenTarget, type Address } from "../wire/address.js";
import { Fault } from "../wire/error.js";
import { codeOf } from "./classify.js";
import type { Limits, Link, LinkListener, ListenerEvents, Transport } from "./link.js";
import { hasNative, peerOf, requireNative } from "./native.js";
import { checkPath, longestPath, withShortPath } from "./short-path.js";
import { SocketFile } from "./socket-file.js";
import { SocketServers, connectSocket } from "./socket.js";
import { StreamLink } from "./stream.js";
import { checkUnixName, readUnixName, refuseFreeName } from "./unix-name.js";

// libuv before Node 22 passes the whole `sun_path` to the system, and in an abstract name every byte counts.
const padsNames = Number(process.versions.node.split(".", 1)[0]) < 22;

/** The transport `unix`. */
export const unix: Transport = {
  info: {
    scheme: "unix",
    form: "unix:PATH, unix:@NAME",
    reaches: "this machine",
    goodFor: "programs of one machine: fast, and the file's mode says who may connect",
    notFor: "other machines; programs that know only ports",
    options: ["backlog", "connections", "mode", "allow"],
    check: (target, _, given) => checkUnixName(target, given),
  },

  async connect(address: Address, limits: Limits): Promise<Link> {
    const path = readUnixName(address.target);
    refuseFreeName(path);
    if (!path.startsWith("\0")) return link(await withShortPath(path, (short) => connectSocket({ path: short }, limits)));
    checkName(path);
    try {
      return link(await connectSocket({ path }, limits));
    } catch (error) {
      if (!padsNames || codeOf(error) !== "ECONNREFUSED") throw error;
      throw new Fault("refused", `${(error as Error).message} (Node before 22 fills abstract names up with zero bytes, which panpipe's other languages look for too, and plain sockets do not)`);
    }
  },

  async listen(address: Address, events: ListenerEvents): Promise<LinkListener> {
    const free = address.target.endsWith("*");
    for (let round = 0; ; round++) {
      const name = free ? randomBytes(4).toString("hex") : "";
      const path = readUnixName(address.target).replace(/\*$/, free ? name : "*");
      if (path.startsWith("\0")) checkName(path);
      else checkPath(path);
      try {
        const listener = await listenAt(path, address, events);
        return { ...listener, target: writtenTarget(address).replace(/\*$/, free ? name : "*") };
      } catch (error) {
        if (!free || round === 100 || !(error instanceof Fault && error.code === "address-in-use")) throw error;
      }
    }
  },
};

async function listenAt(path: string, address: Address, events: ListenerEvents): Promise<Omit<LinkListener, "target">> {
  if (address.allow !== null) requireNative("allow=");
  // An abstract name has no file whose mode would keep anybody away.
  const allow = address.allow ?? (path.startsWith("\0") && hasNative() ? { uids: [process.geteuid!(), 0], gids: [] } : null);
  const servers = new SocketServers(`accepting on ${address.text}`, address.connections, (socket) => {
    const peer = peerOf(socket);
    if (allow === null || (peer !== null && (allow.uids.includes(peer.uid) || allow.gids.includes(peer.gid)))) events.onLink(link(socket, peer));
    else socket.destroy();
  });
  const { backlog, mode } = address;
  const file = path.startsWith("\0") ? null : await SocketFile.create(path, mode, (at) => servers.add({ path: at, backlog }));
  if (file === null) await servers.add({ path, backlog });
  return {
    ref: () => servers.ref(),
    unref: () => servers.unref(),
    async close() {
      file?.remove();
      servers.close();
      events.onEnd();
    },
  };
}

function link(socket: net.Socket, peer = peerOf(socket)): Link {
  return new StreamLink(socket, socket, { remote: { transport: "unix", ...peer } });
}

function checkName(name: string): void {
  const size = Buffer.byteLength(name) - 1;
  if (size > longestPath) throw new Fault("path-too-long", `an abstract name of ${size} bytes, and the system takes at most ${longestPath}`);
}
