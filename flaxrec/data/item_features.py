"""Facts about items as rows of tables: what the label encoder adds to an item's own vector.

Shapes: C candidates, m values of an item at most.
"""

import dataclasses

import numpy as np
import polars as pl

from flaxrec.config import Config
from flaxrec.data import columns
from flaxrec.data.columns import Tables
from flaxrec.data.vocabulary import Vocabulary
from flaxrec.errors import ConfigError

_MOST = 64  # values of an item


@dataclasses.dataclass(frozen=True)
class ItemValues:
    """One feature of all items.

    Attributes:
      values: int32 [C, m], vocabulary rows; 0 where an item has fewer values.
      rows: of the feature's table, with padding and 'unknown'.
    """

    values: np.ndarray
    rows: int


def build(config: Config, tables: Tables) -> dict[str, ItemValues]:
    """The features of config.model.label_features by name.

    Raises:
      ConfigError: a feature's source is not in the data.
      DataError: a value cannot be used, or an item has more than 64 of a feature.
    """
    found = {}
    of_items = dataclasses.replace(tables, item=tables.items["row"].to_numpy().astype(np.int32))
    for feature in config.model.label_features:
        series = of_items.series(feature)
        most = 1
        if series.dtype == pl.List:
            most = max(1, *series.list.len().fill_null(0).to_list())
        if most > _MOST:
            raise ConfigError(
                f"The feature {feature.name!r} of config.model.label_features has {most} values "
                f"for one item; keep at most {_MOST}."
            )
        vocabularies: dict[str, Vocabulary] = {}
        spec, column = columns.build(feature, most, config.quirks, of_items, vocabularies)
        values, offsets = column.values, column.offsets
        if offsets is None:
            padded = values[:, None]
        else:
            place = np.arange(most)
            index = offsets[:-1, None] + place
            there = index < offsets[1:, None]
            known = np.append(values, 0)
            padded = np.where(there, known[np.minimum(index, len(values))], 0)
        found[feature.name] = ItemValues(padded.astype(np.int32), spec.rows)
    return found
