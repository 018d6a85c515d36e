"""Filters of interactions, in the order of docs/data.md, and the order of the events.

Shapes: N events.
"""

import dataclasses
import logging

import numpy as np
import polars as pl

from flaxrec.config import DataConfig
from flaxrec.data.sources.interactions import Interactions
from flaxrec.errors import ConfigError, DataError


@dataclasses.dataclass(frozen=True)
class Dropped:
    """What the filters found.

    Attributes:
      events: number of events that each filter removed, in the filters' order, by its setting.
      repeated: events with the user, item and time of an earlier one, kept or not.
    """

    events: dict[str, int]
    repeated: int


def filtered(interactions: Interactions, config: DataConfig) -> tuple[Interactions, Dropped]:
    """Removes events by the settings of `config`.

    Returns:
      The interactions with the events that are left, sorted by user and time; events of equal time
      keep the order of the file.

    Raises:
      ConfigError: a filter needs a column that the data lack.
      DataError: nothing is left.
    """
    events, source = interactions.events, interactions.source
    if not len(events):
        raise DataError(f"{source}: there are no interactions; give it a file that has some.")
    dropped: dict[str, int] = {}

    def keep(setting: str, which: pl.Expr | pl.Series) -> None:
        nonlocal events
        before = len(events)
        events = events.filter(which)
        dropped[setting] = before - len(events)

    if config.min_rating:
        if "rating" not in events.columns:
            raise ConfigError(
                f"config.data.min_rating is {config.min_rating}, but {source} has no ratings; "
                "set it to 0 or name the rating's column."
            )
        keep("min_rating", pl.col("rating") >= config.min_rating)
    events = events.sort("user", "time", maintain_order=True)
    repeats = _repeats(events)
    if config.drop_duplicates:
        keep("drop_duplicates", ~repeats)
    elif repeats.any():
        logging.info(
            "%s: %d events repeat another's user, item and time; they are kept "
            "(config.data.drop_duplicates=True drops them).",
            source,
            repeats.sum(),
        )
    if config.min_timeline_length > 1:
        keep("min_timeline_length", pl.len().over("user") >= config.min_timeline_length)
    if not len(events):
        raise DataError(
            f"{source}: no user is left with config.data.min_timeline_length="
            f"{config.min_timeline_length} interactions and config.data.min_rating="
            f"{config.min_rating}; lower them."
        )
    kept = dataclasses.replace(interactions, events=events)
    return kept, Dropped(dropped, int(repeats.sum()))


def same_as_before(*columns: pl.Series) -> np.ndarray:
    """Bool [N]: whether the row before has the same values."""
    same = np.zeros(len(columns[0]), bool)
    same[1:] = True
    for column in columns:
        same[1:] &= (column[1:] == column[:-1]).to_numpy()
    return same


def pairs(starts: np.ndarray, ids: pl.Series) -> pl.Series:
    """Int64 [N]: a number for each pair of a group and an id; a group begins where `starts` is."""
    return pl.Series((np.cumsum(starts) << 32) | _codes(ids).to_numpy())


def _codes(ids: pl.Series) -> pl.Series:
    """Int64 [N]: a number below 2^32 for each distinct id, without sorting them if possible."""
    if ids.dtype.is_integer():
        low, high = ids.min() or 0, ids.max() or 0  # None where there are no rows
        if high - low < 1 << 31:  # type: ignore[operator]
            return ids.cast(pl.Int64) - low
        return ids.rank("dense").cast(pl.Int64)
    return ids.cast(pl.String).cast(pl.Categorical).to_physical().cast(pl.Int64)


def _repeats(events: pl.DataFrame) -> pl.Series:
    """Bool [N]: whether an earlier row has the same user, item and time; the events are sorted."""
    tied = same_as_before(events["user"], events["time"])
    # Rows of one user and time stand together; only where there are several can one repeat.
    rows = np.flatnonzero(tied | np.append(tied[1:], False))
    repeats = np.zeros(len(events), bool)
    repeats[rows] = ~pairs(~tied[rows], events["item"][rows]).is_first_distinct().to_numpy()
    return pl.Series(repeats)
