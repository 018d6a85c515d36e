"""Which columns of a table are its users, items, times and titles, by their names."""

import codecs
import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from flaxrec.data.sources import table_paths, text_lines
from flaxrec.data.sources.table_files import SEPARATORS, listed
from flaxrec.errors import DataError
from flaxrec.files import read_errors_as

# Usual names without what is no letter or digit, the likeliest first.
_USUAL = {
    "user": """user userid uid customer customerid client clientid visitor visitorid member memberid
        account accountid reviewer reviewerid person personid buyer buyerid username session
        sessionid""",
    "item": """item itemid product productid sku stockcode asin parentasin article articleid movie
        movieid film filmid track trackid song songid artist artistid book bookid isbn business
        businessid gameid recipeid""",
    "time": """time timestamp ts datetime unixtime unixreviewtime eventtime date createdat at when
        invoicedate orderdate purchasedate reviewdate day""",
    "title": """title itemtitle itemname producttitle productname movietitle filmtitle name
        description""",
}
NEEDED = ("user", "item")
_START = 1 << 20  # bytes that hold a line of JSON


def columns_of(name: str, declared: str = "auto") -> list[str]:
    """The columns' names of the table at `config.data.path`, of its first file.

    Args:
      name: see `table_paths.files`.
      declared: `config.data.format`.

    Raises:
      DataError: it is missing, cannot be read, or is no table with names.
    """
    with read_errors_as(DataError, name, "set --data to what can be read"):
        paths, form = table_paths.files("path", name, declared)
        path = paths[0]
        try:
            if form == "parquet":
                return table_paths.scan_parquet(path).collect_schema().names()
            if form == "jsonl":
                return _of_objects(path)
            if form in SEPARATORS and form != "movielens":
                return _of_text(path, SEPARATORS[form])
        except (*table_paths.UNREADABLE, ValueError) as error:
            raise DataError(f"{path} cannot be read; write it again as CSV or Parquet.") from error
    raise DataError(f"{path} names no columns; give a .csv, .tsv, .parquet or .jsonl file.")


def guess(columns: Sequence[str], where: object, given: Collection[str] = ()) -> dict[str, str]:
    """The column of each field of `config.data.columns` that has a usual name.

    Args:
      columns: the table's.
      where: the table, for messages.
      given: fields that are not guessed.

    Raises:
      DataError: none is a user's or an item's.
    """
    by_name = {re.sub(r"[\W_]+", "", column).lower(): column for column in reversed(columns)}
    found = {}
    for field, names in _USUAL.items():
        if field in given:
            continue
        if column := next((by_name[name] for name in names.split() if name in by_name), ""):
            found[field] = column
    for field in NEEDED:
        if field not in found and field not in given:
            raise DataError(
                f"{where} has the columns {listed(columns)}, of which none is called like the "
                f"{field}'s; name it by --config.data.columns.{field}=COLUMN."
            )
    return found


def _of_objects(path: Path) -> list[str]:
    content = bytes(table_paths.content(path)[:_START]).removeprefix(codecs.BOM_UTF8)
    line = next((line for line in content.split(b"\n") if line.strip()), b"")
    row = json.loads(line) if line else {}
    return list(row) if isinstance(row, dict) else []


def _of_text(path: Path, separators: Sequence[str]) -> list[str]:
    """The header by the separator that makes most columns of it."""
    content = table_paths.content(path)
    start = len(codecs.BOM_UTF8) * (content[:3] == codecs.BOM_UTF8)
    headers = []
    for separator in separators:
        cells, *_ = text_lines.header(content, start, text_lines.Grammar(separator.encode()))
        headers.append([cell.decode().strip() for cell in cells])
    return max(headers, key=len)
