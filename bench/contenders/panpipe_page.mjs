/** panpipe in a page, which calls a service in Node. */

import { Service, serve } from "panpipe";

import { runPage } from "./page.mjs";

const [role, ...rest] = process.argv.slice(2);
if (role === "server") {
  const service = new Service().method("echo", (message) => message);
  const folder = new URL("../../javascript/dist", import.meta.url).pathname;
  console.log((await serve(`${rest[1]}?static=${folder}`, service)).address);
} else {
  const place = rest[0].split("?", 1)[0];
  await runPage(`${place.replace("ws:", "http:")}/panpipe.js`, place, async (address) => {
    const { connect } = await import("/panpipe.js");
    const peer = await connect(address);
    return { call: (message) => peer.call("echo", message), close: () => peer.close() };
  });
}
