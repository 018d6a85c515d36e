// Figures of the model and of this machine, and the last call's tensors.

import { byId, element } from "./dom.js";

const SHOWN = 1000; // values of an input: a mask has one for each item
const burstOf = (calls) => `mean of ${calls} calls just now, each with a new history`;
const number = (value) => value.toLocaleString("en");

export class Panel {
  #figures = new Map();

  constructor() {
    const names = ["latency", "file", "encoder", "vocabulary", "recall@10", "requests since load", "ready after", "list"];
    for (const name of names) {
      const value = element("dd", { className: "value" }, "–");
      const note = element("dd", { className: "note" });
      this.#figures.set(name, { value, note });
      const group = element("div", { "data-figure": name }, element("dt", {}, name), value, note);
      byId("figures").append(group);
    }
  }

  set(name, value, note) {
    const figure = this.#figures.get(name);
    figure.value.textContent = value;
    figure.note.textContent = note;
  }

  /** The figures of a model, as flaxrec/demo/panel.py describes them. */
  model({ recipe, bytes, encoder, candidates, contextLength, topK, recall }) {
    this.set("file", `${(bytes / 1e6).toFixed(2)} MB`, `${number(bytes)} bytes, ${recipe}`);
    this.set("encoder", encoder || "–", `over the last ${contextLength} activities`);
    this.set("vocabulary", candidates ? number(candidates) : "–", "items ranked by every call");
    this.set("list", `top ${topK}`, "ranked inside the graph");
    this.set("latency", "–", burstOf("some")); // as long as the later text
    if (!recall) return this.set("recall@10", "–", "not measured for this file");
    const labels = (count) => (count ? `, ${number(count)} test labels` : "");
    const protocol = `${recall.protocol}${recall.asked ? `, asked ${recall.asked}` : ""}`;
    const same = recall.filteredLabels === recall.labels;
    const all = `all items ranked, of ${recall.of}`;
    if (!recall.filtered) return this.set("recall@10", recall.value.toFixed(3), `${protocol}${labels(recall.labels)}, ${all}`);
    // As in the page's list, which leaves out picks.
    const filtered = `${protocol}${labels(recall.filteredLabels)}, seen items left out, of ${recall.filteredOf}`;
    this.set("recall@10", recall.filtered.toFixed(3), `${filtered}; ${recall.value.toFixed(3)} with ${all}${same ? "" : labels(recall.labels)}`);
  }

  latency({ milliseconds, calls }) {
    this.set("latency", `${milliseconds.toPrecision(2)} ms`, burstOf(calls));
  }

  tensors(inputs, list) {
    const lines = Object.entries(inputs).map(([name, values]) => {
      const type = values instanceof Float32Array ? "float32" : "int32";
      const first = Array.from(values.slice(0, SHOWN)).join(", ");
      return `${name}  ${type}[${values.length}]\n  [${first}${values.length > SHOWN ? ", …" : ""}]`;
    });
    const ids = Array.from(list.ids.slice(0, 20)).join(", ");
    byId("tensors").textContent = `${lines.join("\n")}\n→ ids  int32[${list.ids.length}]\n  [${ids}${list.ids.length > 20 ? ", …" : ""}]`;
  }
}
