"""Finds items by what a person calls them: an id, a title, a column's value."""

import difflib
import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flaxrec.cli import arguments
from flaxrec.data.vocabulary import spellings, text
from flaxrec.errors import ExportError, shown
from flaxrec.files.reading import read_bytes
from flaxrec.recommender import Recommender, listed
from flaxrec.tflite.metadata import columns_left_out, left_out_column
from flaxrec.tflite.selection import Selection


def find_item(recommender: Recommender, name: str) -> object:
    """The item of that id or title; raises ExportError with the nearest titles if there is none."""
    found = known(recommender, name)
    if found is not None:
        return found["id"]
    titles = _by_title(recommender)
    near = [titles[t]["title"] for t in difflib.get_close_matches(name.casefold(), titles, 3, 0.5)]
    hint = f"; did you mean {' or '.join(map(shown, near))}?" if near else "; see items.jsonl."
    if "title" in columns_left_out(recommender.metadata):
        hint = "; it was exported without titles (--item_fields=none), so give ids."
    if name.startswith("-"):
        hint += " Flags are in --help."
    told = shown(name)
    raise ExportError(f"There is no item with the id or title {told} in the export{hint}")


def known(recommender: Recommender, name: str) -> dict[str, Any] | None:
    """The item of that id or title."""
    if name in recommender.items:
        return recommender.items[name]
    titles = _by_title(recommender)
    # MovieLens writes 'Matrix, The (1999)'.
    moved = re.sub(r"^(the|an?) (.+?)( \(\d{4}\))?$", r"\2, \1\3", name.casefold())
    return titles.get(name.casefold()) or titles.get(moved)


@functools.lru_cache(maxsize=1)  # thousands of titles may be given
def _by_title(recommender: Recommender) -> dict[str, dict[str, Any]]:
    titles: dict[str, dict[str, Any]] = {}
    for item in recommender.items.values():  # the most frequent first: of equal titles it is meant
        if item.get("title"):
            titles.setdefault(str(item["title"]).casefold(), item)
    return titles


def find_items(
    recommender: Recommender, flag: str, given: Sequence[str] | None
) -> Selection | None:
    """The items of a flag's values: ids or titles, COLUMN=VALUE, @FILE with an id a line.

    None where the flag is not given. What is left out may be nothing, as on a day when all is in
    stock; what alone may be shown may not.

    Raises:
      ExportError: there is no such item, column or file, no item has the value, or --only names
        nothing.
    """
    if given is None:
        return None
    ids: list[object] = []
    for value in given:
        whole = known(recommender, value)  # its id or title may have a comma
        for part in [value] if whole else filter(None, arguments.comma_list(value)):
            column, equals, wanted = part.partition("=")
            if part.startswith("@") and known(recommender, part) is None:
                ids += _ids_of_file(Path(part[1:]))
            elif equals and known(recommender, part) is None:
                ids += _with_value(recommender, column, wanted)
            else:
                ids.append(find_item(recommender, part))
    found = recommender.select(ids, flag)
    if not found.items and flag == "--only":
        raise ExportError(
            f"{flag} names no item that the export recommends; give ids, COLUMN=VALUE or @FILE."
        )
    return found


def _ids_of_file(file: Path) -> list[str]:
    content = read_bytes(file, ExportError, "give a text file with an id a line")
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ExportError(f"{file} is not UTF-8; save it as UTF-8, an id a line.") from error
    return list(filter(None, map(str.strip, lines)))


def _with_value(recommender: Recommender, column: str, value: str) -> list[object]:
    """Ids of the items whose column is, or holds, the value."""
    if column in columns_left_out(recommender.metadata):
        raise ExportError(f"{column}={value} asks for {left_out_column(column)}")
    columns = dict.fromkeys(name for row in recommender.items.values() for name in row)
    if column not in columns:
        raise ExportError(
            f"{shown(column)} is no column of the items; they have {', '.join(columns)}."
        )
    alike = {value, *spellings(value)}
    found = [
        row["id"]
        for row in recommender.items.values()
        if not alike.isdisjoint(text(one) for one in listed(row.get(column)))
    ]
    if not found:
        raise ExportError(
            f"No item has {shown(value)} as {shown(column)}; look at a line of items.jsonl."
        )
    return found
