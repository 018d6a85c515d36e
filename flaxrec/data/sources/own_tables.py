"""Interactions from your own CSV, TSV or Parquet files, by the columns of `config.data.columns`."""

import logging

import polars as pl

from flaxrec.config import ColumnsConfig, DataConfig
from flaxrec.data.sources import table_columns
from flaxrec.data.sources.interactions import Interactions
from flaxrec.data.sources.table_files import TableFile, Wanted, listed, load
from flaxrec.errors import ConfigError, DataError


def read_table(config: DataConfig) -> Interactions:
    """Reads interactions and, if the config names them, features of items and users.

    Ids become Int64 if all of them, in every file, are whole numbers (also '12.0') without leading
    zeros, else String; spaces around an id in a CSV are removed. Features become Int64, Float64 or
    String, `multi_valued` ones List(String); Parquet's numbers and lists keep their types. A
    missing cell becomes null, or an empty list. Without `config.items_path` or `config.users_path`
    the features are columns of the interactions, and an item's or user's first value that is not
    missing counts.

    Returns:
      Interactions with
        `events`: user, item, time (Int64 or Float64; dates become seconds), and if named rating
        (Float32), event_type (String), session (as ids), weight (Float32) and event features; in
        file order;
        `items`: item, title (String) and item features; None if nothing is named;
        `users`: user and user features; None if nothing is named.

    Raises:
      ConfigError: fields of `config` are empty or contradictory.
      DataError: a file, a column, a line (CSV) or a row (Parquet) cannot be used.
    """
    columns = config.columns
    _check(config)

    def named(*fields: str) -> Wanted:
        values = [(field, getattr(columns, field)) for field in fields]
        names = [(f, [v] * bool(v) if isinstance(v, str) else v) for f, v in values]
        return [(field, name) for field, several in names for name in several]

    of_item, of_user = named("title", "item_features"), named("user_features")
    items = users = None
    if config.items_path:
        items = load("items_path", config.items_path, named("item") + of_item)
    if config.users_path:
        users = load("users_path", config.users_path, named("user") + of_user)
    of_event = named(
        "user", "item", "time", "rating", "event_type", "session", "weight", "event_features"
    )
    beside = of_item * (items is None) + of_user * (users is None)
    events = load("path", config.path, of_event + beside)

    item, item_of_items = table_columns.ids("item", columns.item, events, items)
    user, user_of_users = table_columns.ids("user", columns.user, events, users)
    table = {"user": user, "item": item, "time": table_columns.time(events, columns.time)}
    if columns.rating:
        table["rating"] = table_columns.rating(events, columns.rating)
    if columns.event_type:
        table["event_type"] = table_columns.text(events, columns.event_type)
    if columns.session:
        table["session"], _ = table_columns.ids("session", columns.session, events, None)
    if columns.weight:
        table["weight"] = table_columns.weight(events, columns.weight)
    table |= {name: table_columns.feature(events, name) for name in columns.event_features}
    return Interactions(
        pl.DataFrame(table),
        _described("item", item_of_items, items, events, of_item, columns),
        _described("user", user_of_users, users, events, of_user, columns),
        source=events.path.name,
    )


def _check(config: DataConfig) -> None:
    if not config.path:
        raise ConfigError("config.data.path is ''; give a .csv, .tsv or .parquet file.")
    columns = config.columns
    for name in ("user", "item", "time", "separator"):
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


# ---- items and users ------------------------------------------------------------------------


def _described(
    key: str,
    ids: pl.Series,
    own: TableFile | None,
    events: TableFile,
    wanted: Wanted,
    columns: ColumnsConfig,
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
            table[column] = table_columns.feature(file, column)
    described = pl.DataFrame(table)
    if own:
        _refuse_repeats(key, ids, own)
    else:
        described = _first_known(key, described, file)
    lists = [name for name, dtype in described.schema.items() if dtype == pl.List]
    return described.with_columns(pl.col(lists).fill_null([]))


def _refuse_repeats(key: str, ids: pl.Series, file: TableFile) -> None:
    repeated = ~ids.is_first_distinct()
    if repeated.any():
        second = repeated.arg_max() or 0
        first = (ids == ids[second]).arg_max() or 0
        raise DataError(
            f"{file.path}, {file.place(second)}: {key} {ids[second]!r} stands in "
            f"{file.place(first)} already; keep one of the two."
        )


def _first_known(key: str, table: pl.DataFrame, file: TableFile) -> pl.DataFrame:
    """One row per key, with the first value that is not missing in each column."""
    features = table.columns[1:]
    for name in features:
        values = table.select(key, name).drop_nulls().unique()
        contradicted = values[key].filter(values[key].is_duplicated()).n_unique()
        if contradicted:
            logging.warning(
                "%s: %d %ss have several values of %r; the first one is kept.",
                file.path, contradicted, key, name,
            )  # fmt: skip
    firsts = [pl.col(name).drop_nulls().first() for name in features]
    return table.group_by(key, maintain_order=True).agg(firsts)
