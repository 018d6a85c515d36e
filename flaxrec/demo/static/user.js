// What is known of the user, where the model asks for it.

import { byId, element } from "./dom.js";

/** Shows a field for each feature of the user; `changed` gets all values. */
export function showUser(inputs, values, changed) {
  const area = byId("user");
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
        changed({ ...values, [input.field]: input.multiValued ? many : text });
      });
      return parts;
    }),
  );
}
