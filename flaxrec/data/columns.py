"""Feature columns: each feature's values by event or user, and their vocabularies.

Shapes: N events, U users, R values of a multi-valued feature over all events.
"""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
import polars as pl

from flaxrec import config as config_lib
from flaxrec.config import Config, FeatureConfig
from flaxrec.config.quirks import Quirks
from flaxrec.data import moments
from flaxrec.data import vocabulary as vocabulary_lib
from flaxrec.data.spec import MOST_POSITIONS, InputSpec
from flaxrec.data.vocabulary import ITEM, Vocabulary
from flaxrec.errors import ConfigError, DataError

MOST_VALUES = 64  # of one feature of an item, in the label tower
_WORD = r"[\p{L}\p{N}][\p{L}\p{M}\p{N}'\u2019]*"


@dataclasses.dataclass(frozen=True)
class Column:
    """One feature over the events (or users).

    Attributes:
      values: int32 rows or float32 numbers; [N] one per event, [R] for multi-valued features,
        [U, length] for user features, [N, length] for stored contexts.
      offsets: int32 [N + 1] for multi-valued features: the values of event e are
        values[offsets[e]:offsets[e + 1]]; None otherwise.
    """

    values: np.ndarray
    offsets: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Tables:
    """The tables that features come from.

    Attributes:
      events: sorted.
      items: one row per item of the vocabulary, by vocabulary row.
      users: one row per user.
      item: int32 [N], the events' vocabulary rows.
      catalogue: the item table as read, to count item features by items; None: count by events.
      labels: features of each event as a label: of the moment of asking.
      counted: how many of the first events ('event', 'ask') and users ('user') count in
        vocabularies and means; those that are missing: all.
    """

    events: pl.DataFrame
    items: pl.DataFrame
    users: pl.DataFrame
    item: np.ndarray
    catalogue: pl.DataFrame | None
    labels: pl.DataFrame = dataclasses.field(default_factory=pl.DataFrame)
    counted: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def counts(self, kind: str, rows: int) -> np.ndarray:
        """int64 [rows]: how often an item, event or user counts; an item once per event of it."""
        if kind == "item":
            return self.items["count"].to_numpy()
        return (np.arange(rows) < self.counted.get(kind, rows)).astype(np.int64)

    @functools.cached_property
    def place(self) -> np.ndarray:
        """int32 [N]: each event's line of `items`."""
        row = self.items["row"].to_numpy()
        place_of_row = np.zeros(row[-1] + 1, np.int32)
        place_of_row[row] = np.arange(len(row))
        return place_of_row[self.item]

    def series(self, feature: FeatureConfig) -> pl.Series:
        """The column that the feature names, one entry per event, item or user."""
        kind, _, name = feature.source.partition(".")
        if feature.source == "item.id":
            return self.items["item"]
        tables = {"event": self.events, "item": self.items, "user": self.users, "ask": self.labels}
        table = tables[kind]
        keys = {"event": {"user", "item"}, "item": {"row", "item", "count"}, "user": {"user"}}
        own = keys.get(kind, set())
        if name not in table.columns or name in own:
            there = ["item.id"] * (kind == "item")
            there += [f"{kind}.{c}" for c in table.columns if c not in own]
            raise ConfigError(
                f"The source {feature.source!r} of the feature {feature.name!r} is not in the "
                f"data; there are {', '.join(there) or f'no {kind} features'}."
            )
        return words(feature, table[name]) if feature.words else table[name]


def distinct_features(config: Config) -> list[FeatureConfig]:
    """The features of all feature groups, each name once, in the config's order."""
    features: dict[str, FeatureConfig] = {}
    for _, group in config_lib.groups(config.model):
        for feature in group.features:
            features.setdefault(feature.name, feature)
    return list(features.values())


def types_of_sources(config: Config) -> dict[str, str]:
    """The type of each source's features; STRING where one of several is."""
    types: dict[str, str] = {}
    for feature in [*distinct_features(config), *config.model.label_features]:
        if feature.type != "VECTOR" and types.get(feature.source) != "STRING":
            types[feature.source] = feature.type
    return types


def check_not_float(feature: FeatureConfig) -> None:
    """Raises ConfigError for item ids as FLOAT."""
    if feature.source == "item.id" and feature.type == "FLOAT":
        raise ConfigError(f"The feature {feature.name!r} takes item ids as FLOAT; use INT.")


