"""Timelines: every user's interactions in order, as flat arrays ready for the device.

    interactions -> filters -> stable sort by (user, time) -> vocabularies -> feature columns

Each event is stored once; a context is a window of these arrays (`contexts.py`).
Shapes: U users, N events.
"""

import dataclasses
import functools
import zlib
from typing import Any

import numpy as np
import polars as pl

from flaxrec import config as config_lib
from flaxrec.config import Config
from flaxrec.config.quirks import Quirks
from flaxrec.data import account as account_lib
from flaxrec.data import columns as columns_lib
from flaxrec.data import filters, item_features, moments, orders
from flaxrec.data import vocabulary as vocabulary_lib
from flaxrec.data.account import Account
from flaxrec.data.columns import Column, Tables
from flaxrec.data.item_features import ItemValues
from flaxrec.data.moments import Clock
from flaxrec.data.sources.interactions import Interactions
from flaxrec.data.spec import InputSpec
from flaxrec.data.vocabulary import ITEM, Vocabulary
from flaxrec.errors import ConfigError, DataError, shown

_MOST_ROWS = 2**24  # of a table that has a row for every id


@dataclasses.dataclass(frozen=True)
class Timelines:
    """All users' interactions, oldest first.

    Attributes:
      offsets: int32 [U + 1]; the events of user u are offsets[u]:offsets[u + 1].
      user: int32 [N], index of the event's user.
      item: int32 [N], the item's vocabulary row.
      time: [N], as from the reader.
      columns: the features' values by input name; see also `contexts_are_stored`.
      inputs: the model's inputs, in the config's order.
      vocabularies: by name; `item` is the label's.
      items: one row per item of the vocabulary: `row`, `item`, `title`, `count`, features.
      event_values: the event features that the model uses, in the data's own values, [N] by name;
        not those that are computed from times of what comes after.
      users: one row per user: `user` (the user's own id) and the user features that the model uses.
      report: what the filters did, for messages.
      weight: float32 [N], the events' weights in the loss; None: all count alike.
      clock: how times count; None: there are none.
      item_values: the features of config.model.label_features by name.
      account: of the data, see `account.py`; None with tfrecord.
      contexts_are_stored: columns hold [N, length], the whole context before each label, instead
        of one entry per event; each user has one event, a label.
      first: what `first_occurrence` is, where it is known already.
      whole_from: users from this index on are there a second time, with their cold items, for the
        labels of these (see `data/cold.py`); nothing of them counts anywhere. None: there are none.
    """

    offsets: np.ndarray
    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    columns: dict[str, Column]
    inputs: tuple[InputSpec, ...]
    vocabularies: dict[str, Vocabulary]
    items: pl.DataFrame
    event_values: dict[str, pl.Series]
    users: pl.DataFrame
    report: dict[str, Any]
    weight: np.ndarray | None = None
    account: Account | None = None
    clock: Clock | None = None
    item_values: dict[str, ItemValues] = dataclasses.field(default_factory=dict)
    contexts_are_stored: bool = False
    whole_from: int | None = None
    first: np.ndarray | None = None

    @property
    def description(self) -> str:
        """The data in one line, for messages."""
        if self.account is None:
            counts = f"{len(self.item):,} examples, {len(self.items):,} items"
        else:
            counts = self.account.lines()[0]
        return f"{self.report['source']}: {counts}"

    @functools.cached_property
    def first_occurrence(self) -> np.ndarray:
        """Bool [N]: whether the event is its user's first with that item."""
        if self.first is not None:
            return self.first
        return orders.first_of_pairs(self.offsets.astype(np.int64), self.item)

    @property
    def activities(self) -> pl.DataFrame:
        """The events as from `activities_of`."""
        return self.activities_of(slice(None))

    def activities_of(self, events: slice) -> pl.DataFrame:
        """Events in order: `item` and `event_values`, in the data's own ids and values.

        With inputs that tell of the moment of asking also `time`.
        """
        line = np.searchsorted(self.items["row"].to_numpy(), self.item[events])
        columns = {"item": self.items["item"].gather(line)}
        columns |= {name: values[events] for name, values in self.event_values.items()}
        if any(spec.source in moments.OF_NOW for spec in self.inputs):
            columns.setdefault("time", pl.Series(self.time[events]))
        return pl.DataFrame(columns)

    def fingerprint(self) -> str:
        """Checksum of arrays and vocabularies, to detect changed data when a run resumes."""
        arrays = [self.offsets, self.item, self.time]
        arrays += [] if self.weight is None else [self.weight]
        for name in sorted(self.columns):
            column = self.columns[name]
            arrays += [column.values] + ([] if column.offsets is None else [column.offsets])
        arrays += [self.item_values[name].values for name in sorted(self.item_values)]
        checksum = 0
        for array in arrays:
            checksum = zlib.crc32(np.ascontiguousarray(array).view(np.uint8), checksum)
        for name in sorted(self.vocabularies):
            entries = "\n".join(self.vocabularies[name].entries)
            checksum = zlib.crc32(f"{name}\n{entries}\n".encode(), checksum)
        return f"{checksum:08x}"


