"""What an export tells of its items: items.jsonl, whole, slim, or not at all."""

import dataclasses
from typing import Any

from flaxrec.data.spec import ModelSpec
from flaxrec.data.timelines import ITEM
from flaxrec.data.vocabulary import Vocabulary, text
from flaxrec.errors import ExportError, shown
from flaxrec.exporting.assets import Assets
from flaxrec.tflite import export_folder

_TYPES = {int: "integer", str: "text"}


@dataclasses.dataclass(frozen=True)
class ItemRows:
    """The rows of items.jsonl, None without that file, and `items` of metadata.json."""

    rows: list[dict[str, Any]] | None
    described: dict[str, Any]


def choose(assets: Assets, spec: ModelSpec, fields: str) -> ItemRows:
    """The rows with these `fields` ('full', 'slim' or 'none').

    Slim rows have the id, the title, what the model reads of items, and which are no candidates.

    Raises:
      ExportError: without the file the model's inputs or the ids could not be told.
    """
    if fields == "full":
        return ItemRows(assets.items, {"fields": fields})
    names = dict.fromkeys(name for row in assets.items for name in row)
    of_model = {i.source.partition(".")[2] for i in spec.inputs if i.source.startswith("item.")}
    if fields == "none" and (read := sorted(of_model - {"id"})):
        raise ExportError(
            f"The model reads {', '.join(map(shown, read))} of its items, which an app finds in "
            "items.jsonl; use --item_fields=slim."
        )
    kept = {"id"} if fields == "none" else {"id", "title", *of_model}
    left_out = [name for name in names if name not in kept | {"candidate"}]
    described: dict[str, Any] = {"fields": fields, "left_out": left_out}
    if fields == "none":
        return ItemRows(None, described | {"ids": _type_of_ids(assets, spec)})
    kept.add("candidate")
    rows = [{n: value for n, value in row.items() if n in kept} for row in assets.items]
    return ItemRows(rows, described)


def _type_of_ids(assets: Assets, spec: ModelSpec) -> str:
    """What the vocabulary's lines are ids of; raises ExportError where they do not tell."""
    types = {type(row["id"]) for row in assets.items}
    found = _TYPES.get(types.pop(), "") if len(types) == 1 else ""
    vocabulary: Vocabulary = assets.vocabularies[ITEM]
    told = {text(row["id"]): (row["id"], row.get("candidate", True)) for row in assets.items}
    made = export_folder.items_of_vocabulary(vocabulary.entries, spec.candidates, found)
    if not found or told != {n: (r["id"], r.get("candidate", True)) for n, r in made.items()}:
        raise ExportError(
            "The lines of the items' vocabulary do not tell all ids and types of ids, such as "
            f"{shown(assets.items[0]['id'] if assets.items else None)}; use --item_fields=slim."
        )
    return found
