// The demonstration's client: the median round trip over each address, or null for a wrong answer.
import { connect } from "panpipe";

const [question, answer, rounds, ...addresses] = process.argv.slice(2);
const medians = [];
for (const address of addresses) {
  const peer = await connect(address);
  const times = [];
  let right = true;
  for (let round = 0; round < Number(rounds); round++) {
    const begun = performance.now();
    right &&= String(await peer.call(question)) === answer;
    times.push(performance.now() - begun);
  }
  await peer.close();
  times.sort((a, b) => a - b);
  medians.push(right ? times[times.length >> 1] * 1000 : null);
}
console.log(JSON.stringify(medians));
