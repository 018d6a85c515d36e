"""The model's inputs as tables: what each item, and each value that is known, looks like to them.

`Recommender` looks values up when it is asked; here that is done for every item beforehand, by the
same vocabularies. What is left to the page (`static/inputs.js`) is to choose, cut and pad.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from flaxrec.data.vocabulary import PADDING, Vocabulary
from flaxrec.recommender import Items, encode_values


def tables(
    metadata: Mapping[str, Any], items: Items, vocabularies: Mapping[str, Vocabulary]
) -> dict[str, Any]:
    """The inputs, and what the rows that the graph returns are.

    Args:
      metadata: metadata.json.
      items: rows of items.jsonl by the id's text.
      vocabularies: by file, as metadata.json names them.

    Returns:
      `contextLength`; `keepsOldest`: what flattened features keep of a context with too many
      values; `inputs`, see `_input`; `itemOfRow`: number of the item of each row of the label
      vocabulary, -1 where it is none.
    """
    number = {item: i for i, item in enumerate(items)}
    entries = vocabularies[metadata["label_vocabulary"]].entries
    return {
        "contextLength": metadata["context_length"],
        "keepsOldest": metadata["flatten_keeps_oldest"],
        "inputs": [_input(spec, items, vocabularies) for spec in metadata["inputs"]],
        "itemOfRow": [number.get(entry, -1) for entry in entries],
    }


def _input(
    spec: Mapping[str, Any], items: Items, vocabularies: Mapping[str, Vocabulary]
) -> dict[str, Any]:
    """One input of the graph.

    Returns:
      `name`, `dtype`, `length`; `table` and `field`: the two parts of its source; `multiValued`;
      `unknown`: the number of a value that is not known;
      `ofItem` (table 'item'): for each item a number, or a list of them where it has many values;
      `numberOf` (other tables): the number of each value, or null where the value itself is one.
    """
    table, _, field = spec["source"].partition(".")

    def numbers(values: Sequence[Any]) -> list[int | float]:
        return encode_values(spec, values, vocabularies).tolist()

    described = {
        "name": spec["name"],
        "dtype": spec["dtype"],
        "length": spec["shape"][0],
        "table": table,
        "field": field,
        "multiValued": bool(spec["multi_valued"]),
        "unknown": numbers([None])[0],
    }
    if table != "item":
        entries = vocabularies[spec["vocabulary"]].entries if spec["vocabulary"] else None
        rows = entries and {entry: row for row, entry in enumerate(entries) if entry != PADDING}
        return described | {"numberOf": rows}
    cells = list(items) if field == "id" else [row.get(field) for row in items.values()]
    if spec["multi_valued"]:
        return described | {"ofItem": [numbers(cell or []) for cell in cells]}
    return described | {"ofItem": numbers(cells)}
