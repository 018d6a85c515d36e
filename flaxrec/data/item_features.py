"""Facts about items as the label tower reads them: rows of tables, and numbers.

Shapes: C items, m values of an item at most, V numbers of an item, D width of its vector.
"""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from flaxrec.config import Config, FeatureConfig
from flaxrec.data import columns
from flaxrec.data.columns import Tables
from flaxrec.data.sources import vector_files
from flaxrec.data.vocabulary import PADDING, Vocabulary
from flaxrec.errors import ConfigError, DataError, shown


@dataclasses.dataclass(frozen=True)
class Known:
    """What the training data tell of a feature: later items are read by it.

    Attributes:
      vocabulary: of INT and STRING; None for numbers.
      mean: float64 [V], of the numbers of the items that have some.
      deviation: root of the mean squared distance from the mean.
      largest: absolute standardised number; later ones beyond are cut to it.
    """

    vocabulary: Vocabulary | None = None
    mean: np.ndarray | None = None
    deviation: float = 1.0
    largest: float = 0.0

    @property
    def rows(self) -> int:
        """Rows of the feature's parameter [rows, D]: of its table with 'unknown', or V."""
        if self.vocabulary is not None:
            return self.vocabulary.rows
        assert self.mean is not None
        return len(self.mean)

    def to_json(self) -> dict[str, Any]:
        """The inverse of `from_json`."""
        if self.vocabulary is not None:
            return {"vocabulary": self.vocabulary.entries[1:]}
        assert self.mean is not None
        numbers = {"deviation": self.deviation, "largest": self.largest}
        return {"mean": self.mean.tolist(), **numbers}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Known":
        """The inverse of `to_json`."""
        if "vocabulary" in fields:
            return cls(Vocabulary((PADDING, *fields["vocabulary"])))
        numbers = {name: fields.get(name, 0.0) for name in ("deviation", "largest")}
        return cls(None, np.array(fields.get("mean", []), np.float64), **numbers)


@dataclasses.dataclass(frozen=True)
class ItemValues:
    """One feature of all items.

    Attributes:
      values: int32 [C, m], vocabulary rows, 0 where an item has fewer values; or float32 [C, V],
        standardised numbers, 0 where they are missing.
      known: how they were read.
    """

    values: np.ndarray
    known: Known

    @property
    def rows(self) -> int:
        """See `Known.rows`."""
        return self.known.rows


def build(config: Config, tables: Tables) -> dict[str, ItemValues]:
    """The features of config.model.label_features by name.

    Raises:
      ConfigError: a feature's source is not in the data.
      DataError: a value cannot be used, an item has more than 64 of a feature, or a file of vectors
        does not fit the data.
    """
    found = {}
    of_items = dataclasses.replace(tables, item=tables.items["row"].to_numpy().astype(np.int32))
    for feature in config.model.label_features:
        if feature.type in ("INT", "STRING"):
            vocabularies: dict[str, Vocabulary] = {}
            columns.build(feature, 1, config.quirks, of_items, vocabularies)
            known = Known(vocabularies[feature.name])
            values: Any = of_items.series(feature)
        else:
            values = _numbers(feature, of_items, config.data.columns.item)
            known = _standard(values[tables.items["count"].to_numpy() > 0])
        found[feature.name] = ItemValues(_read(feature, known, values), known)
    return found


def of_later_items(
    config: Config, items: pl.DataFrame, known: Mapping[str, Known], files: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """The features of items that training did not see, by name; as `ItemValues.values`.

    Args:
      config: of the run.
      items: `item` and the features' columns, one row an item.
      known: from training, by name.
      files: the files of VECTOR features, where they are not the config's.

    Raises:
      ConfigError, DataError: as `build`.
    """
    tables = Tables(pl.DataFrame(), items, pl.DataFrame(), np.zeros(0, np.int32), None)
    found = {}
    for feature in config.model.label_features:
        if feature.name in files:
            feature = dataclasses.replace(feature, file=files[feature.name])
        is_id = feature.type in ("INT", "STRING")
        id_column = config.data.columns.item
        values = tables.series(feature) if is_id else _numbers(feature, tables, id_column)
        found[feature.name] = _read(feature, known[feature.name], values)
    return found


def _read(feature: FeatureConfig, known: Known, values: Any) -> np.ndarray:
    """As `ItemValues.values`, of a column, or of float [C, V] numbers."""
    if known.vocabulary is None:
        assert known.mean is not None
        if values.shape[1] != len(known.mean):
            raise DataError(
                f"{feature.file} holds vectors of {values.shape[1]} numbers, but those that the "
                f"feature {feature.name!r} was trained with had {len(known.mean)}; make them with "
                "the same model, or train anew."
            )
        standard = np.nan_to_num((values - known.mean) / known.deviation)
        return np.clip(standard, -known.largest, known.largest).astype(np.float32)
    rows = columns.rows_of(feature, values, known.vocabulary)
    if rows.shape[1] > columns.MOST_VALUES:
        raise ConfigError(
            f"The feature {feature.name!r} of config.model.label_features has {rows.shape[1]} "
            f"values for one item; keep at most {columns.MOST_VALUES}."
        )
    return rows


def _standard(values: np.ndarray) -> Known:
    """Mean and deviation of float [C, V] numbers, NaN where an item has none."""
    there = values[~np.isnan(values).any(axis=1)].astype(np.float64)
    if not len(there):
        return Known(None, np.zeros(values.shape[1]))
    mean = there.mean(axis=0)
    deviation = float(np.sqrt(np.square(there - mean).sum(axis=1).mean())) or 1.0
    return Known(None, mean, deviation, float(np.abs(there - mean).max() / deviation))


def _numbers(feature: FeatureConfig, tables: Tables, id_column: str) -> np.ndarray:
    """Float [C, V], NaN where an item has none."""
    if feature.type == "VECTOR":
        return _vectors(feature, tables.items["item"].to_list(), id_column)
    series = tables.series(feature)
    if isinstance(series.dtype, pl.List):
        raise DataError(
            f"The feature {feature.name!r} ({feature.source}) is FLOAT, but its column holds "
            "several values an item; use type STRING, or a file of vectors."
        )
    numbers = columns.numbers(feature, series)
    return np.where(np.isfinite(numbers), numbers, np.nan)[:, None]


def _vectors(feature: FeatureConfig, items: Sequence[Any], id_column: str) -> np.ndarray:
    """The items' vectors in the feature's file, float32 [C, V]; says how many have none."""
    ids, vectors = vector_files.read(feature.file, feature.name, id_column)
    listed = Vocabulary((PADDING, *ids))
    rows = listed.lookup(items)
    missing = rows == listed.unknown_row
    if missing.all():
        raise DataError(
            f"{feature.file}: none of its {len(ids):,} ids is one of the {len(items):,} items "
            f"(there {shown(ids[0])}, here {shown(items[0])}); correct the ids, or give the "
            f"feature {feature.name!r} the file of these items."
        )
    if missing.any():
        few = ", ".join(shown(items[i]) for i in np.flatnonzero(missing)[:3])
        logging.warning(
            "%s has no vector for %s of the %s items, such as %s; they are taken as the mean.",
            feature.file, f"{missing.sum():,}", f"{len(items):,}", few,
        )  # fmt: skip
    found = np.full((len(items), vectors.shape[1]), np.nan, np.float32)
    found[~missing] = vectors[rows[~missing] - 1]
    return found
