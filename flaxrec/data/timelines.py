"""Timelines: every user's interactions in order, flat, as arrays ready for the device.

    interactions -> filters -> stable sort by (user, time) -> vocabularies -> feature columns

One event is stored once; a context is a window of these arrays (`contexts.py`).
Shapes: U users, N events, R values of a multi-valued feature over all events.
"""

import dataclasses
import functools
import logging
import zlib
from typing import Any

import numpy as np
import polars as pl

from flaxrec import config as config_lib
from flaxrec.config import Config, FeatureConfig
from flaxrec.config.quirks import Quirks
from flaxrec.data import gaps
from flaxrec.data import vocabulary as vocabulary_lib
from flaxrec.data.sources.interactions import Interactions
from flaxrec.data.spec import InputSpec
from flaxrec.data.vocabulary import Vocabulary
from flaxrec.errors import ConfigError, DataError

ITEM = "item"  # name of the vocabulary that item inputs and the label share


@dataclasses.dataclass(frozen=True)
class Column:
    """One feature over the events (or users).

    Attributes:
      values: int32 rows or float32 numbers; [N] one a event, [R] for multi-valued features,
        [U, length] for user features, [N, length] for contexts that were made elsewhere.
      offsets: int32 [N + 1] for multi-valued features: the values of event e are
        values[offsets[e]:offsets[e + 1]]; None otherwise.
    """

    values: np.ndarray
    offsets: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Timelines:
    """All users' interactions, oldest first.

    Attributes:
      offsets: int32 [U + 1]; the events of user u are offsets[u]:offsets[u + 1].
      user: int32 [N], index of the event's user.
      item: int32 [N], the item's vocabulary row.
      time: [N], as the reader gave it.
      columns: the features' values by input name; see also `contexts_are_stored`.
      inputs: the model's inputs, in the config's order.
      vocabularies: by name; `item` is the label's.
      items: one row an item of the vocabulary: `row`, `item`, `title`, `count`, features.
      activities: the events as the reader gave them, in order: `item` and the event features that
        the model uses.
      users: one row a user: `user` (the user's own id) and the user features that the model uses.
      report: what the filters did, for messages.
      contexts_are_stored: columns hold [N, length], the whole context before each label, instead
        of one entry an event; every label is its own user's only event.
    """

    offsets: np.ndarray
    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    columns: dict[str, Column]
    inputs: tuple[InputSpec, ...]
    vocabularies: dict[str, Vocabulary]
    items: pl.DataFrame
    activities: pl.DataFrame
    users: pl.DataFrame
    report: dict[str, Any]
    contexts_are_stored: bool = False

    @property
    def description(self) -> str:
        """What the data are, in one line."""
        report = self.report
        if self.contexts_are_stored:
            return f"{report['source']}: {len(self.item):,} examples, {len(self.items):,} items"
        repeated = report["duplicate_events"]
        return (
            f"{report['source']}: {report['events']:,} events of {report['users']:,} users with "
            f"{report['items']:,} items ({report['events_read']:,} events read"
            f"{f', {repeated:,} repeated' if repeated else ''})"
        )

    @functools.cached_property
    def first_occurrence(self) -> np.ndarray:
        """Bool [N]: the event is its user's first with that item."""
        key = self.user.astype(np.int64) * (int(self.item.max()) + 1) + self.item
        first = np.zeros(len(self.item), bool)
        first[np.unique(key, return_index=True)[1]] = True
        return first

    def fingerprint(self) -> str:
        """Checksum of arrays and vocabularies, to notice that the data changed between runs."""
        arrays = [self.offsets, self.item, self.time]
        for name in sorted(self.columns):
            column = self.columns[name]
            arrays += [column.values] + ([] if column.offsets is None else [column.offsets])
        checksum = 0
        for array in arrays:
            checksum = zlib.crc32(np.ascontiguousarray(array).view(np.uint8), checksum)
        for name in sorted(self.vocabularies):
            entries = "\n".join(self.vocabularies[name].entries)
            checksum = zlib.crc32(f"{name}\n{entries}\n".encode(), checksum)
        return f"{checksum:08x}"


