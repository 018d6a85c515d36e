"""The page's catalogue in columns: ids, titles, genres, facts and pictures, most frequent first."""

import collections
import itertools
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from flaxrec.errors import ConfigError, shown
from flaxrec.tflite.export_folder import Items

_NO_FACTS = ("id", "title", "count", "candidate")
_MOST_FACTS = 3  # fields of a card, the first ones
_LONGEST = 40  # characters of a fact
_DATA, _WEB = "data:image/", ("https://", "http://")
_HOST = re.compile(r"[a-z0-9.-]+(:\d{1,5})?", re.IGNORECASE)  # what a content policy can name


def columns(items: Items, pictures: str = "") -> dict[str, Any]:
    """The catalogue in the form that the page reads, from rows of items.jsonl by id as text.

    Args:
      items: the rows.
      pictures: the column with pictures' addresses; '': a column of `data:image/` alone, if any.

    Returns:
      `ids`: text; `titles`: text, '' for an item without one, or null if no item has one; `genres`:
      null, or `field` (name of the column), `names` (most frequent first) and `of` (indices into
      `names` for each item); `facts`: text such as 'price 12.5' of each item, or null; `pictures`:
      addresses, '' for an item without one, or null.

    Raises:
      ConfigError: `pictures` is no column, or one of other values than addresses of pictures.
    """
    rows = list(items.values())
    titles = [str(row.get("title") or "") for row in rows]
    genres = _genres(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    if pictures and pictures not in names:
        raise ConfigError(
            f"--pictures={pictures} is no column of items.jsonl, which has {', '.join(names)}; "
            "name one of these."
        )
    shown_in = [pictures] if pictures else [name for name in names if _is_of_pictures(rows, name)]
    left_out = {*_NO_FACTS, *shown_in[:1], genres["field"] if genres else ""}
    facts = [name for name in names if name not in left_out and _is_of_facts(rows, name)]
    told = [_told(row, facts[:_MOST_FACTS], title) for row, title in zip(rows, titles, strict=True)]
    return {
        "ids": list(items),
        "titles": titles if any(titles) else None,
        "genres": genres,
        "facts": told if any(told) else None,
        "pictures": _addresses(items, shown_in[0]) if shown_in else None,
    }


def hosts(catalogue: Mapping[str, Any]) -> list[str]:
    """Where the pictures of `columns` come from, such as 'https://example.com', sorted."""
    found = {urllib.parse.urlsplit(at)[:2] for at in catalogue.get("pictures") or () if at}
    return sorted(f"{scheme}://{host}" for scheme, host in found if scheme != "data")


# ---- facts and pictures -----------------------------------------------------------------------


def _is_of_facts(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether a column has short texts or numbers, or none, and is not the same everywhere."""
    values = {value for row in rows if not isinstance(value := row.get(name), list | dict)}
    texts = [value for value in values if isinstance(value, str)]
    plain = all(len(text) <= _LONGEST and not text.startswith((*_WEB, "data:")) for text in texts)
    has_others = any(isinstance(row.get(name), list | dict) for row in rows)
    return plain and not has_others and len(values) > 1


def _told(row: Mapping[str, Any], names: Sequence[str], title: str) -> str:
    """'price 12.5 · brand X'; without what the title ends with, such as a film's year."""
    told = []
    for name in names:
        value = row.get(name)
        if value is None or value == "":
            continue
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        if not title.endswith(f"({text})"):
            told.append(f"{name} {text}")
    return " · ".join(told)


def _is_of_pictures(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether a column has pictures as data, and nothing else."""
    values = [value for row in rows if (value := row.get(name))]
    return bool(values) and all(isinstance(v, str) and v.startswith(_DATA) for v in values)


def _addresses(items: Items, name: str) -> list[str]:
    made = []
    for item, row in items.items():
        value = row.get(name) or ""
        if not isinstance(value, str) or not (value == "" or _is_address(value)):
            raise ConfigError(
                f"--pictures={name} has {shown(value)} for the item {shown(item)}, which is no "
                f"address of a picture; use {_DATA}..., {' or '.join(_WEB)}, or nothing."
            )
        made.append(value)
    return made


def _is_address(text: str) -> bool:
    if text.startswith(_DATA):
        return True
    try:
        at = urllib.parse.urlsplit(text)
    except ValueError:
        return False
    return text.startswith(_WEB) and bool(_HOST.fullmatch(at.netloc))


# ---- genres -----------------------------------------------------------------------------------


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
