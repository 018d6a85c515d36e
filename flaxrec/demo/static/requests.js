// Requests that the page makes after it is ready, as the browser itself counts them.

/** Calls `changed` with their number whenever it changes; of what began after `since`. */
export function countRequests(since, changed) {
  let count = 0;
  changed(count);
  new PerformanceObserver((list) => {
    const more = list.getEntries().filter((entry) => entry.startTime > since).length;
    if (more) changed((count += more));
  }).observe({ type: "resource", buffered: true });
}