def build(interactions: Interactions, config: Config) -> Timelines:
    """Filters, sorts and indexes interactions.

    Raises:
      ConfigError: a feature's source is not a column of the data.
      DataError: nothing is left after the filters, or a value cannot be used.
    """
    events, report = _filter(interactions, config)
    user_rank = events["user"].rank("dense").to_numpy().astype(np.int32) - 1
    time = events["time"].to_numpy()
    # lexsort is stable: equal times of a user keep the order of the file.
    order = np.lexsort((time, user_rank))
    events, user, time = events[order], user_rank[order], time[order]
    if _asks_for_gaps(config) and gaps.NAME not in events.columns:
        is_first = np.diff(user, prepend=-1) != 0
        events = events.with_columns(pl.Series(gaps.NAME, gaps.from_times(time, is_first)))
    user_ids = events["user"].unique().sort()
    offsets = np.searchsorted(user, np.arange(len(user_ids) + 1)).astype(np.int32)

    quirks = config.quirks
    items, item, item_vocabulary = _index_items(events["item"], interactions.items, quirks)
    users = _align_users(interactions.users, user_ids)
    catalogue = interactions.items if quirks.vocabularies_count_items else None
    tables = _Tables(events, items, users, item, catalogue)
    vocabularies = {ITEM: item_vocabulary}
    columns, inputs = {}, []
    for feature in distinct_features(config):
        length = config_lib.feature_length(feature, config.model)
        spec, column = _column(feature, length, quirks, tables, vocabularies)
        columns[feature.name] = column
        inputs.append(spec)
    report |= {"users": len(user_ids), "items": len(items), "events": len(item)}
    return Timelines(
        offsets=offsets,
        user=user,
        item=item,
        time=time,
        columns=columns,
        inputs=tuple(inputs),
        vocabularies=vocabularies,
        items=items,
        activities=events.select("item", *_used(inputs, "event")),
        users=tables.users.select("user", *_used(inputs, "user")),
        report=report,
    )


def _asks_for_gaps(config: Config) -> bool:
    return any(feature.source == f"event.{gaps.NAME}" for feature in distinct_features(config))


def _used(inputs: list[InputSpec], table: str) -> list[str]:
    names = [spec.source.removeprefix(f"{table}.") for spec in inputs]
    return sorted({n for n, spec in zip(names, inputs, strict=True) if n != spec.source})


# ---- filters --------------------------------------------------------------------------------


def _filter(interactions: Interactions, config: Config) -> tuple[pl.DataFrame, dict[str, Any]]:
    events, source = interactions.events, interactions.source
    report: dict[str, Any] = {"source": source, "events_read": len(events)}
    if not len(events):
        raise DataError(f"{source}: there are no interactions; give it a file that has some.")
    if config.data.min_rating:
        if "rating" not in events.columns:
            raise ConfigError(
                f"config.data.min_rating is {config.data.min_rating}, but {source} has no ratings; "
                "set it to 0 or name the rating's column."
            )
        events = events.filter(pl.col("rating") >= config.data.min_rating)
        report["events_below_min_rating"] = report["events_read"] - len(events)
    repeated = _repeats(events)
    report["duplicate_events"] = int(repeated.sum())
    if config.data.drop_duplicates:
        events = events.filter(~repeated)
    elif report["duplicate_events"]:
        logging.info(
            "%s: %d events repeat another's user, item and time; they are kept "
            "(config.data.drop_duplicates=True drops them).",
            source,
            report["duplicate_events"],
        )
    if config.data.min_timeline_length > 1:
        long_enough = pl.len().over("user") >= config.data.min_timeline_length
        events = events.filter(long_enough)
    if not len(events):
        raise DataError(
            f"{source}: no user is left with config.data.min_timeline_length="
            f"{config.data.min_timeline_length} interactions and config.data.min_rating="
            f"{config.data.min_rating}; lower them."
        )
    return events, report


