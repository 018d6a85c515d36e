// Latency as it is now: the mean of a burst, because a page's clock is coarse, with a new random
// history for every call, because a repeated one teaches the processor its way.

import { encode } from "./inputs.js";

const LEAST = 60; // milliseconds of a burst
const MOST = 400; // calls of a burst
const AT_ONCE = 16; // calls until somebody else may run

/** Mean milliseconds a call and the number of calls; null if `goesOn` says no meanwhile. */
export async function burst(model, encoding, goesOn) {
  const histories = Array.from({ length: MOST }, () => encode(encoding, randomHistory(encoding)));
  let [spent, calls] = [0, 0];
  while (spent < LEAST && calls < MOST) {
    const begin = performance.now();
    for (let i = 0; i < AT_ONCE; i++) await model.run(histories[calls + i]);
    spent += performance.now() - begin;
    calls += AT_ONCE;
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
