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

_OWNER = "\0owner"  # the user of a session: a name that no column has


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
    """Removes events by the settings of `config`, and makes users of sessions.

    Returns:
      The interactions with the events that are left, sorted by user and time; events of equal time
      keep the order of the file. A session is a user of its own: 'user/session', or 'user/1',
      'user/2' where pauses divide them.

    Raises:
      ConfigError: a filter needs a column that the data lack.
      DataError: nothing is left.
    """
    source = interactions.source
    if not len(interactions.events):
        raise DataError(f"{source}: there are no interactions; give it a file that has some.")
    _check(interactions, config)
    events, dropped = interactions.events, {}
    has_sessions = bool(config.columns.session or config.session_gap)
    if has_sessions and interactions.users is not None:
        events = events.with_columns(pl.col("user").alias(_OWNER))

    def keep(setting: str, which: pl.Expr | pl.Series | np.ndarray) -> None:
        nonlocal events
        before = len(events)
        events = events.filter(which)
        dropped[setting] = before - len(events)

    if config.event_types:
        keep("event_types", pl.col("event_type").cast(pl.String).is_in(config.event_types))
    if config.min_rating:
        keep("min_rating", pl.col("rating") >= config.min_rating)
    if config.columns.session:
        events = events.with_columns(user=pl.format("{}/{}", "user", "session"))
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
    if config.session_gap:
        events = events.with_columns(user=_sessions(events, config.session_gap))
    if config.merge_repeats:
        keep("merge_repeats", ~same_as_before(events["user"], events["item"]))
    if config.k_core > 1:
        keep("k_core", _core(events, config.k_core, config.k_core)[0])
    if config.min_item_count > 1:
        core, of_rare = _core(events, config.min_timeline_length, config.min_item_count)
        keep("min_item_count", ~of_rare)
        keep("min_timeline_length", core[~of_rare])
    elif config.min_timeline_length > 1:
        keep("min_timeline_length", pl.len().over("user") >= config.min_timeline_length)
    if config.max_timeline_length:
        keep("max_timeline_length", _latest(events["user"], config.max_timeline_length))
    if not len(events):
        raise _nothing_left(source, config, dropped)
    users = interactions.users
    if has_sessions and users is not None:
        owners = events.select("user", _OWNER).unique(maintain_order=True)
        users = owners.join(users, left_on=_OWNER, right_on="user").drop(_OWNER)
        events = events.drop(_OWNER)
    kept = dataclasses.replace(interactions, events=events, users=users)
    return kept, Dropped(dropped, int(repeats.sum()))


def _check(interactions: Interactions, config: DataConfig) -> None:
    source, columns = interactions.source, interactions.events.columns
    if config.min_rating and "rating" not in columns:
        raise ConfigError(
            f"config.data.min_rating is {config.min_rating}, but {source} has no ratings; "
            "set it to 0 or name the rating's column."
        )
    if config.event_types:
        wanted = f"config.data.event_types is {config.event_types}"
        if "event_type" not in columns:
            raise ConfigError(
                f"{wanted}, but {source} has no types of events; name their column in "
                "config.data.columns.event_type."
            )
        there = interactions.events["event_type"].cast(pl.String).value_counts(sort=True)
        known = there["event_type"].to_list()
        for name in config.event_types:
            if name not in known:
                shown = ", ".join(map(repr, known[:10]))
                raise ConfigError(f"{wanted}, but {source} has no {name!r}; it has {shown}.")
    if config.columns.session and "session" not in columns:
        raise ConfigError(
            f"config.data.columns.session is {config.columns.session!r}, but {source} has no "
            "sessions; leave it out."
        )
    if config.session_gap and not interactions.has_time:
        raise ConfigError(
            f"config.data.session_gap is {config.session_gap}, but {source} has no times; set it "
            "to 0 or name the time's column."
        )


def _nothing_left(source: str, config: DataConfig, dropped: dict[str, int]) -> DataError:
    by_others = set(dropped) - {"min_rating", "min_timeline_length", "drop_duplicates"}
    if not by_others:
        return DataError(
            f"{source}: no user is left with config.data.min_timeline_length="
            f"{config.min_timeline_length} interactions and config.data.min_rating="
            f"{config.min_rating}; lower them."
        )
    counts = ", ".join(f"{name} {count:,}" for name, count in dropped.items() if count)
    return DataError(
        f"{source}: no event is left after the filters of config.data, which left out {counts}; "
        "ease them."
    )


def _sessions(events: pl.DataFrame, gap: float) -> pl.Series:
    """String [N]: 'user/1', 'user/2': a session begins after a pause of more than `gap`."""
    begins_user = ~same_as_before(events["user"])
    times = events["time"].to_numpy()
    begins = begins_user | (np.diff(times, prepend=times[:1]) > gap)
    number = pl.Series(np.cumsum(begins))
    before = pl.Series(np.where(begins_user, number.to_numpy() - 1, 0)).cum_max()
    return events.select(pl.format("{}/{}", "user", number - before)).to_series()


def _core(events: pl.DataFrame, of_user: int, of_item: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest part in which every user has `of_user` events and every item `of_item`.

    Returns:
      Bool [N], whether the event is in it, and whether it left with a rare item.
    """
    user = np.cumsum(~same_as_before(events["user"]))
    item = events["item"].rank("dense").to_numpy()
    kept, of_rare = np.ones((2, len(events)), bool)
    of_rare[:] = False
    while True:
        before = kept.sum()
        rare = kept & (np.bincount(item[kept], minlength=len(events) + 1)[item] < of_item)
        of_rare |= rare
        kept &= ~rare
        kept &= np.bincount(user[kept], minlength=len(events) + 1)[user] >= of_user
        if kept.sum() == before:
            return kept, of_rare


def _latest(user: pl.Series, length: int) -> np.ndarray:
    """Bool [N]: whether the event is among the last `length` of its user."""
    starts = np.flatnonzero(~same_as_before(user))
    ends = np.append(starts, len(user))[1:]
    return np.arange(len(user)) >= np.repeat(ends - length, ends - starts)


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