def build(
    feature: FeatureConfig,
    length: int,
    quirks: Quirks,
    tables: Tables,
    vocabularies: dict[str, Vocabulary],
) -> tuple[InputSpec, Column]:
    """The feature's input and values. Adds its vocabulary to `vocabularies`.

    Raises:
      ConfigError: the feature's source is not in the data.
      DataError: a value cannot be used.
    """
    check_not_float(feature)
    spec = InputSpec(feature.name, feature.source, feature.type, length)
    is_id = feature.source == "item.id"
    if is_id and (quirks.vocab_size_is_rows or not feature.vocab_size):
        rows = vocabularies[ITEM].rows - quirks.identity_item_vocabulary
        rows = _table_rows(feature, tables.item, rows, quirks)
        return dataclasses.replace(spec, vocabulary=ITEM, rows=rows), Column(tables.item)

    series = tables.series(feature)
    if feature.source == moments.SECONDS_AGO:
        return spec, Column(series.cast(pl.Int32).to_numpy())
    kind = feature.source.partition(".")[0]
    multi_valued = isinstance(series.dtype, pl.List)
    flat, lengths = _flatten(series)
    counts = np.repeat(tables.counts(kind, len(series)), lengths)
    if feature.type == "FLOAT":
        values, default = _filled(numbers(feature, flat), counts)
        spec = dataclasses.replace(spec, default=default, multi_valued=multi_valued)
    else:
        flat = counted = _as_integers(feature, flat)
        catalogue = tables.catalogue if kind == "item" and not is_id else None
        if catalogue is not None:
            counted = _as_integers(feature, _flatten(catalogue[series.name])[0])
            counts = np.ones(len(counted), np.int64)
        by_catalogue = catalogue is not None
        if feature.source in moments.OF_NOW:
            vocabulary, flat = _of_moments(feature, flat, counts > 0)
        else:
            vocabulary = _vocabulary(feature, counted, counts, quirks, ties_as_given=by_catalogue)
        values = _rows(flat, vocabulary)
        vocabularies[feature.name] = vocabulary
        rows = _table_rows(feature, values, vocabulary.rows, quirks)
        spec = dataclasses.replace(
            spec, vocabulary=feature.name, rows=rows, multi_valued=multi_valued
        )
    if kind == "user":
        return spec, Column(_padded(values, lengths, length))
    if not multi_valued:
        return spec, Column(values[tables.place] if kind == "item" else values)
    if kind == "item":
        values, lengths = _by_event(values, lengths, tables.place)
    return spec, Column(values, np.append(0, _ends(lengths)).astype(np.int32))


# ---- values ---------------------------------------------------------------------------------


def _flatten(series: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """The values of all lists (or the column itself if it has none) and each entry's count."""
    if not isinstance(series.dtype, pl.List):
        return series, np.ones(len(series), np.int64)
    lengths = series.list.len().fill_null(0).cast(pl.Int64)
    # Remove empty lists first: polars versions explode them differently.
    return series.filter(lengths > 0).explode(), lengths.to_numpy()


def numbers(feature: FeatureConfig, series: pl.Series) -> np.ndarray:
    """float64 values, NaN where one is missing; raises DataError if they are no numbers."""
    return _cast(feature, series, pl.Float64(), "numbers").to_numpy()


def _filled(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, float]:
    """float32 values and their mean over the events, which fills missing values."""
    known = np.isfinite(values)
    total = counts[known].sum()
    mean = float((values[known] * counts[known]).sum() / total) if total else 0.0
    return np.where(known, values, mean).astype(np.float32), mean


def rows_of(feature: FeatureConfig, series: pl.Series, vocabulary: Vocabulary) -> np.ndarray:
    """Vocabulary rows of the values of each entry, int32 [n, m], 0 where it has fewer than m."""
    flat, lengths = _flatten(series)
    rows = _rows(_as_integers(feature, flat), vocabulary)
    return _padded(rows, lengths, max(1, int(lengths.max(initial=0))))


def words(feature: FeatureConfig, series: pl.Series) -> pl.Series:
    """The different words of each text, lists in lower case; no more than `MOST_VALUES`.

    Raises:
      DataError: the column holds no texts.
    """
    if series.dtype != pl.String:
        raise DataError(
            f"The feature {feature.name!r} ({feature.source}) is to be read by words, but its "
            "column does not hold one text an item; use words=False."
        )
    found = series.str.to_lowercase().str.extract_all(_WORD)
    return found.list.unique(maintain_order=True).list.head(MOST_VALUES)


def _as_integers(feature: FeatureConfig, series: pl.Series) -> pl.Series:
    """An INT feature's values as Int64; other series unchanged."""
    if feature.type != "INT" or feature.source == "item.id" or series.dtype.is_integer():
        return series
    return _cast(feature, series, pl.Int64(), "whole numbers")


def _cast(feature: FeatureConfig, series: pl.Series, dtype: pl.DataType, what: str) -> pl.Series:
    try:
        numbers = series.cast(dtype)
        is_exact = dtype.is_float() or series.dtype == pl.Boolean
        if not is_exact and not (series == numbers.cast(series.dtype)).all():
            raise pl.exceptions.InvalidOperationError("such as 3.5 or '07'")
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"The feature {feature.name!r} ({feature.source}) is {feature.type}, but its values "
            f"are not {what} ({str(error).splitlines()[0]}); use type STRING."
        ) from error
    return numbers


