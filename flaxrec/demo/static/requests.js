// Counts requests that the page makes once it is ready, as the browser reports them.

/** Calls `changed` with the number of requests started after `since`, whenever it changes. */
export function countRequests(since, changed) {
  let count = 0;
  changed(count);
  new PerformanceObserver((list) => {
    const more = list.getEntries().filter((entry) => entry.startTime > since).length;
    if (more) changed((count += more));
  }).observe({ type: "resource", buffered: true });
}
