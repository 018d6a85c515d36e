"""Lookup tables of the model's inputs: the encoding of each item and each known value.

`Recommender` encodes values at each call. These tables encode all items in advance, with the same
vocabularies, so that the page (`static/inputs.js`) only selects, truncates and pads.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from flaxrec.data import moments
from flaxrec.data.vocabulary import PADDING, Vocabulary
from flaxrec.recommender import encode_values, listed
from flaxrec.tflite.export_folder import Items


def tables(
    metadata: Mapping[str, Any], items: Items, vocabularies: Mapping[str, Vocabulary]
) -> dict[str, Any]:
    """Tables for the graph's inputs and the rows that it returns, from an `ExportFolder`'s tables.

    Returns:
      `contextLength`; `keepsOldest`: whether flattened features with too many values keep the
      oldest; `time`: how the data's times count, null if nothing depends on them or they do not
      say; `inputs`, see `_input`; `itemOfRow`: index of the item of each row of the label
      vocabulary, -1 for a row without an item.
    """
    number = {item: i for i, item in enumerate(items)}
    sources = {spec["source"] for spec in metadata["inputs"]}
    entries = vocabularies[metadata["label_vocabulary"]].entries
    return {
        "contextLength": metadata["context_length"],
        "keepsOldest": metadata["flatten_keeps_oldest"],
        "time": metadata.get("time") if sources & set(moments.SOURCES) else None,
        "inputs": [_input(spec, items, vocabularies) for spec in metadata["inputs"]],
        "itemOfRow": [number.get(entry, -1) for entry in entries],
    }


def _input(
    spec: Mapping[str, Any], items: Items, vocabularies: Mapping[str, Vocabulary]
) -> dict[str, Any]:
    """One input of the graph.

    Returns:
      `name`, `dtype`, `length`; `table` and `field`: the two parts of its source, of which a mask
      of the candidates has one; `multiValued`;
      `unknown`: the number of an unknown value;
      `ofItem` (table 'item'): one number per item, or a list of them if multi-valued;
      `numberOf` (other tables): the number of each value, or null if values are numbers;
      `most` (sources of times with a vocabulary): the largest value.
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
        if entries and spec["source"] in moments.SOURCES:
            described["most"] = moments.largest(entries)
        return described | {"numberOf": rows}
    cells = list(items) if field == "id" else [row.get(field) for row in items.values()]
    if spec["multi_valued"]:
        return described | {"ofItem": [numbers(listed(cell)) for cell in cells]}
    return described | {"ofItem": numbers(cells)}
