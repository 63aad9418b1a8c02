/** Which file a path asks for, and how files are told of. */

import { decoded } from "./target.js";
import { BadHead } from "./head.js";

/** What is got of a folder. */
const index = "index.html";

const types: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  mjs: "text/javascript; charset=utf-8",
  txt: "text/plain; charset=utf-8",
  json: "application/json",
  map: "application/json",
  svg: "image/svg+xml",
  png: "image/png",
  jpg: "image/jpeg",
  gif: "image/gif",
  ico: "image/x-icon",
  wasm: "application/wasm",
  woff2: "font/woff2",
};

/**
 * The file below the folder that a path means, as it was written, without a query: names separated by `/`.
 *
 * Throws a `BadHead`: 400 for a path that is no text; 404 for one that might lead elsewhere: names that begin with `.`, that are empty, or that hold what separates names on some system.
 */
export function fileBelow(path: string): string {
  const names = path.split("/").slice(1).map(decoded);
  if (names.at(-1) === "") names[names.length - 1] = index;
  for (const name of names) if (name === "" || name.startsWith(".") || /[/\\:\p{Cc}]/u.test(name)) throw new BadHead(404, "no such file");
  return names.join("/");
}

/** The head of the response that a file of `size` bytes follows. */
export function fileHead(path: string, size: number): string {
  const extension = /\.([^./]+)$/.exec(path)?.[1]!.toLowerCase() ?? "";
  return (
    `HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: ${types[extension] ?? "application/octet-stream"}\r\nContent-Length: ${size}\r\n` +
    "Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n\r\n"
  );
}
