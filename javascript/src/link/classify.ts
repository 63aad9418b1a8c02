/** The one place where errors of the operating system become codes. */

import { Fault, type Code } from "../wire/error.js";

const table: Readonly<Record<string, Code>> = {
  ECONNREFUSED: "refused",
  ENOENT: "not-found",
  ENOTFOUND: "not-found",
  EAI_AGAIN: "not-found",
  EAI_NODATA: "not-found",
  ENOTDIR: "not-found",
  ENXIO: "not-found",
  EBADF: "not-found",
  EACCES: "permission",
  EPERM: "permission",
  EROFS: "permission",
  EADDRINUSE: "address-in-use",
  ETIMEDOUT: "deadline-exceeded",
  ECONNRESET: "connection-lost",
  EPIPE: "connection-lost",
  ENOTCONN: "connection-lost",
  ECONNABORTED: "connection-lost",
  EMFILE: "busy",
  ENFILE: "busy",
  ENOBUFS: "busy",
  ENOMEM: "busy",
  EAGAIN: "busy",
  ENAMETOOLONG: "path-too-long",
};

/** Any error as a `Fault`. */
export function classify(error: unknown): Fault {
  if (error instanceof Fault) return error;
  const code = codeOf(error);
  const tls = ofTls(code);
  // OpenSSL's own texts begin with numbers and end with a line of its source.
  const { reason } = (error ?? {}) as { reason?: unknown };
  if (tls !== null && typeof reason === "string") return new Fault(tls, `TLS: ${reason}`);
  return new Fault(table[code] ?? tls ?? "io", error instanceof Error ? error.message : String(error));
}

/** The system's name of an error, as in `ECONNREFUSED`, or an empty string. */
export function codeOf(error: unknown): string {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === "string" ? code : "";
}

/** What OpenSSL says by an alert of the other end, or of what that sent. */
function ofTls(code: string): Code | null {
  if (!/^(ERR_SSL_|EPROTO$)/.test(code)) return null;
  return /CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED/.test(code) ? "unauthenticated" : "bad-peer";
}
