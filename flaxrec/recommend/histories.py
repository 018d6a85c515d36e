"""Many users' histories, from a table of activities that is read as training reads its own."""

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from flaxrec.config import Config, DataConfig, paths
from flaxrec.data import moments
from flaxrec.data.filters import filtered
from flaxrec.data.sources.interactions import Interactions
from flaxrec.data.sources.read import HISTORIES, read
from flaxrec.errors import ConfigError, DataError, ExportError
from flaxrec.recommend.times import read_time
from flaxrec.recommender import UNKNOWN, Recommender

_OWN = (*HISTORIES, "format", "bad_rows", "users_path")  # fields of config.data that may be set
_OF_COLUMNS = ("columns.event_features", "columns.user_features")
_FIELDS = ("rating", "event_type", "weight")  # event features that have a field of their own


@dataclasses.dataclass(frozen=True)
class Block:
    """Some users in a row.

    Attributes:
      users: their ids.
      histories: for each, item ids, or mappings if the model reads more; oldest first.
      features: for each, a mapping; None if the model reads none.
      nows: the moments of asking; None without a column of them.
    """

    users: pl.Series
    histories: list[list[Any]]
    features: list[dict[str, Any]] | None
    nows: list[Any] | None


@dataclasses.dataclass(frozen=True)
class Histories:
    """All users: those with activities by id, then those of a table of users alone.

    Attributes:
      users: one row a user: `user`, features and the column of moments.
      lengths: int64 [users], of the histories.
      activities: one row an activity, all users' in a row: `item` and what the model reads.
      now_column: the column of `users` with the moments; ''.
    """

    users: pl.DataFrame
    lengths: pl.Series
    activities: pl.DataFrame
    now_column: str = ""

    def blocks(self, size: int) -> Iterator[Block]:
        """All users, `size` at a time."""
        start = 0
        names = [n for n in self.users.columns if n not in ("user", self.now_column)]
        for first in range(0, len(self.users), size):
            users, lengths = self.users[first : first + size], self.lengths[first : first + size]
            frame = self.activities[start : start + int(lengths.sum())]
            alone = frame.width == 1
            rows: list[Any] = frame["item"].to_list() if alone else frame.to_dicts()
            start += len(rows)
            ends = lengths.cum_sum().to_list()
            yield Block(
                users["user"],
                [rows[end - n : end] for end, n in zip(ends, lengths.to_list(), strict=True)],
                users.select(names).to_dicts() if names else None,
                [_moment(m) for m in users[self.now_column]] if self.now_column else None,
            )


def load(
    recommender: Recommender, path: str, overrides: Mapping[str, str], now_column: str = ""
) -> Histories:
    """Reads the users of a table.

    Args:
      recommender: tells what the model reads, and how its training data were read.
      path: a table with one activity a row, or a file of sequences; as `config.data.path`.
      overrides: text by path of a field of config.data.
      now_column: a column of moments of asking, one a user: of the table, or of that of users.

    Raises:
      ConfigError: a field cannot be set here, or a value does not fit.
      DataError: the table cannot be used.
      ExportError: it holds dates, and the model's times are numbers that are no moments.
    """
    config = _config(recommender, path, overrides, now_column)
    sources = {spec["source"] for spec in recommender.inputs}
    reads_times = not sources.isdisjoint(moments.SOURCES)
    try:
        interactions = read(config, _types(recommender)).with_ids()
        if reads_times or config.session_gap:
            interactions = _in_own_unit(recommender, interactions, path)
        kept = filtered(interactions, config)[0].with_ids()
    except DataError as error:
        told = str(error).replace("--config.data.path", "--users")
        if now_column and f"no column {now_column!r}" in told:
            told = told.replace("--config.data.columns.user_features", "--now_column")
        raise DataError(told) from error
    names = [name for name in kept.events.columns if f"event.{name}" in sources]
    if reads_times and kept.has_time:
        names.append("time")
    elif reads_times:
        logging.warning("%s has no times; what the model reads of them is unknown.", path)
    runs = kept.events["user"].rle().struct
    users, lengths = pl.DataFrame({"user": runs.field("value")}), runs.field("len")
    if not (config.columns.session or config.session_gap):
        # Those without an activity, or of whom the filters left none.
        tables = [interactions.events, interactions.users]
        of_tables = [table.select("user") for table in tables if table is not None]
        everybody = pl.concat(of_tables, how="vertical_relaxed")
        others = everybody.unique(maintain_order=True).join(users, on="user", how="anti")
        users = pl.concat([users, others], how="vertical_relaxed")
        lengths = lengths.extend_constant(0, len(others))
    if kept.users is not None:
        users = users.join(kept.users, on="user", how="left", maintain_order="left")
    activities = kept.events.select("item", *names)
    return Histories(users, lengths.cast(pl.Int64), activities, now_column)


def _config(
    recommender: Recommender, path: str, overrides: Mapping[str, str], now_column: str
) -> DataConfig:
    """How the table is read."""
    config = Config()
    data = config.data
    data.source, data.path, data.min_timeline_length = "table", path, 1
    noted = recommender.metadata.get("histories") or {}
    for field in HISTORIES:
        if field in noted:
            paths.put(config, f"data.{field}", noted[field])
    columns = data.columns
    sources = {spec["source"] for spec in recommender.inputs} - {*moments.SOURCES}
    of_events = sorted(s.removeprefix("event.") for s in sources if s.startswith("event."))
    for name, needed in (("rating", data.min_rating), ("event_type", data.event_types)):
        if needed and not getattr(columns, name):
            setattr(columns, name, name)
        elif not needed and name not in of_events:
            setattr(columns, name, "")
    if "weight" not in of_events:
        columns.weight = ""
    with_field = [name for name in _FIELDS if getattr(columns, name)]
    columns.event_features = tuple(name for name in of_events if name not in with_field)
    of_users = sorted(s.removeprefix("user.") for s in sources if s.startswith("user."))
    columns.user_features = tuple(dict.fromkeys([*of_users, *[now_column] * bool(now_column)]))
    for field in overrides:
        if field.removeprefix("data.") not in (*_OWN, *_OF_COLUMNS):
            raise ConfigError(
                f"--config.{field} has no meaning for --users; use config.data.FIELD, FIELD being "
                f"one of {', '.join((*_OWN, *_OF_COLUMNS))}."
            )
    paths.override(config, overrides)
    return data


def _types(recommender: Recommender) -> dict[str, str]:
    """The type of each source, as far as reading asks."""
    types = {}
    for spec in recommender.inputs:
        entries = recommender.entries(spec["vocabulary"]) if spec["vocabulary"] else ()
        whole = all(entry.removeprefix("-").isdecimal() for entry in entries[1:])
        types[spec["source"]] = ("INT" if whole else "STRING") if entries else "FLOAT"
    return types


def _in_own_unit(recommender: Recommender, interactions: Interactions, path: str) -> Interactions:
    """The times in the unit of the training data; dates are read as seconds."""
    clock = recommender.clock
    if interactions.time_is == "numbers" or not interactions.has_time:
        return interactions
    if not clock.knows_now:
        raise ExportError(
            f"{path} has dates, but the times of this model's training are numbers that are no "
            "moments; give such numbers."
        )
    events = interactions.events.with_columns(pl.col("time") * clock.per_second)
    return dataclasses.replace(interactions, events=events)


def _moment(value: Any) -> Any:
    """A cell of the column of moments."""
    if isinstance(value, str) and value != UNKNOWN:
        return read_time(value)
    return UNKNOWN if value is None else value
