/**
 * Hosts and origins, as requests name them (RFC 9110, section 7.2; RFC 6454).
 *
 * A web page can have its own name lead to this machine and is then of the same origin as the listener, for a browser ("DNS rebinding"). But the Host of its requests is the page's name.
 */

import { canonical, isLoopback, isNumeric } from "../host.js";

/** A host and perhaps a port. */
export interface Authority {
  /** A name in lower case, or an IP address in its one form. */
  name: string;
  port: number | null;
}

/** Reads `name`, `name:port`, `[IPv6]` or `[IPv6]:port`; null for anything else. */
export function readAuthority(text: string): Authority | null {
  const [, six, name, digits] = /^(?:\[([^\]]*)\]|([A-Za-z0-9._-]+))(?::(0|[1-9]\d{0,4}))?$/.exec(text) ?? [];
  const port = digits === undefined ? null : Number(digits);
  if (port !== null && port > 65535) return null;
  if (six !== undefined) return six.includes(":") && isNumeric(six) ? { name: canonical(six), port } : null;
  return name === undefined ? null : { name: name.toLowerCase(), port };
}

const own: Readonly<Record<string, number>> = { http: 80, https: 443 };

/** Reads `scheme://host` or `scheme://host:port`; answers it as it is compared, without the port that its scheme has anyway, or null for anything else, as `null`. */
export function readOrigin(text: string): string | null {
  const [, scheme, rest] = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/(.*)$/.exec(text) ?? [];
  const authority = rest === undefined ? null : readAuthority(rest);
  return authority === null ? null : originOf(scheme!.toLowerCase(), authority);
}

/** The origin of a server, as it is compared. */
export function originOf(scheme: string, { name, port }: Authority): string {
  return `${scheme}://${name}${port === null || port === own[scheme] ? "" : `:${port}`}`;
}

/** A host that a listener answers to. */
export interface HostRule {
  /** Null for any IP address. */
  name: string | null;
  /** The listener's, any, or this one alone. */
  port: "own" | "any" | number;
}

/** Those that a listener at `host`, as its address says it, answers to without being told: that host; every name of loopback if it is one; every IP address and `localhost` if it is all interfaces. */
export function defaultHosts(host: string): HostRule[] {
  const name = isNumeric(host) ? canonical(host) : host.toLowerCase();
  const names = isUnspecified(name) ? [null, "localhost"] : name === "localhost" || isLoopback(host) ? ["localhost", "127.0.0.1", canonical("::1"), name] : [name];
  return names.map((each) => ({ name: each, port: "own" }));
}

/** Those of the option `host`. */
export function hostRules(hosts: readonly Authority[]): HostRule[] {
  return hosts.map(({ name, port }) => ({ name, port: port ?? "any" }));
}

/** Whether one of `rules` allows this host, where the listener has `port`; no port stands for the scheme's own. */
export function allowsHost(rules: readonly HostRule[], host: Authority, port: number, scheme: string): boolean {
  const given = host.port ?? own[scheme]!;
  return rules.some((rule) => (rule.name === null ? isNumeric(host.name) : rule.name === host.name) && (rule.port === "any" || given === (rule.port === "own" ? port : rule.port)));
}

function isUnspecified(name: string): boolean {
  return name === "0.0.0.0" || name === canonical("::");
}
