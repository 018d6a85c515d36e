// The search field with its list, by the ARIA pattern of a combobox, and the genres above the list.

import { announce, byId, element } from "./dom.js";
import { genres, name, titleOf } from "./item.js";

const MANY_GENRES = 24;

export class Combobox {
  #input = byId("query");
  #list = byId("found");
  #chips = byId("chips");
  #chosen = new Set();
  #items = [];
  #active = -1;
  #catalogue;
  #search;
  #state;

  /** state: {add(item), picked(): set of items}. */
  constructor(state) {
    this.#state = state;
    this.#input.addEventListener("input", () => this.#show());
    this.#input.addEventListener("click", () => this.#show());
    this.#input.addEventListener("keydown", (event) => this.#key(event));
    this.#input.addEventListener("blur", () => this.#hide());
    // Not on click: the field would lose the focus, and the list would be gone before.
    this.#list.addEventListener("pointerdown", (event) => event.preventDefault());
    this.#list.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) this.#add(this.#items[[...this.#list.children].indexOf(option)]);
    });
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.target.closest("input, select, textarea")) return;
      event.preventDefault();
      this.#input.focus();
    });
  }

  /** Shows another model's items. */
  open(catalogue, search) {
    const same = this.#catalogue === catalogue;
    this.#catalogue = catalogue;
    this.#search = search;
    if (same) return;
    const what = catalogue.titles ? "titles" : "ids";
    const count = catalogue.ids.length.toLocaleString("en");
    this.#input.placeholder = `Search ${count} ${what}`;
    this.#input.setAttribute("aria-label", `Search ${count} ${what}`);
    this.#input.disabled = false;
    this.#showGenres();
  }

  #showGenres() {
    const found = this.#catalogue.genres;
    this.#chosen.clear();
    this.#chips.hidden = !found;
    this.#chips.setAttribute("aria-label", found?.field ?? "");
    const chips = (found?.names ?? []).slice(0, MANY_GENRES).map((text, genre) => {
      const chip = element("button", { type: "button", "aria-pressed": "false" }, text);
      chip.addEventListener("click", () => {
        const on = !this.#chosen.delete(genre) && Boolean(this.#chosen.add(genre));
        chip.setAttribute("aria-pressed", on);
        this.#input.focus();
        this.#show();
      });
      return chip;
    });
    this.#chips.replaceChildren(...chips);
  }

  #show() {
    const without = this.#state.picked();
    this.#items = this.#search.find(this.#input.value, { genres: this.#chosen, without });
    const options = this.#items.map((item, i) =>
      element(
        "li",
        { role: "option", id: `found-${i}`, "aria-selected": "false" },
        name(this.#catalogue, item),
        genres(this.#catalogue, item),
      ),
    );
    const nothing = element("li", { className: "nothing", role: "presentation" }, "Nothing found.");
    this.#list.replaceChildren(...(options.length ? options : [nothing]));
    this.#list.hidden = false;
    this.#input.setAttribute("aria-expanded", "true");
    this.#activate(this.#input.value && options.length ? 0 : -1);
    announce(`${this.#items.length} found`);
  }

  #hide() {
    this.#list.hidden = true;
    this.#input.setAttribute("aria-expanded", "false");
    this.#input.removeAttribute("aria-activedescendant");
  }

  #activate(place) {
    this.#list.children[this.#active]?.setAttribute("aria-selected", "false");
    this.#active = place;
    const option = this.#items.length ? this.#list.children[place] : null;
    if (!option) return this.#input.removeAttribute("aria-activedescendant");
    option.setAttribute("aria-selected", "true");
    option.scrollIntoView({ block: "nearest" });
    this.#input.setAttribute("aria-activedescendant", option.id);
  }

  #key(event) {
    const open = !this.#list.hidden;
    const count = this.#items.length;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!open) return this.#show();
      if (count) {
        const step = event.key === "ArrowDown" ? 1 : -1;
        this.#activate((this.#active + step + (this.#active < 0 && step < 0 ? 1 : 0) + count) % count);
      }
    } else if (event.key === "Enter" && open && this.#active >= 0) {
      event.preventDefault();
      this.#add(this.#items[this.#active]);
    } else if (event.key === "Escape") {
      if (!open) this.#input.value = "";
      this.#hide();
    }
  }

  #add(item) {
    this.#input.value = "";
    this.#hide();
    this.#state.add(item);
    announce(`${titleOf(this.#catalogue, item)} added`);
  }
}
