"""Interactions from a file with one line a user: `user item item ...`, oldest first.

Most papers on sequential recommendation publish their data so; S3-Rec adds a JSON file with the
items' attributes.
"""

import json
from pathlib import Path
from typing import Any

import polars as pl

from flaxrec.config import DataConfig
from flaxrec.data.sources import bad_rows, table_paths
from flaxrec.data.sources.bad_rows import BadRow, Found
from flaxrec.data.sources.interactions import Interactions
from flaxrec.errors import ConfigError, DataError

ATTRIBUTES = "attributes"  # the items' column with what the JSON file has
_WHOLE = r"^(?:0|-?[1-9][0-9]*)$"  # ids that become numbers, as in tables: not '007'
_FEATURES = ("event_features", "user_features")


def read_sequences(config: DataConfig) -> Interactions:
    """Reads `config.path`: ids separated by spaces or tabs, also compressed (.gz, .zst).

    Ids become Int64 if all of them are whole numbers without leading zeros, else String. Blank
    lines are skipped.

    Returns:
      Interactions with
        `events`: user, item, and time: the event's place in the file (`has_time` is False);
        `items`: item and `attributes` (List(String)), if `config.items_path` is given: a JSON file
        {item: [value, ...]}.

    Raises:
      ConfigError: a field of `config` has no meaning for such files.
      DataError: a file is missing or cannot be read; a line has no items, or a user has two lines
        (`config.bad_rows=drop` leaves these out).
    """
    _check(config)
    path = Path(config.path).expanduser()
    lines = _lines(path)
    rows = pl.DataFrame({"line": pl.int_range(1, len(lines) + 1, eager=True), "ids": lines})
    rows = rows.with_columns(pl.col("ids").str.extract_all(r"\S+")).filter(
        pl.col("ids").list.len() > 0
    )
    rows = rows.select("line", user=pl.col("ids").list.first(), item=pl.col("ids").list.slice(1))
    rows, left_out = _usable(path, rows, config.bad_rows)
    if not len(rows):
        raise DataError(f"{path} is empty; it needs one line a user: the user's id, then items.")
    events = rows.select("user", "item").explode("item")
    attributes = _attributes(Path(config.items_path).expanduser()) if config.items_path else None
    item, items = events["item"], None
    if attributes is not None:
        ids = _typed(pl.concat([item, attributes["item"]]))
        item = ids[: len(item)]
        items = attributes.with_columns(ids[len(item) :])
        if not item.is_in(items["item"].implode()).any():
            raise DataError(
                f"{config.items_path}: none of its items occurs in {path} (there {item[0]!r}, here "
                f"{items['item'][0]!r}); give the file that belongs to it."
            )
    else:
        item = _typed(item)
    place = pl.int_range(len(events), eager=True)
    events = pl.DataFrame({"user": _typed(events["user"]), "item": item, "time": place})
    return Interactions(events, items, source=path.name, bad_rows=left_out, has_time=False)


def _check(config: DataConfig) -> None:
    if not config.path:
        raise ConfigError("config.data.path is ''; give a file with one line a user.")
    columns = config.columns
    for name in ("rating", "event_type", "session", "weight", "title", *_FEATURES):
        if getattr(columns, name):
            raise ConfigError(
                f"config.data.columns.{name} is {getattr(columns, name)!r}, but files of sequences "
                "hold ids only; leave it out."
            )
    unknown = [name for name in columns.item_features if name != ATTRIBUTES]
    if unknown or (columns.item_features and not config.items_path):
        raise ConfigError(
            f"config.data.columns.item_features is {columns.item_features!r}, but an item of a "
            f"file of sequences has at most {ATTRIBUTES!r}, from a JSON file {{item: [values]}} at "
            "config.data.items_path; name that alone, or nothing."
        )
    if config.users_path:
        raise ConfigError("config.data.users_path is set, but sequences have no features of users.")


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise DataError(f"{path} is missing; set --config.data.path to a file that exists.")
    content = bytes(table_paths.content(path))
    try:
        return content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8; save the file as UTF-8.") from error


def _usable(
    path: Path, rows: pl.DataFrame, policy: str
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """The lines that can be used, and the others if they are left out."""
    empty, repeated = pl.col("item").list.len() == 0, ~pl.col("user").is_first_distinct()
    rows = rows.with_columns(
        problem=pl.when(empty)
        .then(pl.lit("has no items"))
        .when(repeated)
        .then(pl.lit("has a line already"))
    )
    bad = [
        BadRow(str(path), line, True, "user", f"user {user!r} {problem}")
        for line, user, problem in rows.drop_nulls("problem")
        .select("line", "user", "problem")
        .iter_rows()
    ]
    found = [Found(str(path), bad, len(bad), len(rows))]
    if policy == "drop":
        bad_rows.warn(found)
    else:
        bad_rows.refuse(found)
    return rows.filter(pl.col("problem").is_null()), bad_rows.table(found)


def _typed(ids: pl.Series) -> pl.Series:
    if ids.str.contains(_WHOLE).all():
        numbers = ids.cast(pl.Int64, strict=False)
        if not numbers.null_count():  # null: does not fit into 64 bits
            return numbers
    return ids


def _attributes(path: Path) -> pl.DataFrame:
    """Columns item (String) and attributes (List(String)) of a JSON file."""
    expected = 'expected {"item": ["value", ...], ...}'
    if not path.is_file():
        raise DataError(f"{path} is missing; set --config.data.items_path to a file that exists.")
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}); {expected}.") from error
    if not isinstance(found, dict) or not found:
        raise DataError(f"{path} holds no items; {expected}.")
    values = []
    for item, attributes in found.items():
        several = attributes if isinstance(attributes, list) else [attributes]
        if any(isinstance(value, dict | list) for value in several):
            raise DataError(f"{path}: the attributes of item {item!r} are nested; {expected}.")
        values.append([str(value) for value in several if value is not None])
    return pl.DataFrame(
        {"item": list(found), ATTRIBUTES: values},
        schema={"item": pl.String, ATTRIBUTES: pl.List(pl.String)},
    )
