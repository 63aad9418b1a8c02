/** Tokens: the secret that both ends know, 16 to 512 visible ASCII characters. It is shown nowhere. */

/** What a subprotocol that carries a token begins with: a browser cannot send the field Authorization. */
const prefix = "panpipe.token.";

/** Whether this is a token. */
export function isToken(text: string): boolean {
  return /^[\x21-\x7e]{16,512}$/.test(text);
}

/** The subprotocol that carries a token, in the base64 of URLs (RFC 4648, section 5). */
export function asSubprotocol(token: string): string {
  return prefix + btoa(token).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

/** Whether a subprotocol carries a token. */
export function carriesToken(subprotocol: string): boolean {
  return subprotocol.startsWith(prefix);
}

/** Whether what was given is the secret, found out in a time that tells nothing but the length. */
export function isSecret(secret: string, given: string): boolean {
  let differ = secret.length ^ given.length;
  for (let at = 0; at < secret.length; at++) differ |= secret.charCodeAt(at) ^ given.charCodeAt(at % (given.length || 1));
  return differ === 0;
}
