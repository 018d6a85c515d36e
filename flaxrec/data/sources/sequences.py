"""Interactions from a file with one line a user: `user item item ...`, oldest first.

Most papers on sequential recommendation publish their data so; S3-Rec adds a JSON file with the
items' attributes.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from flaxrec.config import DataConfig
from flaxrec.data.sources import own_tables, table_paths
from flaxrec.data.sources.bad_rows import BadRow
from flaxrec.data.sources.interactions import Interactions
from flaxrec.data.sources.table_files import ROW, Part, TableFile, load
from flaxrec.errors import ConfigError, DataError, reason, shown
from flaxrec.files import own_path, read_errors_as

ATTRIBUTES = "attributes"  # the items' column with what a JSON file has
_OF_EVENTS = ("rating", "event_type", "session", "weight", "event_features")


def read_sequences(config: DataConfig, types: Mapping[str, str] | None = None) -> Interactions:
    """Reads `config.path`: ids separated by spaces or tabs, also compressed (.gz, .zst).

    Blank lines are skipped. Ids, `config.items_path` and `config.users_path` are read as with
    tables; an `items_path` with the extension .json is S3-Rec's: {item: [value, ...]}.

    Args:
      config: paths, columns of the tables of items and users, and what to do with bad lines.
      types: of the model's features, see `own_tables.read_table`.

    Returns:
      Interactions with
        `events`: user, item, and time: the event's place in the file (`has_time` is False);
        `items`, `users`: as from tables; a JSON file gives `attributes` (List(String)).

    Raises:
      ConfigError: a field of `config` has no meaning for such files.
      DataError: a file is missing or cannot be read; a line has no items, or a user has two lines
        (`config.bad_rows=drop` leaves these out).
    """
    columns = dataclasses.replace(config.columns, time="")
    config = dataclasses.replace(config, columns=columns)
    own_tables.check(config)
    for name in _OF_EVENTS:
        if getattr(columns, name):
            raise ConfigError(
                f"config.data.columns.{name} is {getattr(columns, name)!r}, but files of sequences "
                "hold ids only; leave it out."
            )
    for place, fields in {
        "items_path": ("title", "item_features"),
        "users_path": ("user_features",),
    }.items():
        for name in fields:
            if getattr(columns, name) and not getattr(config, place):
                raise ConfigError(
                    f"config.data.columns.{name} is {getattr(columns, name)!r}, but files of "
                    f"sequences hold ids only; give config.data.{place}, or leave it out."
                )
    events = _events(own_path(config.path), columns.user, columns.item)
    items = users = None
    if config.items_path:
        path = own_path(config.items_path)
        if path.name.lower().removesuffix(".gz").endswith(".json"):
            _check_attributes(config)
            columns.item_features = (ATTRIBUTES,)
            items = _attributes(path, columns.item)
        else:
            wanted = own_tables.named(columns, "item") + own_tables.of_item(columns)
            items = load("items_path", config.items_path, wanted)
    if config.users_path:
        wanted = own_tables.named(columns, "user") + own_tables.of_user(columns)
        users = load("users_path", config.users_path, wanted)
    return own_tables.assemble(config, events, items, users, types)


def _events(path: Path, user: str, item: str) -> TableFile:
    """The file as a table of users and items, one event a row."""
    with read_errors_as(DataError, path, "set --config.data.path to a file that exists"):
        content = bytes(table_paths.content(path))
    content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    try:
        lines = content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8; save the file as UTF-8.") from error
    rows = pl.DataFrame({"ids": lines}).with_row_index("line", offset=1)
    rows = rows.with_columns(pl.col("ids").str.extract_all(r"\S+"))
    rows = rows.filter(pl.col("ids").list.len() > 0)
    if not len(rows):
        raise DataError(f"{path} is empty; it needs one line a user: the user's id, then items.")
    rows = rows.select(
        pl.col("line").cast(pl.Int64),
        user=pl.col("ids").list.first(),
        item=pl.col("ids").list.slice(1),
    )
    empty, repeated = pl.col("item").list.len() == 0, ~pl.col("user").is_first_distinct()
    rows = rows.with_columns(
        problem=pl.when(empty)
        .then(pl.lit("has no items"))
        .when(repeated)
        .then(pl.lit("has a line already"))
    )
    strange = rows.drop_nulls("problem").select("line", "user", "problem")
    bad = [
        BadRow(str(path), line, True, user, f"user {shown(name)} {problem}")
        for line, name, problem in strange.iter_rows()
    ]
    events = rows.filter(pl.col("problem").is_null()).explode("item")
    place = pl.int_range(len(events), dtype=pl.Int64, eager=True)
    frame = pl.DataFrame({ROW: place, user: events["user"], item: events["item"]})
    return TableFile(
        path, (Part(path, len(frame), events["line"].to_numpy()),), True, frame, tuple(bad)
    )


# ---- attributes -----------------------------------------------------------------------------


def _check_attributes(config: DataConfig) -> None:
    columns = config.columns
    if columns.title or not set(columns.item_features) <= {ATTRIBUTES}:
        raise ConfigError(
            f"config.data.items_path is a JSON file, whose values are {ATTRIBUTES!r}; name that "
            "alone in config.data.columns.item_features, or nothing, and no title."
        )


class _Pairs(list):
    """A JSON object, as a list of its names and values: a dict would lose repeated items."""


def _attributes(path: Path, item: str) -> TableFile:
    """The file {item: [value, ...]} as a table with one row an item."""
    expected = 'expected {"item": ["value", ...], ...}'
    with read_errors_as(DataError, path, "set --config.data.items_path to a file that exists"):
        content = bytes(table_paths.content(path))
    try:
        # Numbers with a fraction keep their digits.
        found: Any = json.loads(
            content.decode("utf-8-sig"), object_pairs_hook=_Pairs, parse_float=str
        )
    except RecursionError as error:
        raise DataError(f"{path} is nested too deeply; {expected}.") from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({reason(error)}); {expected}.") from error
    if not isinstance(found, _Pairs) or not found:
        raise DataError(f"{path} holds no items; {expected}.")
    values = []
    for name, attributes in found:
        several = attributes if type(attributes) is list else [attributes]
        if any(isinstance(value, list) for value in several):
            raise DataError(f"{path}: the attributes of item {shown(name)} are nested; {expected}.")
        values.append([_text(value) for value in several if value is not None])
    try:
        frame = pl.DataFrame(
            {ROW: range(len(found)), item: [name for name, _ in found], ATTRIBUTES: values},
            schema={ROW: pl.Int64, item: pl.String, ATTRIBUTES: pl.List(pl.String)},
        )
    except UnicodeEncodeError as error:
        raise DataError(f"{path} holds half a character (a lone surrogate); {expected}.") from error
    return TableFile(path, (Part(path, len(frame), None),), True, frame)


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