def _repeats(events: pl.DataFrame) -> pl.Series:
    """Whether an earlier row has the same user, item and time, bool [N]."""
    # Only users who met an item more than once can repeat an event; looking for them first takes
    # less memory than comparing all three columns of every row.
    user, item = events["user"].rank("dense"), events["item"].rank("dense").cast(pl.Int64)
    suspects = (user.cast(pl.Int64) * len(events) + item).is_duplicated()
    rows = suspects.arg_true()
    first = events[rows].select(pl.struct("user", "item", "time").is_first_distinct()).to_series()
    repeated = np.zeros(len(events), bool)
    repeated[rows.to_numpy()] = ~first.to_numpy()
    return pl.Series(repeated)


# ---- items and users ------------------------------------------------------------------------


def _index_items(
    event_item: pl.Series, item_table: pl.DataFrame | None, quirks: Quirks
) -> tuple[pl.DataFrame, np.ndarray, Vocabulary]:
    """Item table in vocabulary order, the events' rows, and the vocabulary."""
    ids = event_item.unique().sort()
    code = event_item.rank("dense").to_numpy().astype(np.int32) - 1
    counts = np.bincount(code, minlength=len(ids))
    if quirks.identity_item_vocabulary:
        if not ids.dtype.is_integer() or ids[0] < 1:
            raise DataError(
                "config.reference_mode needs items with integer ids from 1 on; "
                f"found {ids[0]!r} ({ids.dtype})."
            )
        largest = ids[-1]
        if item_table is not None and item_table["item"].dtype.is_integer():
            largest = max(largest, item_table["item"].max())
        vocabulary = vocabulary_lib.identity(int(largest))
        row_of_code = ids.to_numpy().astype(np.int32)
        items = pl.DataFrame({"row": row_of_code, "item": ids, "count": counts})
    else:
        vocabulary = vocabulary_lib.build(ids.to_list(), counts, "the items' ids")
        order = np.argsort(-counts, kind="stable")
        row_of_code = np.empty(len(ids), np.int32)
        row_of_code[order] = np.arange(1, len(ids) + 1)
        items = pl.DataFrame(
            {
                "row": np.arange(1, len(ids) + 1, dtype=np.int32),
                "item": ids[order],
                "count": counts[order],
            }
        )
    if item_table is not None:
        items = items.join(item_table, on="item", how="left", maintain_order="left")
    return items, row_of_code[code], vocabulary


def _align_users(users: pl.DataFrame | None, user_ids: pl.Series) -> pl.DataFrame:
    aligned = pl.DataFrame({"user": user_ids})
    if users is None:
        return aligned
    return aligned.join(users, on="user", how="left", maintain_order="left")


# ---- feature columns ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Tables:
    """Where features come from.

    Attributes:
      events: sorted.
      items: one row an item of the vocabulary.
      users: one row a user.
      item: int32 [N], the events' vocabulary rows.
      catalogue: the item table as read, to count item features in; None: they count by events.
    """

    events: pl.DataFrame
    items: pl.DataFrame
    users: pl.DataFrame
    item: np.ndarray
    catalogue: pl.DataFrame | None

    def series(self, feature: FeatureConfig) -> pl.Series:
        kind, _, name = feature.source.partition(".")
        table = {"event": self.events, "item": self.items, "user": self.users}[kind]
        own = {"event": {"user", "item"}, "item": {"row", "item", "count"}, "user": {"user"}}[kind]
        if name not in table.columns or name in own:
            there = [f"{kind}.{c}" for c in table.columns if c not in own]
            if kind == "item":
                there.insert(0, "item.id")
            raise ConfigError(
                f"The source {feature.source!r} of the feature {feature.name!r} is not in the "
                f"data; there are {', '.join(there) or f'no {kind} features'}."
            )
        return table[name]


def distinct_features(config: Config) -> list[FeatureConfig]:
    """The features of all groups, each name once, in the config's order."""
    features: dict[str, FeatureConfig] = {}
    for _, group in config_lib.groups(config.model):
        for feature in group.features:
            features.setdefault(feature.name, feature)
    return list(features.values())