def build(
    interactions: Interactions,
    config: Config,
    account: Account | None = None,
    warm: int | None = None,
) -> Timelines:
    """Filters, sorts and indexes interactions.

    Args:
      interactions: as read.
      config: names the filters and features.
      account: given with interactions from `account.of`, which are filtered and sorted already.
      warm: given with interactions from `cold.apart`.

    Raises:
      ConfigError: a feature's source is not a column of the data, or needs times that they lack.
      DataError: nothing is left after the filters, or a value cannot be used.
    """
    features = columns_lib.distinct_features(config)
    if account is None:
        interactions, account = account_lib.of(interactions, config.data)
    events = interactions.events
    starts = ~filters.same_as_before(events["user"])
    if warm is not None:
        starts[warm] = True
    user = np.cumsum(starts, dtype=np.int32) - 1
    whole_from, counted = None, {}
    if warm is not None:
        whole_from = int(user[warm])
        counted = {"event": warm, "ask": warm, "user": whole_from}
    time = events["time"].to_numpy()
    clock = _clock(interactions, time, config)
    sources = {feature.source for feature in features}
    events, labels = _with_moments(events, sources, user, clock, interactions.source)
    own = events["user"].filter(pl.Series(starts))
    users = interactions.ids["user"].gather(own).alias("user").to_frame()
    offsets = np.append(np.flatnonzero(starts), len(events)).astype(np.int32)

    quirks = config.quirks
    items, item, item_vocabulary = _index_items(interactions, events["item"], quirks, warm)
    if interactions.users is not None:
        users = users.join(interactions.users, on="user", how="left", maintain_order="left")
    catalogue = interactions.items if quirks.vocabularies_count_items else None
    tables = Tables(events, items, users, item, catalogue, labels, counted)
    vocabularies = {ITEM: item_vocabulary}
    columns, inputs = {}, []
    for feature in features:
        length = config_lib.feature_length(feature, config.model)
        spec, columns[feature.name] = columns_lib.build(
            feature, length, quirks, tables, vocabularies
        )
        inputs.append(spec)
    weighted = bool(config.data.columns.weight) and "weight" in events.columns
    report = {
        "source": interactions.source,
        "events_read": account.events + sum(account.dropped.values()),
        "events_below_min_rating": account.dropped.get("min_rating", 0),
        "duplicate_events": account.repeated_events,
        "users": len(users) if whole_from is None else whole_from,
        "items": len(items),
        "events": len(item) if warm is None else warm,
    }
    return Timelines(
        offsets=offsets,
        user=user,
        item=item,
        time=time,
        columns=columns,
        inputs=tuple(inputs),
        vocabularies=vocabularies,
        items=items,
        event_values=_event_values(events, inputs),
        users=users.select("user", *_used(inputs, "user.")),
        report=report,
        weight=events["weight"].to_numpy() if weighted else None,
        item_values=item_features.build(config, tables),
        account=account,
        clock=clock,
        whole_from=whole_from,
        first=interactions.first,
    )


def _clock(interactions: Interactions, time: np.ndarray, config: Config) -> Clock | None:
    if not interactions.has_time:
        return None
    try:
        moments.zone(config.data.time_zone)
    except ValueError as error:
        raise ConfigError(
            f"config.data.time_zone is {config.data.time_zone!r}, but {error}; use a name such as "
            "Europe/Berlin (on Windows they come with the package tzdata)."
        ) from error
    return moments.clock_of(
        time,
        config.data.time_zone,
        config.data.time_unit,
        moments=interactions.time_is != "numbers",
        dates=interactions.time_is == "dates",
    )


