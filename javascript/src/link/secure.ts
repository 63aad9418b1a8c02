/** TLS 1.2 and 1.3, as an end that connects and as one that listens: who is who, by certificates or their fingerprints. */

import { constants } from "node:crypto";
import fs from "node:fs";
import net from "node:net";
import tls from "node:tls";

import type { Address } from "../wire/address.js";
import { Fault } from "../wire/error.js";
import { classify } from "./classify.js";
import type { Limits } from "./link.js";

/** Each connection proves anew who is at its ends. */
const common: tls.SecureContextOptions = { minVersion: "TLSv1.2", secureOptions: constants.SSL_OP_NO_TICKET };

/** Whom a connecting end believes, and what it shows. */
export type Credentials = tls.SecureContextOptions;

/** Reads what an address names of them, before anything is connected. Throws what files throw. */
export function credentialsOf(address: Address): Credentials {
  return { ...(address.ca === "" ? {} : { ca: readFile("ca", address.ca) }), ...identityOf(address) };
}

/** Makes a connected socket secure, and sees to it that the other end is `host`, or has one of the fingerprints of the address. Throws `unauthenticated`, `bad-peer`, `connection-lost`. */
export function secured(
  socket: net.Socket,
  host: string,
  { fingerprints }: Address,
  credentials: Credentials,
  alpn: string | null,
  { timeout, signal }: Limits,
): Promise<tls.TLSSocket> {
  const options: tls.ConnectionOptions = {
    ...common,
    ...credentials,
    ...(alpn === null ? {} : { ALPNProtocols: [alpn] }),
    socket,
    host,
    servername: net.isIP(host) === 0 ? host : "",
    // Who has the fingerprint is who is meant, whatever its name, issuer and dates; it proves its key all the same.
    rejectUnauthorized: fingerprints.length === 0,
    checkServerIdentity: fingerprints.length === 0 ? checkIdentity : () => undefined,
  };
  return new Promise((resolve, reject) => {
    const secure = connectOver(options);
    const settle = (act: () => void) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      secure.off("error", failed).off("close", closed);
      act();
    };
    const fail = (fault: Fault) =>
      settle(() => {
        secure.on("error", () => {});
        secure.destroy();
        socket.destroy();
        reject(fault);
      });
    const failed = (error: Error) => fail(secure.authorizationError ? new Fault("unauthenticated", `the other end cannot prove who it is: ${error.message}`) : classify(error));
    const closed = () => fail(new Fault("connection-lost", "the other end closed inside the TLS handshake"));
    const abort = () => fail(new Fault("cancelled", "the caller gave up"));
    const timer = setTimeout(() => fail(new Fault("deadline-exceeded", "the timeout passed in the TLS handshake")), Math.min(Math.max(timeout, 0), 2 ** 31 - 1));
    signal?.addEventListener("abort", abort);
    secure.on("error", failed).on("close", closed);
    secure.once("secureConnect", () => {
      const fault = faultOfFingerprint(secure, fingerprints);
      if (fault === null) settle(() => resolve(secure));
      else fail(fault);
    });
  });
}

/** What a listener wants of TLS, and the handshakes of those who come. */
export class SecureListener {
  readonly #server: tls.Server;
  readonly #fingerprints: readonly string[];
  // By who is at their ends, which is all that Node tells when a handshake has ended.
  readonly #waiting = new Map<string, (outcome: tls.TLSSocket | Fault) => void>();

  /** Reads the files of the address. Throws `invalid-address`, `not-found`, `permission`, `io`. */
  constructor(address: Address, alpn: string | null) {
    if (address.cert === "") throw new Fault("invalid-address", "a listener needs cert= and key=; `panpipe cert NAME` makes a pair for the name that it is reached by");
    const { clientCa, fingerprints } = address;
    this.#fingerprints = fingerprints;
    const asks = clientCa !== "" || fingerprints.length > 0;
    this.#server = fitting(() =>
      tls.createServer({
        ...common,
        ...identityOf(address),
        ...(clientCa === "" ? {} : { ca: readFile("client_ca", clientCa) }),
        ...(alpn === null ? {} : { ALPNProtocols: [alpn] }),
        requestCert: asks,
        rejectUnauthorized: asks && fingerprints.length === 0,
      }),
    );
    this.#server.on("secureConnection", (socket) => this.#settle(socket, socket));
    this.#server.on("tlsClientError", (error, socket) => this.#settle(socket, classify(error)));
  }

  /** Makes a socket that has come secure. Rejects with a `Fault`, or with the reason of `signal`. */
  greet(socket: net.Socket, signal: AbortSignal): Promise<tls.TLSSocket> {
    const key = keyOf(socket);
    return new Promise<tls.TLSSocket>((resolve, reject) => {
      const settle = (outcome: tls.TLSSocket | Fault) => {
        this.#waiting.delete(key);
        socket.off("close", closed);
        signal.removeEventListener("abort", abort);
        const fault = outcome instanceof Fault ? outcome : faultOfFingerprint(outcome, this.#fingerprints);
        if (fault === null) return resolve(outcome as tls.TLSSocket);
        socket.destroy();
        reject(fault);
      };
      const closed = () => settle(new Fault("connection-lost", "the other end closed inside the TLS handshake"));
      const abort = () => settle(signal.reason as Fault);
      if (signal.aborted) return abort();
      this.#waiting.set(key, settle);
      socket.once("close", closed);
      signal.addEventListener("abort", abort);
      this.#server.emit("connection", socket);
    });
  }

  #settle(socket: tls.TLSSocket, outcome: tls.TLSSocket | Fault): void {
    // It is nobody's until it is handed over, and what breaks it is not lost: it is read again then.
    socket.on("error", () => {});
    const settle = this.#waiting.get(keyOf(socket));
    if (settle !== undefined) settle(outcome);
    else socket.destroy();
  }
}

function connectOver(options: tls.ConnectionOptions): tls.TLSSocket {
  return fitting(() => tls.connect(options));
}

/** What OpenSSL says of files that it cannot use. */
function fitting<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (error instanceof Fault) throw error;
    throw new Fault("invalid-address", `the certificates and keys cannot be used: ${(error as Error).message}`);
  }
}

function identityOf({ cert, key }: Address): tls.SecureContextOptions {
  return cert === "" ? {} : { cert: readFile("cert", cert), key: readFile("key", key) };
}

function readFile(option: string, path: string): Buffer {
  try {
    return fs.readFileSync(path);
  } catch (error) {
    const { code, text } = classify(error);
    throw new Fault(code, `${option}=${path}: ${text}`);
  }
}

/** As Node does, but that a certificate names its subject as a subject alternative name (RFC 6125, section 6.4.4). */
function checkIdentity(host: string, certificate: tls.PeerCertificate): Error | undefined {
  return certificate.subjectaltname === undefined ? new Error(`its certificate is for no name, and not for ${host}`) : tls.checkServerIdentity(host, certificate);
}

function faultOfFingerprint(socket: tls.TLSSocket, fingerprints: readonly string[]): Fault | null {
  if (fingerprints.length === 0) return null;
  const found = socket.getPeerX509Certificate()?.fingerprint256.replaceAll(":", "").toLowerCase();
  if (found === undefined) return new Fault("unauthenticated", "the other end shows no certificate, and must");
  return fingerprints.includes(found) ? null : new Fault("unauthenticated", `the other end's certificate has the fingerprint sha256:${found}, which is not the one that is wanted`);
}

function keyOf({ localAddress, localPort, remoteAddress, remotePort }: net.Socket): string {
  return `${localAddress} ${localPort} ${remoteAddress} ${remotePort}`;
}
