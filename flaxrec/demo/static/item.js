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

/** Its picture, or a free place for one; nothing where no item has any. */
export function picture(catalogue, item) {
  if (!catalogue.pictures) return [];
  const free = element("span", { className: "picture" });
  const source = catalogue.pictures[item];
  if (!source) return [free];
  const made = element("img", { className: "picture", alt: "", loading: "lazy", referrerPolicy: "no-referrer" });
  made.addEventListener("error", () => made.replaceWith(free));
  made.src = source;
  return [made];
}

/** What is known of it, then its genres, in one line; empty if there is nothing. */
export function details(catalogue, item) {
  const { names, of } = catalogue.genres ?? { names: [], of: [] };
  const genres = (of[item] ?? []).map((genre) => names[genre]).join(", ");
  const text = [catalogue.facts?.[item], genres].filter(Boolean).join(" · ");
  return element("span", { className: "genres", title: text }, text);
}
