// Certificates for tests, made by openssl in the directory of the test.

import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";

import { path } from "./place.mjs";

const openssl = (...args) => execFileSync("openssl", args, { stdio: ["ignore", "ignore", "pipe"] });
const newKey = (key) => ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key];

/** Somebody who vouches, whose own certificate is at `cert`. */
export function authority() {
  const base = path("ca");
  const made = { cert: `${base}.crt`, key: `${base}.key` };
  openssl("req", "-x509", ...newKey(made.key), "-out", made.cert, "-subj", `/CN=${base.slice(base.lastIndexOf("/") + 1)}`, "-days", "30", "-addext", "basicConstraints=critical,CA:TRUE");
  return made;
}

/** A certificate for these names; without an issuer it vouches for itself. */
export function certificate(issuer = null, { names = "DNS:localhost,IP:127.0.0.1,IP:::1", days = "30" } = {}) {
  const base = path("cert");
  const made = { cert: `${base}.crt`, key: `${base}.key` };
  const subject = ["-subj", `/CN=localhost`];
  if (issuer === null) openssl("req", "-x509", ...newKey(made.key), "-out", made.cert, ...subject, "-days", days, ...(names === "" ? [] : ["-addext", `subjectAltName=${names}`]));
  else {
    openssl("req", "-new", ...newKey(made.key), "-out", `${base}.csr`, ...subject);
    writeFileSync(`${base}.ext`, names === "" ? "" : `subjectAltName=${names}`);
    openssl("x509", "-req", "-in", `${base}.csr`, "-CA", issuer.cert, "-CAkey", issuer.key, "-CAcreateserial", "-days", days, "-extfile", `${base}.ext`, "-out", made.cert);
  }
  const digest = new X509Certificate(readFileSync(made.cert)).fingerprint256;
  return { ...made, digest, fingerprint: `sha256:${digest.replaceAll(":", "").toLowerCase()}`, pair: `cert=${made.cert}&key=${made.key}` };
}
