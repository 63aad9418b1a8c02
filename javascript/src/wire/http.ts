/** Recognises an HTTP request line, because a web page must not reach a TCP listener blindly. */

const pattern = " HTTP/1.";
const longestVerb = 20;

/** Watches the first line of a connection. It holds nothing back, so it never delays a message that only looks alike. */
export class HttpGuard {
  #phase: "verb" | "line" | "over" = "verb";
  #letters = 0;
  // The last few bytes of the line, in case the pattern is cut in two.
  #tail = "";

  /** Looks at the next bytes; answers true once they are an HTTP request (`VERB … HTTP/1.`). */
  saw(bytes: Uint8Array): boolean {
    let at = 0;
    while (this.#phase === "verb" && at < bytes.length) {
      const byte = bytes[at]!;
      if (byte >= 0x41 && byte <= 0x5a && ++this.#letters <= longestVerb) at++;
      else this.#phase = byte === 0x20 && this.#letters > 0 ? "line" : "over";
    }
    if (this.#phase !== "line") return false;
    const end = bytes.indexOf(0x0a, at);
    const text = this.#tail + latin1.decode(bytes.subarray(at, end < 0 ? bytes.length : end));
    if (text.includes(pattern)) return true;
    if (end >= 0) this.#phase = "over";
    this.#tail = text.slice(1 - pattern.length);
    return false;
  }
}

const latin1 = new TextDecoder("latin1");
