// Ten places for results. Each place keeps its element, so that nothing jumps and the focus stays
// on the pressed '+'.

import { announce, byId, element, icon } from "./dom.js";
import { details, name, picture, titleOf } from "./item.js";
import { relative } from "./ranking.js";

export const COUNT = 10;

export class Cards {
  #list = byId("cards");
  #items = [];

  /** state: {add(item)}. */
  constructor(state) {
    for (let place = 0; place < COUNT; place++) {
      const add = element("button", { type: "button", className: "add" }, icon("plus"));
      add.addEventListener("click", () => {
        const item = this.#items[place];
        if (item === undefined) return;
        announce(`${add.getAttribute("aria-label").replace("Add ", "")} added`);
        state.add(item);
      });
      const meter = element("span", { className: "meter" }, element("i"));
      const score = element("div", { className: "score", role: "img" }, meter, element("span", { className: "number" }));
      const rank = element("span", { className: "rank" }, String(place + 1));
      this.#list.append(element("li", { className: "card free" }, rank, element("div", { className: "what" }), score, add));
    }
  }

  /**
   * Shows results: [{item, score}], best first; without scores if no model ranked them.
   * why: an explanation for each, {item, cosine} or null.
   */
  show(catalogue, results, why = []) {
    const ratios = relative(results.map((result) => result.score ?? 1));
    this.#items = results.map((result) => result.item);
    this.#list.classList.toggle("no-scores", results.every((result) => result.score === undefined));
    this.#list.setAttribute("aria-busy", "false");
    [...this.#list.children].forEach((card, place) => {
      const result = results[place];
      card.classList.toggle("free", !result);
      if (result) fill(card, catalogue, result, ratios[place], why[place]);
      else card.removeAttribute("data-id");
    });
  }
}

function fill(card, catalogue, { item, score }, ratio, reason) {
  card.dataset.id = catalogue.ids[item];
  const below = element("span", { className: "below" }, details(catalogue, item), explanation(catalogue, reason));
  card.querySelector(".what").replaceChildren(...picture(catalogue, item), name(catalogue, item), below);
  card.querySelector(".add").setAttribute("aria-label", `Add ${titleOf(catalogue, item)}`);
  card.querySelector(".meter i").style.transform = `scaleX(${ratio})`;
  card.querySelector(".number").textContent = Math.round(100 * ratio);
  const told = score === undefined ? "" : `score ${score.toPrecision(6)}; ${Math.round(100 * ratio)} of 100, relative to the first`;
  const meter = card.querySelector(".score");
  meter.title = told;
  meter.setAttribute("aria-label", told);
  card.dataset.score = score ?? "";
}

function explanation(catalogue, reason) {
  const line = element("span", { className: "why" });
  if (reason) {
    const title = titleOf(catalogue, reason.item);
    line.textContent = `near ${title.replace(/ \(\d{4}\)$/, "")}`;
    line.title = `Of your picks the model's label vectors put ${title} nearest: cosine ${reason.cosine.toFixed(2)}.`;
  }
  return line;
}
