// The search field, genre filters and the list below, after the ARIA combobox pattern.

import { announce, byId, element } from "./dom.js";
import { details, name, titleOf } from "./item.js";

const MANY_GENRES = 24; // as in page.py
const LIMIT = 8;

export class Combobox {
  #area = document.querySelector(".search");
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
    const leaves = (target) => !this.#area.contains(target) && this.#hide();
    this.#area.addEventListener("focusout", (event) => leaves(event.relatedTarget));
    document.addEventListener("pointerdown", (event) => leaves(event.target));
    this.#chips.addEventListener("keydown", (event) => this.#keyOnChip(event));
    // Not on click: the field would first lose the focus and close the list.
    this.#list.addEventListener("pointerdown", (event) => event.preventDefault());
    this.#list.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) this.#choose(this.#items[[...this.#list.children].indexOf(option)]);
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
    const names = (found?.names ?? []).slice(0, MANY_GENRES);
    const chips = names.map((text, genre) => {
      const chip = element("button", { type: "button", "aria-pressed": "false" }, text);
      chip.addEventListener("click", () => {
        const on = !this.#chosen.delete(genre) && Boolean(this.#chosen.add(genre));
        chip.setAttribute("aria-pressed", on);
        this.#show();
      });
      return chip;
    });
    this.#chips.replaceChildren(...chips);
  }

  #show() {
    const asked = Boolean(this.#input.value.trim());
    const picked = this.#state.picked();
    // A search finds picked items too; browsing shows only items that can be added.
    const without = asked ? new Set() : picked;
    this.#items = this.#search.find(this.#input.value, { genres: this.#chosen, without, limit: LIMIT });
    const options = this.#items.map((item, i) => this.#option(item, i, picked.has(item)));
    const nothing = element("li", { className: "nothing", role: "presentation" }, `Nothing found${this.#among()}.`);
    this.#list.replaceChildren(...(options.length ? options : [nothing]));
    this.#list.hidden = false;
    this.#input.setAttribute("aria-expanded", "true");
    this.#activate(asked ? this.#items.findIndex((item) => !picked.has(item)) : -1);
    const count = options.length;
    announce(count < LIMIT ? `${count} found${this.#among()}` : `the first ${count}${this.#among()}`);
  }

  #option(item, place, picked) {
    const option = element(
      "li",
      { role: "option", id: `found-${place}`, "aria-selected": "false", "aria-disabled": String(picked) },
      name(this.#catalogue, item),
      details(this.#catalogue, item),
    );
    if (picked) option.append(element("span", { className: "picked" }, "picked already"));
    return option;
  }

  /** ' among Drama, War' if genres are chosen. */
  #among() {
    const names = [...this.#chosen].map((genre) => this.#catalogue.genres.names[genre]);
    return names.length ? ` among ${names.join(", ")}` : "";
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
      this.#choose(this.#items[this.#active]);
    } else if (event.key === "Escape") {
      if (!open) this.#input.value = "";
      this.#hide();
    }
  }

  #keyOnChip(event) {
    if (event.key === "Escape") this.#hide();
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    this.#input.focus();
    this.#key(event);
  }

  #choose(item) {
    if (this.#state.picked().has(item)) return announce(`${titleOf(this.#catalogue, item)} is picked already`);
    this.#input.value = "";
    this.#hide();
    this.#state.add(item);
    announce(`${titleOf(this.#catalogue, item)} added`);
  }
}