def _with_moments(
    events: pl.DataFrame, sources: set[str], user: np.ndarray, clock: Clock | None, what: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The events with columns of the sources of time, and those of labels, one row an event.

    Raises:
      ConfigError: a source needs times, or moments, that the data lack.
    """
    of_events, of_labels = [], []
    time, is_first = events["time"].to_numpy(), np.diff(user, prepend=-1) != 0
    for source in sorted(sources & set(moments.SOURCES)):
        name = source.partition(".")[2]
        if source == moments.GAP and name in events.columns:  # the data's own goes before
            continue
        if clock is None:
            raise ConfigError(
                f"A feature's source is {source}, but {what} has no times; leave the feature out."
            )
        if source in moments.OF_CALENDAR and (clock.dates or not clock.knows_now):
            held = "dates" if clock.dates else "numbers that are no Unix times"
            raise ConfigError(
                f"A feature's source is {source}, but the times of {what} are {held}; leave the "
                "feature out, or give date-times or config.data.time_unit."
            )
        if name in events.columns:
            raise ConfigError(
                f"A feature's source is {source}, which is computed from the times, but {what} has "
                f"a column {name!r} as well; give that another name."
            )
        if source == moments.GAP:
            of_events.append(pl.Series(name, moments.from_times(time, is_first)))
        elif source == moments.GAP_AFTER:
            of_events.append(_known(name, moments.gap_after(time, is_first)))
        elif source == moments.SECONDS_AGO:
            seconds = moments.whole_seconds(time, clock)
            starts = seconds[np.maximum.accumulate(np.where(is_first, np.arange(len(time)), 0))]
            of_events.append(pl.Series(name, np.minimum(seconds - starts, moments.LONGEST)))
        elif source == moments.SINCE:
            of_labels.append(_known(name, moments.since(time, is_first)))
        else:
            of_labels.append(pl.Series(name, _calendar(source, time, clock, what)))
    return events.with_columns(of_events), pl.DataFrame(of_labels)


def _calendar(source: str, time: np.ndarray, clock: Clock, what: str) -> np.ndarray:
    try:
        return moments.calendar(source, time, clock)
    except (ValueError, OverflowError) as error:
        low, high = (shown(f(time).item()) for f in (np.min, np.max))
        raise DataError(
            f"A feature's source is {source}, but the times of {what} go from {low} to {high} "
            f"{clock.unit}, beyond the years 1 to 9999; correct config.data.time_unit or the times."
        ) from error


def _known(name: str, values: np.ndarray) -> pl.Series:
    known = pl.Series(name, values)
    return known.set(known == moments.UNKNOWN, None)


def _event_values(events: pl.DataFrame, inputs: list[InputSpec]) -> dict[str, pl.Series]:
    names = _used(inputs, "event.")
    return {name: events[name] for name in names if f"event.{name}" not in moments.OF_NOW}


def _used(inputs: list[InputSpec], prefix: str) -> list[str]:
    sources = {spec.source for spec in inputs if spec.source.startswith(prefix)}
    return sorted(source.removeprefix(prefix) for source in sources)


# ---- items ----------------------------------------------------------------------------------


def _index_items(
    interactions: Interactions, event_item: pl.Series, quirks: Quirks, warm: int | None = None
) -> tuple[pl.DataFrame, np.ndarray, Vocabulary]:
    """The item table in vocabulary order, the events' rows (int32 [N]), and the vocabulary.

    Only the first `warm` events count; items without any of them come last, by their ids.
    """
    item_table, ids = interactions.items, interactions.ids["item"]
    place = event_item.to_numpy()
    count = np.bincount(place if warm is None else place[:warm], minlength=len(ids))
    there = np.flatnonzero(np.bincount(place, minlength=len(ids)))
    items = pl.DataFrame({"item": ids.gather(there), "count": count[there]})
    if quirks.identity_item_vocabulary:
        ids = items["item"]
        if not ids.dtype.is_integer() or ids[0] < 1:
            raise DataError(
                "config.reference_mode needs items with integer ids from 1 on; "
                f"found {shown(ids[0])} ({ids.dtype})."
            )
        largest = ids[-1]
        if item_table is not None and item_table["item"].dtype.is_integer():
            largest = max(largest, item_table["item"].max())
        if largest > _MOST_ROWS:
            raise DataError(
                f"config.reference_mode makes a row of every id up to the largest, {largest}; use "
                f"ids up to {_MOST_ROWS}, or leave reference_mode out."
            )
        vocabulary = vocabulary_lib.identity(int(largest))
        rows = ids
    else:
        by_count = np.argsort(-count[there], kind="stable")
        there, items = there[by_count], items[by_count]
        vocabulary = vocabulary_lib.build(
            items["item"].cast(pl.String).to_list(),
            items["count"].to_numpy(),
            f"the items' ids in {interactions.source}",
            ties_as_given=True,
        )
        rows = pl.int_range(1, len(items) + 1, eager=True)
    items = items.select(rows.cast(pl.Int32).alias("row"), "item", pl.col("count").cast(pl.Int64))
    row_of = np.zeros(len(count), np.int32)
    row_of[there] = items["row"].to_numpy()
    row = row_of[place]
    if item_table is not None:
        items = items.join(item_table, on="item", how="left", maintain_order="left")
    return items, row, vocabulary
