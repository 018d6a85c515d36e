// Fields for the user's features, if the model has such inputs.

import { byId, element } from "./dom.js";

let shown = null; // the inputs with fields on the page

/**
 * Shows a field for each feature of the user; `changed` receives changed values. Existing fields
 * stay, because one may have the focus.
 */
export function showUser(inputs, values, changed) {
  const area = byId("user");
  if (inputs.length === shown?.length && inputs.every((input, i) => input === shown[i])) return;
  shown = inputs;
  area.hidden = !inputs.length;
  area.replaceChildren(
    ...inputs.flatMap((input) => {
      const field = element("input", {
        value: [values[input.field] ?? ""].flat().join(", "),
        placeholder: "unknown",
        "data-field": input.field,
      });
      const label = input.multiValued ? `your ${input.field}, with commas` : `your ${input.field}`;
      const parts = [element("label", {}, label, field)];
      if (input.numberOf) {
        const list = element("datalist", { id: `values-of-${input.name}` });
        list.append(...Object.keys(input.numberOf).map((value) => element("option", { value })));
        field.setAttribute("list", list.id);
        parts.push(list);
      }
      field.addEventListener("change", () => {
        const text = field.value.trim();
        const many = text.split(",").map((part) => part.trim()).filter(Boolean);
        changed({ [input.field]: input.multiValued ? many : text });
      });
      return parts;
    }),
  );
}
