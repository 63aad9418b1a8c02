// The founding example's client: sends a message, prints the answer and closes.
import { connect } from "panpipe";

const peer = await connect("tcp://localhost:9999?framing=raw");
console.log(String(await peer.call("Hello, server!")));
await peer.close();
