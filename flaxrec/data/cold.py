"""Cold items: those that a run is told nothing of, to measure how it ranks new ones.

    events -> those of all other items, and, of users who met a cold item, all up to the last one

Both parts are timelines in the same flat arrays: each user with a cold item is there twice. The
first part is what training, its contexts, vocabularies and counts see, so that cold items are
absent rather than hidden. The second part has the labels of cold items and what is before them.
"""

import dataclasses

import numpy as np
import polars as pl

from flaxrec.config import SplitConfig
from flaxrec.data.sources.interactions import Interactions
from flaxrec.errors import ConfigError, DataError


def apart(interactions: Interactions, config: SplitConfig) -> tuple[Interactions, int]:
    """The events in two parts, and the number of those in the first.

    Args:
      interactions: filtered and sorted, as from `account.of`.
      config: says which items are cold.

    Raises:
      ConfigError: the items' first events are asked for, and the data have no times.
      DataError: there are no two items, or no cold one has an event before it.
    """
    events = interactions.events
    cold = np.zeros(len(interactions.ids["item"]), bool)
    cold[_chosen(interactions, config)] = True
    is_cold = cold[events["item"].to_numpy()]
    user = events["user"].rle_id().to_numpy().astype(np.int64)
    place = np.arange(len(events))
    if not (is_cold & (np.diff(user, prepend=-1) == 0)).any():
        raise DataError(
            f"None of the {is_cold.sum()} events of cold items has an event of its user before it; "
            "use more data, or a larger config.split.cold_fraction."
        )
    last = np.full(user[-1] + 1, -1)  # by user, of cold items
    np.maximum.at(last, user[is_cold], place[is_cold])
    warm = events.filter(pl.Series(~is_cold))
    whole = events.filter(pl.Series(place <= last[user]))
    both = pl.concat([warm, whole])
    return dataclasses.replace(interactions, events=both, first=None), len(warm)


def choose(interactions: Interactions, config: SplitConfig) -> pl.Series:
    """The cold items' ids: a share of the items, at least one and not all.

    By 'first' those whose first event is the latest; of equal times those later in the vocabulary's
    order (by count, then by id). By 'random' drawn.
    """
    return interactions.ids["item"].gather(_chosen(interactions, config))


def _chosen(interactions: Interactions, config: SplitConfig) -> pl.Series:
    """The cold items' places among the ids."""
    if config.cold_by == "first" and not interactions.has_time:
        raise ConfigError(
            "config.split.cold_by is 'first', but the data have no times to tell which items came "
            "last; use random, or name the time's column in config.data.columns.time."
        )
    items = (
        interactions.events.group_by("item")
        .agg(pl.len().alias("count"), pl.col("time").min().alias("first"))
        .sort("item")
        .sort("count", descending=True, maintain_order=True)
    )
    if len(items) < 2:
        raise DataError("The data have one item, so that none can be cold; use leave_one_out.")
    n = min(max(1, round(len(items) * config.cold_fraction)), len(items) - 1)
    if config.cold_by == "first":
        return items.sort("first", maintain_order=True)["item"].tail(n)
    drawn = np.random.default_rng(config.seed).permutation(len(items))[:n]
    return items["item"].gather(np.sort(drawn))
