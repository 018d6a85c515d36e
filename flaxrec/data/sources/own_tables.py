"""Interactions from your own files of one row an event, by the columns of `config.data.columns`."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from flaxrec.config import ColumnsConfig, DataConfig
from flaxrec.data.sources import bad_rows, table_columns
from flaxrec.data.sources.bad_rows import Found, Mark
from flaxrec.data.sources.interactions import Interactions
from flaxrec.data.sources.table_files import ROW, TableFile, Wanted, listed, load
from flaxrec.errors import ConfigError, DataError, shown


def read_table(config: DataConfig, types: Mapping[str, str] | None = None) -> Interactions:
    """Reads interactions and, if the config names them, features of items and users.

    Ids become Int64 if all of them, in every file, are whole numbers (also '12.0') without leading
    zeros, else String; spaces around a cell of a text file are removed. Features become Int64,
    Float64 or String, `multi_valued` ones List(String); Parquet's numbers and lists keep their
    types. A missing cell becomes null, or an empty list. Without `config.items_path` or
    `config.users_path` the features are columns of the interactions, and an item's or user's first
    value that is not missing counts.

    Args:
      config: paths, columns, and what to do with bad rows.
      types: of the model's features by source, such as {"event.version": "STRING"}; those of type
        STRING keep their cells' text.

    Returns:
      Interactions with
        `events`: user, item, time (Int64 or Float64; dates become seconds), and if named rating
        (Float32), event_type (String), session (as ids), weight (Float32) and event features; in
        file order, or by time where times differ by less than a Float64 tells;
        `items`: item, title (String) and item features; None if nothing is named;
        `users`: user and user features; None if nothing is named.

    Raises:
      ConfigError: fields of `config` are empty or contradictory.
      DataError: a file, a column, a line (text) or a row (Parquet) cannot be used.
    """
    check(config)
    columns = config.columns
    items = users = None
    if config.items_path:
        wanted = named(columns, "item") + of_item(columns)
        items = load("items_path", config.items_path, wanted, config.format)
    if config.users_path:
        wanted = named(columns, "user") + of_user(columns)
        users = load("users_path", config.users_path, wanted, config.format)
    beside = of_item(columns) * (items is None) + of_user(columns) * (users is None)
    events = load("path", config.path, of_events(columns) + beside, config.format)
    return assemble(config, events, items, users, types)


def read_items(config: DataConfig, path: str, types: Mapping[str, str]) -> pl.DataFrame:
    """Reads a table of items alone: `item`, and title and features as `config.columns` names them.

    Values are as from `read_table`. Of `config` also the format counts, where the file's extension
    tells none.

    Raises:
      DataError: the file, a column, a row or an item's second row cannot be used.
    """
    columns = config.columns
    names = [columns.item, *(column for _, column in of_item(columns))]
    try:
        config = dataclasses.replace(config, items_path=path, bad_rows="refuse")
        return described(config, "item", types)[0]
    except DataError as error:  # the remedies are those of training
        told = str(error).rpartition("; ")[0].removesuffix(".") or str(error)
        raise DataError(
            f"{told}; give --items a table with one row an item and the columns {listed(names)}."
        ) from error


def described(
    config: DataConfig, key: str, types: Mapping[str, str] | None
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """The table at `config.items_path` (`key` 'item') or `users_path` ('user') alone.

    Returns:
      One row an item or user, as from `read_table`; and the bad rows, as `Interactions.bad_rows`.

    Raises:
      DataError: the file, a column or a row cannot be used.
    """
    columns, field = config.columns, f"{key}s_path"
    wanted = of_item(columns) if key == "item" else of_user(columns)
    form = config.format if config.format in ("csv", "tsv", "parquet", "jsonl") else "auto"
    good, name = _Good(config.bad_rows), getattr(columns, key)
    file = load(field, getattr(config, field), named(columns, key) + wanted, form)
    file = good.described(file, name)
    good.check()
    file, ids = good.first(key, table_columns.own_ids(file, name), file)
    good.check()
    table = _described(key, ids, file, file, wanted, columns, types or {})
    assert table is not None
    return table, good.dropped()


def named(columns: ColumnsConfig, *fields: str) -> Wanted:
    """The columns that fields of the config name."""
    values = [(field, getattr(columns, field)) for field in fields]
    names = [(f, [v] * bool(v) if isinstance(v, str) else v) for f, v in values]
    return [(field, name) for field, several in names for name in several]


def of_events(columns: ColumnsConfig) -> Wanted:
    """The columns of the interactions."""
    fields = ("user", "item", "time", "rating", "event_type", "session", "weight")
    return named(columns, *fields, "event_features")


def of_item(columns: ColumnsConfig) -> Wanted:
    """The columns that describe an item."""
    return named(columns, "title", "item_features")


def of_user(columns: ColumnsConfig) -> Wanted:
    """The columns that describe a user."""
    return named(columns, "user_features")


def assemble(
    config: DataConfig,
    events: TableFile,
    items: TableFile | None,
    users: TableFile | None,
    types: Mapping[str, str] | None,
) -> Interactions:
    """Interactions of loaded tables whose columns have the config's names; see `read_table`."""
    columns, types = config.columns, types or {}
    numbers: dict[str, pl.Series] = {}
    order, marks = None, []
    time_is: table_columns.TimeIs = "numbers"
    for name in (columns.user, columns.item, columns.session):
        marks += table_columns.bad_ids(events, name) if name else []
    if columns.time:
        numbers["time"], order, unusable = table_columns.time(events, columns.time)
        marks += unusable
        time_is = table_columns.kind_of_time(events, columns.time)
    else:
        numbers["time"] = events.frame[ROW]
    if columns.rating:
        numbers["rating"], unusable = table_columns.rating(events, columns.rating)
        marks += unusable
    if columns.weight:
        numbers["weight"], unusable = table_columns.weight(events, columns.weight)
        marks += unusable
    marks += table_columns.no_moments(events, events.frame.columns)
    good = _Good(config.bad_rows)
    rows_read = events.rows_read
    events, is_good = good.rows(events, marks)
    items = items and good.described(items, columns.item)
    users = users and good.described(users, columns.user)
    good.check()

    item, item_of_items = table_columns.ids("item", columns.item, events, items)
    user, user_of_users = table_columns.ids("user", columns.user, events, users)
    if items:
        items, item_of_items = good.first("item", item_of_items, items)
    if users:
        users, user_of_users = good.first("user", user_of_users, users)
    good.check()
    numbers = {name: column.filter(is_good) for name, column in numbers.items()}
    table = {"user": user, "item": item, "time": numbers["time"]}
    if columns.rating:
        table["rating"] = numbers["rating"]
    if columns.event_type:
        table["event_type"] = table_columns.text(events, columns.event_type)
    if columns.session:
        table["session"], _ = table_columns.ids("session", columns.session, events, None)
    if columns.weight:
        table["weight"] = numbers["weight"]
    for name in columns.event_features:
        table[name] = table_columns.feature(events, name, types.get(f"event.{name}", ""))
    frame = pl.DataFrame(table)
    if order is not None:
        order = order.filter(is_good).with_row_index("place").sort(order.columns)
        frame = frame[order["place"]]
    return Interactions(
        frame,
        _described("item", item_of_items, items, events, of_item(columns), columns, types),
        _described("user", user_of_users, users, events, of_user(columns), columns, types),
        source=events.name,
        rows_read=rows_read,
        bad_rows=good.dropped(),
        has_time=bool(columns.time),
        time_is=time_is,
    )


