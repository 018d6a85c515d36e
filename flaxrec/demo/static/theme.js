// Light, dark or system colours.

import { byId } from "./dom.js";

const ORDER = ["", "dark", "light"];
const NAMES = { "": "System colours", dark: "Dark", light: "Light" };

/** Makes the button switch between the schemes; the browser remembers the choice. */
export function startTheme() {
  const button = byId("theme");
  const root = document.documentElement;
  const show = () => {
    button.textContent = NAMES[root.dataset.theme] ?? NAMES[""];
    button.setAttribute("aria-label", `Colours: ${button.textContent}. Change.`);
  };
  button.addEventListener("click", () => {
    root.dataset.theme = ORDER[(ORDER.indexOf(root.dataset.theme) + 1) % ORDER.length];
    try {
      localStorage.setItem("flaxrec-theme", root.dataset.theme);
    } catch {
      // Without storage the scheme still changes.
    }
    show();
  });
  show();
}
