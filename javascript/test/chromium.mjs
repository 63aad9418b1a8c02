/** Headless Chromium, and pages in it. */

import { mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { chromium } from "playwright-core";

const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

/** Starts a browser of its own; `more` are flags. It ends with `close`. */
export async function startBrowser(more = []) {
  const profile = mkdtempSync(join(tmpdir(), "panpipe-chromium-"));
  const context = await chromium.launchPersistentContext(profile, { executablePath: "/usr/bin/chromium", headless: true, args: [...flags, ...more] });
  return {
    /** A page that was loaded from a URL, and what it wrote to its console. */
    async open(url) {
      const page = await context.newPage();
      const lines = [];
      page.on("console", (message) => lines.push(message.text()));
      page.on("pageerror", (error) => lines.push(String(error)));
      await page.goto(url);
      return { page, lines };
    },
    async close() {
      await context.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}

/** A server of one page on a port of its own: another origin. */
export async function servePage(html, host = "127.0.0.1") {
  const server = http.createServer((_, response) => response.setHeader("content-type", "text/html").end(html)).listen(0, host);
  await once(server, "listening");
  return { port: server.address().port, close: () => (server.closeAllConnections(), server.close()) };
}

/** The port of an address. */
export function portOf(address) {
  return Number(/:(\d+)/.exec(address.replace(/^[a-z]+:\/\/(\[[^\]]*\])?/, ""))[1]);
}
