// The list of picks, oldest first. Drag the handle or press arrow keys on it to move a pick; press
// the cross or Delete to remove it.

import { announce, byId, element, icon } from "./dom.js";
import { isComputed } from "./inputs.js";
import { name, titleOf } from "./item.js";

const MANY_VALUES = 30;
const EDGE = 24; // a drag within so many pixels of the list's ends scrolls it
const SCROLL = 6; // pixels per frame

export class Picks {
  #list = byId("picks");
  #state;
  #drags = null; // AbortController of the current drag

  /** state: {move(from, to), remove(place), set(place, field, value)}. */
  constructor(state) {
    this.#state = state;
  }

  /** Shows the picks; `features`: inputs for which each pick has its own value. */
  show({ catalogue, picks, used, features }) {
    const many = picks.length > this.#list.childElementCount;
    const focused = this.#focused();
    this.#drags?.abort(); // its row is about to be replaced
    this.#list.dataset.hint = "Search, or add what is listed beside. Order counts: the latest pick comes last.";
    this.#list.replaceChildren(
      ...picks.map((pick, place) => this.#row(catalogue, pick, place, place < picks.length - used, features)),
    );
    if (many) this.#list.scrollTop = this.#list.scrollHeight;
    if (focused) this.#focus(focused.place, focused.what);
  }

  #row(catalogue, pick, place, unused, features) {
    const title = titleOf(catalogue, pick.item);
    const handle = element(
      "button",
      { type: "button", className: "icon handle", "aria-label": `Move ${title}: arrow keys, or drag` },
      icon("grip"),
    );
    const cross = element("button", { type: "button", className: "icon remove", "aria-label": `Remove ${title}` }, icon("cross"));
    const row = element("li", { className: unused ? "pick unused" : "pick" }, handle, name(catalogue, pick.item), cross);
    if (unused) row.append(element("span", { className: "unseen" }, "not used any more"));
    row.dataset.id = catalogue.ids[pick.item];
    if (features.length) row.append(this.#values(pick, place, title, features));
    handle.addEventListener("keydown", (event) => this.#key(event, place, title));
    handle.addEventListener("pointerdown", (event) => this.#drag(event, row, place));
    cross.addEventListener("click", () => this.#remove(place, title));
    cross.addEventListener("keydown", (event) => {
      if (event.key === "Delete") this.#remove(place, title);
    });
    return row;
  }

  #values(pick, place, title, features) {
    const fields = features.map((input) => {
      const field = valueField(input, pick.values[input.field] ?? "", `${input.field} of ${title}`);
      field.addEventListener("change", () => this.#state.set(place, input.field, field.value));
      return field;
    });
    return element("div", { className: "values" }, ...fields);
  }

  #remove(place, title) {
    this.#state.remove(place);
    announce(`${title} removed`);
    const left = this.#list.childElementCount;
    if (left) this.#focus(Math.min(place, left - 1), ".remove");
    else byId("query").focus({ preventScroll: true });
  }

  #key(event, place, title) {
    const to = { ArrowUp: place - 1, ArrowDown: place + 1, Home: 0, End: this.#list.childElementCount - 1 }[event.key];
    if (event.key === "Delete") return this.#remove(place, title);
    if (to === undefined) return;
    event.preventDefault();
    if (to < 0 || to >= this.#list.childElementCount || to === place) return;
    this.#state.move(place, to);
    this.#focus(to, ".handle");
    announce(`${title}, now ${to + 1} of ${this.#list.childElementCount}`);
  }

  // The row follows the pointer; the model runs when it is dropped. The document listens, because a
  // moving row loses the pointer.
  #drag(event, row, from) {
    if (event.button !== 0 || (this.#drags && !this.#drags.signal.aborted)) return;
    event.preventDefault();
    row.classList.add("dragged");
    let pointer = event.clientY;
    const follow = () => {
      const others = [...this.#list.children].filter((other) => other !== row);
      const below = others.find((other) => pointer < middle(other)) ?? null;
      if (row.nextElementSibling !== below) this.#list.insertBefore(row, below);
    };
    const drags = (this.#drags = new AbortController());
    const { signal } = drags;
    const on = (type, handle) => {
      const mine = (other) => other.pointerId === event.pointerId && handle(other);
      document.addEventListener(type, mine, { signal });
    };
    on("pointermove", ({ clientY }) => {
      pointer = clientY;
      follow();
    });
    const done = (to) => {
      drags.abort();
      row.classList.remove("dragged");
      if (to !== from) this.#state.move(from, to);
    };
    on("pointerup", () => done([...this.#list.children].indexOf(row)));
    const undo = () => {
      this.#list.insertBefore(row, [...this.#list.children].filter((other) => other !== row)[from] ?? null);
      done(from);
    };
    on("pointercancel", undo);
    const escape = ({ key }) => key === "Escape" && undo();
    document.addEventListener("keydown", escape, { signal });
    const scroll = () => {
      if (signal.aborted) return;
      const { top, bottom } = this.#list.getBoundingClientRect();
      const step = pointer < top + EDGE ? -SCROLL : pointer > bottom - EDGE ? SCROLL : 0;
      const before = this.#list.scrollTop;
      if (step) this.#list.scrollTop += step;
      if (this.#list.scrollTop !== before) follow();
      requestAnimationFrame(scroll);
    };
    requestAnimationFrame(scroll);
  }

  #focused() {
    const active = document.activeElement;
    const row = active?.closest?.("#picks > li");
    if (!row) return null;
    const what = active.dataset.field ? `[data-field="${active.dataset.field}"]` : `.${active.classList[1] ?? "handle"}`;
    return { place: [...this.#list.children].indexOf(row), what };
  }

  #focus(place, what) {
    this.#list.children[place]?.querySelector(what)?.focus();
  }
}

function middle(row) {
  const { top, height } = row.getBoundingClientRect();
  return top + height / 2;
}

/** Whether the page offers a field for an input's value. */
export function canBeAsked(input) {
  return !input.multiValued && !isComputed(input) && (!input.numberOf || Object.keys(input.numberOf).length <= MANY_VALUES);
}

/** A field for a value: a choice if there is a vocabulary, else a number. */
function valueField(input, value, label) {
  const properties = { value, "aria-label": label, "data-field": input.field };
  if (!input.numberOf) return element("input", { ...properties, type: "number", step: "any", placeholder: input.field });
  const values = Object.keys(input.numberOf).sort((a, b) => a - b || a.localeCompare(b));
  const options = ["", ...values].map((one) =>
    element("option", { value: one, selected: one === value }, one ? `${input.field} ${one}` : `${input.field} unknown`),
  );
  return element("select", { "aria-label": label, "data-field": input.field }, ...options);
}