# ---- vocabularies ---------------------------------------------------------------------------


def _vocabulary(
    feature: FeatureConfig,
    series: pl.Series,
    counts: np.ndarray,
    quirks: Quirks,
    *,
    ties_as_given: bool,
) -> Vocabulary:
    """The vocabulary of a feature whose values occur `counts` times."""
    counted = (
        pl.DataFrame({"value": series, "count": counts})
        .group_by("value", maintain_order=True)
        .agg(pl.col("count").sum())
        .drop_nulls()
        .filter(pl.col("count") > 0)
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


def _of_moments(
    feature: FeatureConfig, values: pl.Series, counted: np.ndarray
) -> tuple[Vocabulary, pl.Series]:
    """All values from 0 to the largest that is `counted`, in their order, and the values cut.

    config's vocab_size keeps the smallest; larger values count as the largest.
    """
    most = values.filter(pl.Series(counted)).max() or 0
    largest = moments.OF_CALENDAR.get(feature.source, 1 + int(most)) - 1  # type: ignore[arg-type]
    if feature.vocab_size:
        largest = min(largest, feature.vocab_size - 1)
    entries = map(str, range(largest + 1))
    return Vocabulary((vocabulary_lib.PADDING, *entries)), values.clip(upper_bound=largest)


def _table_rows(feature: FeatureConfig, values: np.ndarray, rows: int, quirks: Quirks) -> int:
    """Rows of the table of a feature with `rows` vocabulary rows and these `values`."""
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
    rows = pl.Series(vocabulary.lookup(_distinct(distinct)), dtype=pl.Int32)
    return series.replace_strict(distinct, rows, default=vocabulary.unknown_row).to_numpy()


def _distinct(values: pl.Series) -> list:
    # NumPy prints float32 with the fewest digits: 4.2, not 4.199999809265137.
    return list(values.to_numpy()) if values.dtype == pl.Float32 else values.to_list()


# ---- to users and events --------------------------------------------------------------------


def _padded(flat: np.ndarray, lengths: np.ndarray, length: int) -> np.ndarray:
    """Values by user -> [U, length], padded with 0 at the end or cut."""
    padded = np.zeros((len(lengths), length), flat.dtype)
    place = np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    kept = place < length
    padded[np.repeat(np.arange(len(lengths)), lengths)[kept], place[kept]] = flat[kept]
    return padded


def _by_event(
    flat: np.ndarray, lengths: np.ndarray, place: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Values and counts by item -> values and counts by event."""
    starts = np.cumsum(lengths) - lengths
    of_event = lengths[place]
    ends = _ends(of_event)
    index = np.repeat(starts[place] - (ends - of_event), of_event) + np.arange(ends[-1])
    return flat[index], of_event


def _ends(lengths: np.ndarray) -> np.ndarray:
    """int64: where each event's values end among all of them."""
    ends = np.cumsum(lengths, dtype=np.int64)
    if ends[-1] > MOST_POSITIONS:
        raise DataError(
            f"A multi-valued feature has {ends[-1]:,} values over all events, and positions of 32 "
            f"bits count {MOST_POSITIONS:,}; keep fewer values an item, or fewer events."
        )
    return ends
