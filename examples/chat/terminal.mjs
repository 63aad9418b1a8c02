// The chat room in a terminal, in Node.js: what is typed is said.
//
// node terminal.mjs NAME [ADDRESS]
import { createInterface, clearLine, cursorTo } from "node:readline";
import { connect } from "panpipe";

const [name, address = "tcp://localhost:9999"] = process.argv.slice(2);
if (name === undefined) {
  console.error("usage: node terminal.mjs NAME [ADDRESS]");
  process.exit(2);
}

let peer = null;
let last = null; // the number of the message that was seen last
let leaving = false;
let arrive;
let arrived = new Promise((resolve) => (arrive = resolve));
const terminal = createInterface({ input: process.stdin, output: process.stdout, prompt: "" });

/** Shows a line above the one that is being typed. */
function show(text) {
  if (process.stdout.isTTY) {
    clearLine(process.stdout, 0);
    cursorTo(process.stdout, 0);
  }
  console.log(text);
  if (process.stdout.isTTY) terminal.prompt(true);
}

const shown = {
  said: ({ name, text }) => `${name}: ${text}`,
  joined: ({ name }) => `* ${name} joined`,
  left: ({ name }) => `* ${name} left`,
  welcome: ({ people }) => `* here: ${people.join(", ")}`,
  lagged: ({ missed }) => `* too slow: ${missed} missed here`,
};

// What is typed is said in its order, once we are in the room.
let said = Promise.resolve();
terminal.on("line", (line) => {
  if (line.trim() === "") return;
  said = said
    .then(() => arrived)
    .then(() => peer.call("say", line))
    .catch((error) => show(`! ${error.remoteMessage ?? error.message}`));
});
terminal.on("close", async () => {
  leaving = true;
  await said;
  await peer?.close();
});

// Who loses the connection comes back, and sees what was said meanwhile.
for (;;) {
  let reason = "the room was closed";
  try {
    peer = await connect(address);
    for await (const event of peer.stream("join", name, last ?? 0)) {
      last = event.number ?? last ?? 0;
      arrive();
      show(shown[event.kind](event));
    }
  } catch (error) {
    reason = error.remoteMessage ?? error.message;
    if (!leaving && last === null && !["refused", "connection-lost"].includes(error.code)) {
      show(`! ${reason}`);
      leaving = true;
      process.exitCode = 1;
    }
  }
  await peer?.close();
  if (leaving) break;
  arrived = new Promise((resolve) => (arrive = resolve));
  show(`! ${reason}; trying again`);
  await new Promise((resolve) => setTimeout(resolve, 1000));
}
terminal.close();
