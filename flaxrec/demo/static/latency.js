// Latency as it is now: the mean of a burst, because a page's clock is coarse, with a new random
// history for every call, because a repeated one teaches the processor its way.

import { encode } from "./inputs.js";

const LEAST = 150; // milliseconds of a burst
const AT_ONCE = 12; // milliseconds until somebody else may run
const PREPARED = 64; // histories for them

/** Mean milliseconds a call and the number of calls; null if `goesOn` says no meanwhile. */
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
