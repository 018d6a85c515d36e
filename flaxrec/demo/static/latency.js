// Measures current latency: the mean of a burst, because a page's clock is coarse, with a new
// random history per call, because repeated inputs train branch prediction.

import { encode } from "./inputs.js";

const LEAST = 150; // least milliseconds of a burst
const AT_ONCE = 12; // milliseconds before yielding to the page
const PREPARED = 64; // histories encoded in advance

/** Mean milliseconds per call and the number of calls; null once `goesOn` returns false. */
export async function burst(model, encoding, goesOn) {
  let [spent, calls] = [0, 0];
  while (spent < LEAST) {
    const inputs = Array.from({ length: PREPARED }, () => encode(encoding, randomHistory(encoding)));
    const begin = performance.now();
    let now = begin;
    while (inputs.length && now < begin + AT_ONCE) {
      await model.run(inputs.pop());
      calls++;
      now = performance.now();
    }
    spent += now - begin;
    await new Promise((resolve) => setTimeout(resolve));
    if (!goesOn()) return null;
  }
  return { milliseconds: spent / calls, calls };
}

function randomHistory(encoding) {
  const items = encoding.itemOfRow.length - 1;
  return Array.from({ length: encoding.contextLength }, () => ({
    item: encoding.itemOfRow[1 + Math.floor(Math.random() * items)],
  }));
}
