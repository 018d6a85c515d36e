"""The tables that every reader returns: events, items and users."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np
import polars as pl

from flaxrec.errors import DataError, shown

TimeIs = Literal["numbers", "dates", "date-times"]


@dataclasses.dataclass(frozen=True)
class Interactions:
    """Tables as read from a data source, before filters, sorting and vocabularies.

    Attributes:
      events: one row per interaction, in file order, with columns
        `user` and `item` (integers or strings),
        `time` (Int64 or Float64; any unit; gives the order and `event.gap`),
        optionally `rating` (Float32) and further event feature columns.
      items: one row per item, or None. Columns: `item` (same type as `events.item`), optionally
        `title` (String), and feature columns: a scalar column (`year`: Int64) is a single-valued
        feature, a List column (`genres`: List(String)) a multi-valued one.
      users: one row per user, or None. Columns: `user`, and feature columns as for items.
      source: name of the data, for messages and metadata ("MovieLens 1M").
      rows_read: rows in the files, bad ones included; None: as many as `events` has.
      bad_rows: the rows left out by `config.data.bad_rows=drop`, in file order, with columns
        `file` (String), `line` (Int64, from 1: a text file's line, Parquet's row), `column` and
        `reason` (String); None: none.
      has_time: False where the data have no times: `time` is the row's place in the files then.
      time_is: what times were in the data: numbers, dates (seconds since 1970 here) or date-times
        (the same).
      ids: the distinct ids of `user` and `item`; `events` has their places here (UInt32) instead of
        ids then, as those that `filters.filtered` returns. There may be ids without events.
      first: bool, one an event, whether it is its user's first with that item; None: not counted.
    """

    events: pl.DataFrame
    items: pl.DataFrame | None = None
    users: pl.DataFrame | None = None
    source: str = "interactions"
    rows_read: int | None = None
    bad_rows: pl.DataFrame | None = None
    has_time: bool = True
    time_is: TimeIs = "numbers"
    ids: Mapping[str, pl.Series] = dataclasses.field(default_factory=dict)
    first: np.ndarray | None = None

    def __post_init__(self) -> None:
        for column in ("user", "item", "time"):
            if column not in self.events.columns:
                raise DataError(f"{self.source}: the events have no column '{column}'.")
        for key, table in (("item", self.items), ("user", self.users)):
            if table is None:
                continue
            if key not in table.columns:
                raise DataError(f"{self.source}: the {key} table has no column '{key}'.")
            types = table[key].dtype, self.ids.get(key, self.events[key]).dtype
            if types[0] != types[1] and not all(dtype.is_integer() for dtype in types):
                raise DataError(
                    f"{self.source}: the {key} ids are {types[1]} in the events, but "
                    f"{table[key].dtype} in the {key} table; convert one of them."
                )
            duplicated = table.filter(table[key].is_duplicated())
            if len(duplicated):
                raise DataError(
                    f"{self.source}: {key} {shown(duplicated[key][0])} stands more than once in "
                    f"the {key} table; keep one row for each {key}."
                )

    def with_ids(self) -> "Interactions":
        """The same with ids in the events, whether or not they stand beside them."""
        own = [ids.gather(self.events[key]).alias(key) for key, ids in self.ids.items()]
        return dataclasses.replace(self, events=self.events.with_columns(own), ids={})
