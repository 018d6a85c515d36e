"""Shards: files of whole timelines, read one after the other into arrays of places.

A user's events stand in one file, by time; events of equal time in the order that counts. What is
held beside the file that is being read are 16 bytes an event, and the event features.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import polars as pl

from flaxrec.config import DataConfig
from flaxrec.data import orders
from flaxrec.data.sources import own_tables
from flaxrec.data.sources.interactions import Interactions
from flaxrec.data.sources.table_files import slices
from flaxrec.errors import DataError, shown

KEYS = ("user", "item")  # the columns that hold ids
_REMEDY = "write them so, or set --config.data.format=parquet"


def read_timelines(config: DataConfig, types: Mapping[str, str] | None = None) -> Interactions:
    """Reads Parquet files of whole timelines (`config.format` 'timelines') that any engine wrote.

    Args:
      config: paths and columns, as for tables.
      types: of the model's features, see `own_tables.read_table`.

    Returns:
      As `own_tables.read_table`, with ids beside the events.

    Raises:
      ConfigError: fields of `config` are empty or contradictory.
      DataError: a file, a column or a row cannot be used; a file is not in the order of user and
        time, or a user stands in two.
    """
    own_tables.check(config)
    return with_tables(merged(parts(config, types), _REMEDY), config, types)


def parts(
    config: DataConfig, types: Mapping[str, str] | None, rows: int = 0
) -> Iterator[tuple[str, Interactions]]:
    """The files of `config.path`, all of Parquet, and the events of each, or of so many rows.

    Tables of items and users are those that the events' own columns make.
    """
    columns = config.columns
    wanted = own_tables.of_events(columns)
    alone = dataclasses.replace(columns)
    if config.items_path:
        alone.title, alone.item_features, alone.multi_valued = "", (), ()
    if config.users_path:
        alone.user_features = ()
    wanted += own_tables.of_item(alone) + own_tables.of_user(alone)
    config = dataclasses.replace(config, columns=alone, format="parquet")
    for table in slices("path", config.path, wanted, rows):
        if table.rows_read:
            found = own_tables.assemble(config, table, None, None, types)
            if len(table.parts) > 1:
                found = dataclasses.replace(found, source=table.name)
            yield str(table.parts[-1].path), found


def with_tables(
    found: Interactions, config: DataConfig, types: Mapping[str, str] | None
) -> Interactions:
    """With the tables of items and users that have files of their own."""
    items, users, bad = found.items, found.users, [found.bad_rows]
    if config.items_path:
        items, of_table = own_tables.described(config, "item", types)
        bad.append(of_table)
    if config.users_path:
        users, of_table = own_tables.described(config, "user", types)
        bad.append(of_table)
    rows = [table for table in bad if table is not None]
    bad_rows = pl.concat(rows) if rows else None
    return dataclasses.replace(found, items=items, users=users, bad_rows=bad_rows)


def merged(files: Iterable[tuple[str, Interactions]], remedy: str) -> Interactions:
    """All files' interactions, with ids beside the events.

    Args:
      files: the name and the events of each, in order.
      remedy: the end of the sentence about files that are no shards.

    Raises:
      DataError: a file is not in the order of user and time; a user stands in two; or they hold
        ids or times of different kinds.
    """
    names, lengths, first = [], [], None
    columns: dict[str, list[pl.Series]] = {}
    distinct: dict[str, list[pl.Series]] = {"user": [], "item": []}
    tables: dict[str, list[pl.DataFrame]] = {"items": [], "users": [], "bad_rows": []}
    rows_read, source = 0, ""
    for name, part in files:
        first = first or dataclasses.replace(part, events=part.events.clear())
        check_alike(first, part, name)
        own = {column.name: column for column in part.events.get_columns()}
        for key in KEYS:
            own[key], of_part = orders.coded(own[key])
            distinct[key].append(of_part)
        if not orders.in_order(own["user"].to_numpy(), own["time"].to_numpy()):
            raise DataError(f"{name} is not in the order of user and time; {remedy}.")
        for column, values in own.items():
            columns.setdefault(column, []).append(values)
        for table, several in tables.items():
            several += [found] if (found := getattr(part, table)) is not None else []
        rows_read += len(part.events) if part.rows_read is None else part.rows_read
        source = part.source
        names.append(name)
        lengths.append(len(part.events))
        del part, own
    if first is None:
        raise DataError(f"There are no events; {remedy}.")
    ids = {key: _places(columns[key], distinct.pop(key), names, key, remedy) for key in KEYS}
    events = {name: _joined(columns.pop(name)) for name in list(columns)}
    return dataclasses.replace(
        first,
        events=pl.DataFrame(events),
        items=described("item", tables["items"]),
        users=described("user", tables["users"]),
        bad_rows=pl.concat(tables["bad_rows"]) if tables["bad_rows"] else None,
        rows_read=rows_read,
        source=source,
        ids=ids,
    )


def described(key: str, several: list[pl.DataFrame]) -> pl.DataFrame | None:
    """One row an item or user, of the tables that parts made: the first value that is there."""
    if not several:
        return None
    table = pl.concat(several, how="vertical_relaxed")
    lists = [name for name, dtype in table.schema.items() if dtype == pl.List]
    known = [pl.when(pl.col(name).list.len() > 0).then(pl.col(name)) for name in lists]
    found = own_tables.first_known(key, table.with_columns(known), Path("The data"))
    return found.with_columns(pl.col(lists).fill_null([]))


def check_alike(first: Interactions, part: Interactions, name: str) -> None:
    """Raises DataError if ids or times are of another kind than in the part before."""
    for key in KEYS:
        kinds = first.events[key].dtype, part.events[key].dtype
        if kinds[0] != kinds[1]:
            raise DataError(
                f"{name}: the {key} ids are {kinds[1]}, in the rows before {kinds[0]}; write all "
                "of them as whole numbers, or as text."
            )
    if first.time_is != part.time_is:
        raise DataError(
            f"{name}: the times are {part.time_is}, in the rows before {first.time_is}; write them "
            "in one way."
        )


def _places(
    codes: list[pl.Series], distinct: list[pl.Series], names: list[str], key: str, remedy: str
) -> pl.Series:
    """The ids of all files; the files' places become those among them."""
    lengths = [len(one) for one in distinct]
    place, ids = orders.coded(pl.concat(distinct))
    if key == "user" and len(ids) < len(place):
        twice = int(place.filter(place.is_duplicated())[0])
        own = [name for name, of_file in zip(names, distinct, strict=True) if ids[twice] in of_file]
        raise DataError(
            f"User {shown(ids[twice])} stands in {own[0]} and in {own[1]}, but a user's events "
            f"belong into one file; {remedy}."
        )
    start = 0
    for number, length in enumerate(lengths):
        codes[number] = place.slice(start, length).gather(codes[number])
        start += length
    return ids


def _joined(several: list[pl.Series]) -> pl.Series:
    """One column of the files'; they go."""
    frames = [one.to_frame() for one in several]
    several.clear()
    return pl.concat(frames, how="vertical_relaxed", rechunk=True).to_series()
