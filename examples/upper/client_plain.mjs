// The same client without panpipe.
import net from "node:net";

const client = net.connect(9999, "localhost", () => client.write("Hello, server!"));
client.on("data", (answer) => {
  console.log(String(answer));
  client.end();
});
