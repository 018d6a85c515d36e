// Makes and finds elements.

/** An element with properties ("aria-" and "data-" ones as attributes) and children. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

export const byId = (id) => document.getElementById(id);

/** Tells screen readers what happened. */
export function announce(text) {
  byId("announcer").textContent = text;
}

const ICONS = {
  plus: "M8 3v10M3 8h10",
  cross: "m4 4 8 8m0-8-8 8",
  grip: "M5 4h6M5 8h6M5 12h6",
};

/** An icon of 16 by 16, hidden from screen readers. */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const drawing = document.createElementNS(space, "svg");
  const path = document.createElementNS(space, "path");
  drawing.setAttribute("viewBox", "0 0 16 16");
  drawing.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  drawing.append(path);
  return drawing;
}
