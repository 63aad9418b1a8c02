/** TLS 1.2 and 1.3, as an end that connects and as one that listens: who is who, by certificates or their fingerprints. */

import { constants } from "node:crypto";
import fs from "node:fs";
import net from "node:net";
import tls from "node:tls";

import type { Address } from "../wire/address.js";
import { Fault } from "../wire/error.js";
import { classify } from "./classify.js";
import { FirstBytes, type Patience } from "./first-bytes.js";
import type { Limits } from "./link.js";

/** Each connection proves anew who is at its ends. */
const common: tls.SecureContextOptions = { minVersion: "TLSv1.2", secureOptions: constants.SSL_OP_NO_TICKET };

/** Largest body of a record, in bytes (RFC 8446, section 5.1). */
const largestRecord = 1 << 14;

/** What a connecting end wants of TLS. */
export class SecureClient {
  readonly #options: tls.ConnectionOptions;
  readonly #fingerprints: readonly string[];

  /** Reads the files of the address. Throws `invalid-address`, `not-found`, `permission`, `io`. */
  constructor(address: Address, host: string, alpn: string | null) {
    const { ca, fingerprints } = address;
    this.#fingerprints = fingerprints;
    this.#options = {
      secureContext: fitting(() => tls.createSecureContext({ ...common, ...(ca === "" ? {} : { ca: readFile("ca", ca) }), ...identityOf(address) })),
      ...(alpn === null ? {} : { ALPNProtocols: [alpn] }),
      host,
      servername: net.isIP(host) === 0 ? host : "",
      // Who has the fingerprint is who is meant, whatever its name, issuer and dates; it proves its key all the same.
      rejectUnauthorized: fingerprints.length === 0,
      checkServerIdentity: fingerprints.length === 0 ? checkIdentity : () => undefined,
    };
  }

  /** Makes a connected socket secure, and sees to it that the other end is who was meant. Rejects with `unauthenticated`, `bad-peer`, `connection-lost`, `deadline-exceeded`, `cancelled`. */
  greet(socket: net.Socket, limits: Limits): Promise<tls.TLSSocket> {
    return handshake(tls.connect({ ...this.#options, socket }), socket, this.#fingerprints, limits);
  }
}

/** Somebody who has shaken hands. */
export interface Greeted {
  stream: tls.TLSSocket;
  /** Why it is not who was meant: TLS itself has not told it. Null where it may come in. */
  stranger: Fault | null;
}

/** What a listener wants of TLS, and the handshakes of those who come. */
export class SecureListener {
  readonly #server: tls.Server;
  readonly #fingerprints: readonly string[];
  // By who is at their ends, which is all that Node tells when a handshake has ended.
  readonly #asks: boolean;
  readonly #waiting = new Map<string, (outcome: tls.TLSSocket | Fault) => void>();

  /** Reads the files of the address. Throws `invalid-address`, `not-found`, `permission`, `io`. */
  constructor(address: Address, alpn: string | null) {
    if (address.cert === "") throw new Fault("invalid-address", "a listener needs cert= and key=; `panpipe cert NAME` makes a pair for the name that it is reached by");
    const { clientCa, fingerprints } = address;
    this.#fingerprints = fingerprints;
    this.#asks = clientCa !== "" || fingerprints.length > 0;
    // Node closes a stranger without a word. Only plain messages have none of their own; there OpenSSL tells at least those who show no certificate.
    const speechless = address.protocol === "plain" && alpn === null;
    this.#server = fitting(() =>
      tls.createServer({
        ...common,
        ...identityOf(address),
        ...(clientCa === "" ? {} : { ca: readFile("client_ca", clientCa) }),
        ...(alpn === null ? {} : { ALPNProtocols: [alpn] }),
        requestCert: this.#asks,
        rejectUnauthorized: this.#asks && fingerprints.length === 0 && speechless,
      }),
    );
    this.#server.on("secureConnection", (socket) => this.#settle(socket, socket));
    this.#server.on("tlsClientError", (error, socket) => this.#settle(socket, classify(error)));
  }

  /** Makes a socket that has come secure. Rejects with a `Fault`. */
  async greet(socket: net.Socket, patience: Patience): Promise<Greeted> {
    // Node's listener tells of no end of the input inside a handshake.
    const hello = new FirstBytes(socket);
    await hello.until(hasFirstRecord, patience);
    socket.unshift(hello.bytes);
    const stream = await this.#shakeHands(socket, patience);
    return { stream, stranger: this.#asks ? faultOfPeer(stream, this.#fingerprints) : null };
  }

  #shakeHands(socket: net.Socket, patience: Patience): Promise<tls.TLSSocket> {
    const key = keyOf(socket);
    return new Promise<tls.TLSSocket>((resolve, reject) => {
      const settle = (outcome: tls.TLSSocket | Fault) => {
        this.#waiting.delete(key);
        socket.off("close", closed);
        patience.onEnd = null;
        if (!(outcome instanceof Fault)) return resolve(outcome);
        socket.destroy();
        reject(outcome);
      };
      const closed = () => settle(new Fault("connection-lost", "the other end closed inside the TLS handshake"));
      if (patience.reason !== null) return settle(patience.reason);
      this.#waiting.set(key, settle);
      socket.once("close", closed);
      patience.onEnd = settle;
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

function handshake(secure: tls.TLSSocket, socket: net.Socket, fingerprints: readonly string[], { timeout, signal }: Limits): Promise<tls.TLSSocket> {
  return new Promise((resolve, reject) => {
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
      const fault = faultOfPeer(secure, fingerprints);
      if (fault === null) settle(() => resolve(secure));
      else fail(fault);
    });
  });
}

/** Whether the first record of a client is whole, or none that OpenSSL takes; null while more of it must come. */
function hasFirstRecord(bytes: Buffer): true | null {
  const [kind, major] = bytes;
  if ((kind !== undefined && kind !== 22) || (major !== undefined && major !== 3)) return true;
  if (bytes.length < 5) return null;
  const size = bytes.readUInt16BE(3);
  return size > largestRecord || bytes.length >= 5 + size ? true : null;
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

/** Why the other end is not who was meant, by its fingerprint where these are wanted; null where it is. */
function faultOfPeer(socket: tls.TLSSocket, fingerprints: readonly string[]): Fault | null {
  const found = socket.getPeerX509Certificate()?.fingerprint256.replaceAll(":", "").toLowerCase();
  if (found === undefined) return new Fault("unauthenticated", "the other end shows no certificate, and must");
  if (fingerprints.length === 0) return socket.authorized ? null : new Fault("unauthenticated", `the other end cannot prove who it is: ${socket.authorizationError}`);
  return fingerprints.includes(found) ? null : new Fault("unauthenticated", `the other end's certificate has the fingerprint sha256:${found}, which is not the one that is wanted`);
}

function keyOf({ localAddress, localPort, remoteAddress, remotePort }: net.Socket): string {
  return `${localAddress} ${localPort} ${remoteAddress} ${remotePort}`;
}
