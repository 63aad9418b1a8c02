/** grpc-js: a unary method whose messages are Buffers as they are. */

import { Server, ServerCredentials, credentials, makeGenericClientConstructor } from "@grpc/grpc-js";
import { run } from "../contenders/measure.mjs";

const asItIs = (bytes) => bytes;
const methods = {
  echo: {
    path: "/rival.Methods/Echo",
    requestStream: false,
    responseStream: false,
    requestSerialize: asItIs,
    requestDeserialize: asItIs,
    responseSerialize: asItIs,
    responseDeserialize: asItIs,
  },
};
const Client = makeGenericClientConstructor(methods, "rival.Methods");

function serve(_role, address) {
  const server = new Server();
  server.addService(methods, { echo: ({ request }, answer) => answer(null, request) });
  server.bindAsync(address, ServerCredentials.createInsecure(), (error) => {
    if (error) throw error;
    console.log(address);
  });
}

async function connect(address) {
  const client = new Client(address, credentials.createInsecure());
  return {
    call: (message) =>
      new Promise((resolve, reject) => {
        client.echo(message, (error, reply) => (error ? reject(error) : resolve(reply)));
      }),
    close: () => client.close(),
  };
}

await run(serve, connect);
