"""The page's catalogue in columns: ids, titles and genres of items, most frequent first."""

import collections
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from flaxrec.tflite.export_folder import Items


def columns(items: Items) -> dict[str, Any]:
    """The catalogue in the form that the page reads, from rows of items.jsonl by id as text.

    Returns:
      `ids`: text; `titles`: text, '' for an item without one, or null if no item has one; `genres`:
      null, or `field` (name of the column), `names` (most frequent first) and `of` (indices into
      `names` for each item).
    """
    rows = list(items.values())
    titles = [str(row.get("title") or "") for row in rows]
    return {
        "ids": list(items),
        "titles": titles if any(titles) else None,
        "genres": _genres(rows),
    }


def _genres(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Genres from the column `genres`, or from the first column of lists of texts."""
    names = dict.fromkeys(name for row in rows for name in row)
    lists = [name for name in names if any(_texts(row.get(name)) for row in rows)]
    if not lists:
        return None
    field = "genres" if "genres" in lists else lists[0]
    texts = [_texts(row.get(field)) for row in rows]
    count = collections.Counter(itertools.chain.from_iterable(texts))
    ranked = sorted(count, key=lambda value: (-count[value], value))
    number = {value: i for i, value in enumerate(ranked)}
    return {"field": field, "names": ranked, "of": [[number[v] for v in own] for own in texts]}


def _texts(cell: Any) -> list[str]:
    values = cell if isinstance(cell, list) else []
    return list(dict.fromkeys(value for value in values if isinstance(value, str) and value))
