// The peer in a browser: headless Chromium, in whose page a client of either protocol is.

import { Service, serve } from "panpipe";

import { portOf, startBrowser } from "../../javascript/test/chromium.mjs";
import { nextLine, readRequest, tell } from "./conversation.mjs";

const root = new URL("../..", import.meta.url).pathname;
/** The host of the page; servers let its origin in. */
const host = "page.localhost";

const request = await readRequest();
const pages = await serve(`ws://localhost:0?static=${root}&host=${host}`, new Service());
const browser = await startBrowser([`--host-resolver-rules=MAP ${host} 127.0.0.1:${portOf(pages.address)}`]);
try {
  const { page, lines } = await browser.open("about:blank");
  await Promise.all(Object.entries({ tell, nextLine }).map(([name, does]) => page.exposeFunction(name, does)));
  const opened = await page.goto(`http://${host}/conformance/peers/page.html`);
  if (!opened.ok()) throw new Error(`the page is answered with ${opened.status()}`);
  const done = page.evaluate(([role, request]) => roles[role](request), [process.argv[2], request]);
  await done.catch((error) => Promise.reject(new Error(`${error.message}\n${lines.join("\n")}`)));
} finally {
  await browser.close();
  await pages.close();
}