def check(config: DataConfig) -> None:
    """Raises ConfigError if fields are empty or contradict each other."""
    if not config.path:
        raise ConfigError("config.data.path is ''; give a .csv, .tsv or .parquet file.")
    columns = config.columns
    for name in ("user", "item", "separator"):
        if not getattr(columns, name):
            default = getattr(ColumnsConfig(), name)
            raise ConfigError(f"config.data.columns.{name} is ''; give it, such as {default!r}.")
    for name in columns.multi_valued:
        if name not in columns.item_features:
            raise ConfigError(
                f"config.data.columns.multi_valued names {name!r}; use names that stand in "
                f"config.data.columns.item_features ({listed(columns.item_features)})."
            )
    optional = [n for n in ("rating", "event_type", "session", "weight") if getattr(columns, n)]
    taken = {
        "event_features": ["user", "item", "time", *optional],
        "item_features": ["item", "row", "count"] + ["title"] * bool(columns.title),
        "user_features": ["user"],
    }
    for field, names in taken.items():
        for name in getattr(columns, field):
            if name in names:
                raise ConfigError(
                    f"config.data.columns.{field} names {name!r}, which is taken or named twice; "
                    "leave it out, or give the column another name in the file."
                )
            names.append(name)


# ---- bad rows -------------------------------------------------------------------------------


