/** `//HOST:PORT`, and where HTTP is spoken a path behind it: what the schemes that name a host share of an address. Without encryption only loopback, unless `insecure=true` says otherwise. */

import dns from "node:dns/promises";

import { Fault } from "../wire/error.js";
import { isLoopback, isNumeric } from "../wire/host.js";

// Known without a resolver, which in Node would start threads.
const localhost = ["127.0.0.1", "::1"];

/** What is special about the hosts and ports of a scheme. */
export interface HostScheme {
  scheme: string;
  /** Whether what is sent is encrypted, so that it may go anywhere. */
  encrypted: boolean;
  /** The port when none is said; null where one must be. Where there is one a path may follow. */
  port: number | null;
}

/** A host and a port. */
export interface HostPort {
  /** A name or a numeric address; `localhost` where the address names none. */
  host: string;
  port: number;
  /** With its `/` in front, or empty. */
  path: string;
}

/** Reads a target; throws `invalid-address`. */
export function readHostPort({ scheme, encrypted, port: usual }: HostScheme, target: string, insecure: boolean): HostPort {
  if (!target.startsWith("//")) throw new Fault("invalid-address", `the host is missing: this address is written ${scheme}://HOST:PORT${usual === null ? "" : "/PATH"}`);
  const slash = usual === null ? -1 : target.indexOf("/", 2);
  const text = target.slice(2, slash < 0 ? undefined : slash);
  const path = slash < 0 ? "" : target.slice(slash);
  if (path.includes("#")) throw new Fault("invalid-address", "a path has no #: what follows one never reaches a server");
  const parts = /^(?:\[([^\]]*)\]|([^[\]:]*))(?::([^:]*))?$/.exec(text);
  if (parts === null) throw new Fault("invalid-address", `an IPv6 address stands in brackets, as in ${scheme}://[::1]:9999`);
  const port = parts[3] ?? String(usual ?? "");
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65535) {
    throw new Fault("invalid-address", `the port must be a number from 0 to 65535, as in ${scheme}://localhost:9999; this one is ${JSON.stringify(port)}`);
  }
  const host = parts[1] ?? (parts[2] === "" ? "localhost" : parts[2]!);
  if (parts[1] !== undefined && (!isNumeric(host) || !host.includes(":"))) {
    throw new Fault("invalid-address", `${JSON.stringify(host)} is no IPv6 address, and only those stand in brackets`);
  }
  if (parts[1] === undefined && !/^[A-Za-z0-9._-]+$/.test(host)) throw new Fault("invalid-address", `${JSON.stringify(host)} is no host name`);
  if (isNumeric(host)) allow(scheme, host, insecure || encrypted);
  return { host, port: Number(port), path };
}

/** The numeric addresses of a host, each of them allowed. */
export async function resolveHost({ scheme, encrypted }: HostScheme, host: string, insecure: boolean): Promise<string[]> {
  if (host === "localhost") return localhost;
  if (isNumeric(host)) return [host];
  const found = await dns.lookup(host, { all: true });
  for (const { address } of found) allow(scheme, address, insecure || encrypted);
  return found.map(({ address }) => address);
}

function allow(scheme: string, host: string, anywhere: boolean): void {
  if (!anywhere && !isLoopback(host)) {
    throw new Fault("invalid-address", `${host} is not this machine, and ${scheme} is not encrypted; insecure=true allows it all the same`);
  }
}

/** The same as text, as it stands in an address. */
export function writeHostPort(host: string, port: number): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}
