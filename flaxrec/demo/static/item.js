// An item as text: its title, with a final year split off, or its id.

import { element } from "./dom.js";

export const titleOf = (catalogue, item) => catalogue.titles?.[item] || catalogue.ids[item];

/** The title in one line. */
export function name(catalogue, item) {
  const title = titleOf(catalogue, item);
  const [, text, year] = /^(.+?) \((\d{4})\)$/.exec(title) ?? [null, title, ""];
  const made = element("span", { className: "name", title }, element("span", { className: "text" }, text));
  if (year) made.append(" ", element("span", { className: "year" }, year));
  return made;
}

/** Its genres in one line; empty if it has none. */
export function genres(catalogue, item) {
  const { names, of } = catalogue.genres ?? { names: [], of: [] };
  const text = (of[item] ?? []).map((genre) => names[genre]).join(", ");
  return element("span", { className: "genres", title: text }, text);
}