def _column(
    feature: FeatureConfig,
    length: int,
    quirks: Quirks,
    tables: _Tables,
    vocabularies: dict[str, Vocabulary],
) -> tuple[InputSpec, Column]:
    """The feature's input and values; adds its vocabulary to `vocabularies`."""
    spec = InputSpec(feature.name, feature.source, feature.type, length)
    if feature.source == "item.id" and feature.type == "FLOAT":
        raise ConfigError(f"The feature {feature.name!r} takes item ids as FLOAT; use INT.")
    if feature.source == "item.id" and (quirks.vocab_size_is_rows or not feature.vocab_size):
        rows = vocabularies[ITEM].rows - quirks.identity_item_vocabulary
        rows = _table_rows(feature, tables.item, rows, quirks)
        return dataclasses.replace(spec, vocabulary=ITEM, rows=rows), Column(tables.item)

    is_id = feature.source == "item.id"
    series = tables.items["item"] if is_id else tables.series(feature)
    kind = feature.source.split(".")[0]
    # Events of each entry of the series: how often its values occur, and where they go.
    row_to_position = None
    if kind == "item":
        row = tables.items["row"].to_numpy()
        row_to_position = np.zeros(int(row.max()) + 1, np.int32)
        row_to_position[row] = np.arange(len(row))
        weights = tables.items["count"].to_numpy()
    else:
        weights = np.ones(len(series), np.int64)
    multi_valued = isinstance(series.dtype, pl.List)
    lengths = series.list.len().fill_null(0).cast(pl.Int64).to_numpy() if multi_valued else None
    flat = _explode(series)
    flat_weights = weights if lengths is None else np.repeat(weights, lengths)

    if feature.type == "FLOAT":
        numbers, default = _numbers(feature, flat, flat_weights)
        spec = dataclasses.replace(spec, default=default, multi_valued=multi_valued)
    else:
        flat = _as_integers(feature, flat)
        if kind == "item" and not is_id and tables.catalogue is not None:
            counted = _as_integers(feature, _explode(tables.catalogue[series.name]))
            once = np.ones(len(counted), np.int64)
            vocabulary = _vocabulary(feature, counted, once, quirks, ties_as_given=True)
        else:
            vocabulary = _vocabulary(feature, flat, flat_weights, quirks)
        numbers = _rows(flat, vocabulary)
        vocabularies[feature.name] = vocabulary
        rows = _table_rows(feature, numbers, vocabulary.rows, quirks)
        spec = dataclasses.replace(
            spec, vocabulary=feature.name, rows=rows, multi_valued=multi_valued
        )
    if kind == "user":
        return spec, Column(_pad_rows(numbers, lengths, spec.length))
    if kind == "event" and lengths is None:
        return spec, Column(numbers)
    if lengths is None:
        assert row_to_position is not None
        return spec, Column(numbers[row_to_position[tables.item]])
    if row_to_position is None:
        return spec, Column(numbers, np.r_[0, np.cumsum(lengths)].astype(np.int32))
    return spec, _expand(numbers, lengths, row_to_position[tables.item])


def _numbers(
    feature: FeatureConfig, series: pl.Series, weights: np.ndarray
) -> tuple[np.ndarray, float]:
    """float32 values and their mean over the events, which also fills missing ones."""
    try:
        values = series.cast(pl.Float64).to_numpy().copy()
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"The feature {feature.name!r} ({feature.source}) is FLOAT, but its values are not "
            f"numbers ({str(error).splitlines()[0]}); use type STRING."
        ) from error
    known = np.isfinite(values)
    total = weights[known].sum()
    mean = float((values[known] * weights[known]).sum() / total) if total else 0.0
    values[~known] = mean
    return values.astype(np.float32), mean


def _explode(series: pl.Series) -> pl.Series:
    """The values of all lists; of a column without lists the column."""
    if not isinstance(series.dtype, pl.List):
        return series
    # Empty lists are left out first: what explode makes of them differs between polars versions.
    return series.filter(series.list.len() > 0).explode()


