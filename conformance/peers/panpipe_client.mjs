// The roles of a client of the panpipe protocol, in Node and in a page.

import { connect, options } from "panpipe";
import { checkAll } from "./checks.mjs";
import { same } from "./same.mjs";

const failureOf = ({ code, ran, message }) => ({ code: String(code), ran, text: message });
const failureIn = (done) => done.then(() => null, failureOf);

function begin(peer, began) {
  if (began === "call") return peer.call("wait");
  if (began === "subscription") return peer.subscribe("wait");
  return { items: peer.stream("wait") };
}

async function endOf(begun) {
  const brought = await begun;
  const items = brought?.items ?? brought;
  if (items?.[Symbol.asyncIterator]) for await (const item of items) void item;
}

/** Each takes its request; `tell` tells the suite something, and `nextLine` is what it says next. */
export function clientRoles({ tell, nextLine }) {
  return {
    async check({ addresses }) {
      for (const address of addresses) await checkAll(address, tell);
    },

    /** Hands each of so many values from its source to the server and what comes back to the source again. */
    async values({ source, address, count }) {
      const [from, server] = await Promise.all([connect(source), connect(address)]);
      for (let number = 0; number < count; number++) {
        await tell(await failureIn(from.call("take", number).then((value) => server.call("values", value, options())).then((value) => from.call("back", value, options()))));
      }
      await Promise.all([from.close(), server.close()]);
    },

    /** Meets servers that break rules. */
    async meet({ meetings }) {
      for (const { address, began } of meetings) {
        try {
          const peer = await connect(address);
          const begun = began.map((each) => begin(peer, each));
          for (const each of begun) Promise.resolve(each).catch(() => {});
          const ends = [];
          // Nothing is taken of a stream before what was begun first has ended.
          for (const each of begun) ends.push(await failureIn(endOf(each)));
          await tell(ends);
          await peer.close();
        } catch (error) {
          await tell([failureOf(error)]);
        }
      }
    },

    /** Makes so many calls at once of each server that it is told of, which may be killed. */
    async killed({ calls }) {
      for (let address = await nextLine(); address !== undefined; address = await nextLine()) {
        const peer = await connect(address);
        const outcomes = { answered: [], no: [], maybe: [], crossed: [] };
        const call = async (number) => {
          const bytes = new Uint8Array(1500).fill(number);
          try {
            const [sent, back] = await peer.call("begin", number, 0, bytes);
            if (sent === number && same(bytes, back)) outcomes.answered.push(number);
            else outcomes.crossed.push([number, sent]);
          } catch (error) {
            outcomes[error.ran].push(number);
          }
        };
        await Promise.all(Array.from({ length: calls }, (_, number) => call(number)));
        await tell(outcomes);
        await peer.close();
      }
    },
  };
}