class _Good:
    """The tables' good rows; the others are refused together or dropped."""

    def __init__(self, policy: str) -> None:
        self._drops = policy == "drop"
        self._found: list[Found] = []
        self._handled = 0

    def rows(self, file: TableFile, marks: list[Mark]) -> tuple[TableFile, pl.Series]:
        """The good rows, and whether each row is good."""
        found, is_bad = file.found(marks, everything=self._drops)
        self._found.append(found)
        if self._drops and found.count and is_bad.all():
            bad_rows.refuse([found])
        return (file.without(is_bad) if found.count else file), ~is_bad

    def described(self, file: TableFile, key: str) -> TableFile:
        """The good rows of a table of items or users."""
        marks = table_columns.bad_ids(file, key)
        marks += table_columns.no_moments(file, file.frame.columns)
        return self.rows(file, marks)[0]

    def first(self, key: str, ids: pl.Series, file: TableFile) -> tuple[TableFile, pl.Series]:
        """The first row of each id: a table of items or users has one."""
        first = ids.is_first_distinct()

        def reason(row: int) -> str:
            earlier = (ids == ids[row]).arg_max() or 0
            one, two = file.bad_row(earlier, "", ""), file.bad_row(row, "", "")
            place = one.place if one.file == two.file else f"{one.file}, {one.place}"
            return f"{key} {shown(ids[row])} stands in {place} already"

        file, _ = self.rows(file, [Mark(~first, key, reason, "keep one of the two")])
        return file, ids.filter(first)

    def check(self) -> None:
        """Raises DataError for bad rows that are not to be dropped."""
        found, self._handled = self._found[self._handled :], len(self._found)
        if self._drops:
            bad_rows.warn(found)
        else:
            bad_rows.refuse(found)

    def dropped(self) -> pl.DataFrame | None:
        """As `Interactions.bad_rows`."""
        return bad_rows.table(self._found)


# ---- items and users ------------------------------------------------------------------------


def _described(
    key: str,
    ids: pl.Series,
    own: TableFile | None,
    events: TableFile,
    wanted: Wanted,
    columns: ColumnsConfig,
    types: Mapping[str, str],
) -> pl.DataFrame | None:
    """One row per item or user: title and features, from its own file or the events' file."""
    if not own and not wanted:
        return None
    file = own or events
    table = {key: ids}
    for field, column in wanted:
        if field == "title":
            table["title"] = table_columns.text(file, column)
        elif field == "item_features" and column in columns.multi_valued:
            table[column] = table_columns.values(file, column, columns.separator)
        else:
            declared = types.get(f"{key}.{column}", "")
            table[column] = table_columns.feature(file, column, declared)
    found = pl.DataFrame(table)
    if not own:
        found = first_known(key, found, file.path)
    lists = [name for name, dtype in found.schema.items() if dtype == pl.List]
    return found.with_columns(pl.col(lists).fill_null([]))


def first_known(key: str, table: pl.DataFrame, path: Path) -> pl.DataFrame:
    """One row per key, with the first value that is not missing in each column."""
    features = table.columns[1:]
    for name in features:
        values = table.select(key, name).drop_nulls().unique()
        contradicted = values[key].filter(values[key].is_duplicated()).n_unique()
        if contradicted:
            logging.warning(
                "%s: %d %ss have several values of %r; the first one is kept.",
                path, contradicted, key, name,
            )  # fmt: skip
    firsts = [pl.col(name).drop_nulls().first() for name in features]
    return table.group_by(key, maintain_order=True).agg(firsts)