def _as_integers(feature: FeatureConfig, series: pl.Series) -> pl.Series:
    """The values of an INT feature as Int64, other series as they are."""
    if feature.type != "INT" or feature.source == "item.id" or series.dtype.is_integer():
        return series
    try:
        whole = series.cast(pl.Int64)
        if series.dtype != pl.Boolean and not (series == whole.cast(series.dtype)).all():
            raise pl.exceptions.InvalidOperationError("such as 3.5 or '07'")
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"The feature {feature.name!r} ({feature.source}) is INT, but its values are not "
            f"whole numbers ({str(error).splitlines()[0]}); use type STRING."
        ) from error
    return whole


def _vocabulary(
    feature: FeatureConfig,
    series: pl.Series,
    weights: np.ndarray,
    quirks: Quirks,
    *,
    ties_as_given: bool = False,
) -> Vocabulary:
    """The vocabulary of a feature whose values occur `weights` times."""
    counted = (
        pl.DataFrame({"value": series, "count": weights})
        .group_by("value", maintain_order=True)
        .agg(pl.col("count").sum())
        .drop_nulls()
    )
    vocabulary = vocabulary_lib.build(
        _distinct(counted["value"]),
        counted["count"].to_numpy(),
        f"the feature {feature.name!r}",
        0 if quirks.vocab_size_is_rows else feature.vocab_size,
        ties_as_given=ties_as_given,
    )
    if not quirks.padding_is_a_value:
        return vocabulary
    padding = "0" if feature.type == "INT" else "UNK"
    kept = [entry for entry in vocabulary.entries[1:] if entry != padding]
    return Vocabulary((padding, *kept))


def _table_rows(feature: FeatureConfig, values: np.ndarray, rows: int, quirks: Quirks) -> int:
    """Rows of the feature's table, where its vocabulary has `rows` and the data hold `values`."""
    if not (quirks.vocab_size_is_rows and feature.vocab_size):
        return rows
    needed = int(values.max(initial=0)) + 1
    if needed > feature.vocab_size:
        raise DataError(
            f"The feature {feature.name!r} has vocab_size {feature.vocab_size}, in reference mode "
            f"the rows of its table, but the data need {needed}; set it to {max(needed, rows)}."
        )
    return feature.vocab_size


def _rows(series: pl.Series, vocabulary: Vocabulary) -> np.ndarray:
    """int32 vocabulary rows; missing values are 'unknown'."""
    distinct = series.drop_nulls().unique()
    rows = pl.DataFrame(
        {"value": distinct, "row": pl.Series(vocabulary.lookup(_distinct(distinct)))}
    )
    joined = pl.DataFrame({"value": series}).join(
        rows, on="value", how="left", maintain_order="left"
    )
    return joined["row"].fill_null(vocabulary.unknown_row).to_numpy().astype(np.int32)


def _distinct(values: pl.Series) -> list:
    # NumPy's float32 has the shortest text that tells it apart: 4.2, not 4.199999809265137.
    return list(values.to_numpy()) if values.dtype == pl.Float32 else values.to_list()


def _pad_rows(flat: np.ndarray, lengths: np.ndarray | None, length: int) -> np.ndarray:
    """[U, length], padded with 0 at the end or cut."""
    if lengths is None:
        lengths = np.ones(len(flat), np.int64)
    padded = np.zeros((len(lengths), length), flat.dtype)
    starts = np.cumsum(lengths) - lengths
    for k in range(length):
        has = lengths > k
        padded[has, k] = flat[starts[has] + k]
    return padded


def _expand(flat: np.ndarray, lengths: np.ndarray, position: np.ndarray) -> Column:
    """Values by item -> values by event."""
    starts = np.cumsum(lengths) - lengths
    event_lengths = lengths[position]
    offsets = np.concatenate([[0], np.cumsum(event_lengths)])
    if offsets[-1] > np.iinfo(np.int32).max:
        raise DataError(
            f"A multi-valued feature has {offsets[-1]:,} values over all events, more than 32 bits "
            "count; keep fewer values an item, or fewer events."
        )
    index = np.repeat(starts[position] - offsets[:-1], event_lengths) + np.arange(offsets[-1])
    return Column(flat[index], offsets.astype(np.int32))
