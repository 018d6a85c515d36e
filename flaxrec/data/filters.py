"""Filters of interactions, in the order of docs/data.md, and the order of the events.

Shapes: N events.
"""

import dataclasses
import logging
from collections.abc import Mapping

import numpy as np
import polars as pl

from flaxrec.config import DataConfig
from flaxrec.data import orders
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
      keep the order of the file. Ids stand beside them, see `Interactions.ids`. A session is a user
      of its own: 'user/session', or 'user/1', 'user/2' where pauses divide them.

    Raises:
      ConfigError: a filter needs a column that the data lack.
      DataError: nothing is left.
    """
    source = interactions.source
    if not len(interactions.events):
        raise DataError(f"{source}: there are no interactions; give it a file that has some.")
    _check(interactions, config)
    if config.columns.session or (config.session_gap and interactions.users is not None):
        interactions = interactions.with_ids()  # sessions are named after them
    events, dropped = interactions.events, {}
    has_sessions = bool(config.columns.session or config.session_gap)
    owners = has_sessions and interactions.users is not None

    def keep(setting: str, which: pl.Expr | np.ndarray) -> None:
        nonlocal events
        before = len(events)
        if not (isinstance(which, np.ndarray) and which.all()):
            events = events.filter(which)
        dropped[setting] = before - len(events)

    if config.event_types:
        keep("event_types", pl.col("event_type").cast(pl.String).is_in(config.event_types))
    if config.min_rating:
        keep("min_rating", pl.col("rating") >= config.min_rating)
    if not len(events):
        raise _nothing_left(source, config, dropped)
    if owners:
        events = events.with_columns(pl.col("user").alias(_OWNER))
    if config.columns.session:
        events = events.with_columns(user=pl.format("{}/{}", "user", "session"))
    interactions = dataclasses.replace(interactions, events=interactions.events.clear())
    columns = {column.name: column for column in events.get_columns()}
    del events
    ids = in_order(columns, interactions.ids)
    events = pl.DataFrame(columns)
    del columns
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
        events, ids["user"] = _sessions(events, ids["user"], config.session_gap)
    if config.merge_repeats:
        keep("merge_repeats", ~same_as_before(events["user"], events["item"]))
    if config.k_core > 1:
        keep("k_core", _core(events, config.k_core, config.k_core)[0])
    if config.min_item_count > 1:
        core, of_rare = _core(events, config.min_timeline_length, config.min_item_count)
        keep("min_item_count", ~of_rare)
        keep("min_timeline_length", core[~of_rare])
    elif config.min_timeline_length > 1:
        keep("min_timeline_length", _lengths(events["user"]) >= config.min_timeline_length)
    if config.max_timeline_length:
        keep("max_timeline_length", _latest(events["user"], config.max_timeline_length))
    if not len(events):
        raise _nothing_left(source, config, dropped)
    users = interactions.users
    if owners and users is not None:
        own = events.select(ids["user"].gather(events["user"]), _OWNER).unique(maintain_order=True)
        users = own.join(users, left_on=_OWNER, right_on="user").drop(_OWNER)
        events = events.drop(_OWNER)
    kept = dataclasses.replace(interactions, events=events, users=users, ids=ids)
    return kept, Dropped(dropped, int(repeats.sum()))


def in_order(
    columns: dict[str, pl.Series], ids: Mapping[str, pl.Series] | None = None
) -> dict[str, pl.Series]:
    """Sorts all columns by user and time, puts places for ids, and returns the ids.

    The columns go one by one, so that no two tables of all events are needed.

    Args:
      columns: by name; changed in place.
      ids: where `user` and `item` are places already, the ids.
    """
    found = dict(ids or {})
    for key in ("user", "item") if not found else ():
        columns[key], found[key] = orders.coded(columns[key])
    order = orders.order_of(columns["user"].to_numpy(), columns["time"].to_numpy())
    if order is not None:
        rows = pl.Series(order)
        del order
        for name in columns:
            columns[name] = columns[name].gather(rows)
    return found


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


def _sessions(events: pl.DataFrame, ids: pl.Series, gap: float) -> tuple[pl.DataFrame, pl.Series]:
    """The events with sessions as users, and the sessions' ids, String: 'user/1', 'user/2'.

    A session begins after a pause of more than `gap`.
    """
    user = events["user"]
    begins_user = ~same_as_before(user)
    times = events["time"].to_numpy()
    begins = begins_user | (np.diff(times, prepend=times[:1]) > gap)
    owner = user.filter(pl.Series(begins))
    number = 1 + np.arange(len(owner))
    before = np.maximum.accumulate(np.where(begins_user[begins], number - 1, 0))
    named = pl.DataFrame({"user": ids.gather(owner), "number": number - before})
    of_session = pl.Series("user", np.cumsum(begins, dtype=np.uint32) - np.uint32(1))
    return events.with_columns(of_session), named.select(
        pl.format("{}/{}", "user", "number").alias("user")
    ).to_series()


def _core(events: pl.DataFrame, of_user: int, of_item: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest part in which every user has `of_user` events and every item `of_item`.

    Returns:
      Bool [N], whether the event is in it, and whether it left with a rare item.
    """
    user, item = events["user"].to_numpy(), events["item"].to_numpy()
    kept, of_rare = np.ones((2, len(events)), bool)
    of_rare[:] = False
    while True:
        before = kept.sum()
        rare = kept & (np.bincount(item[kept], minlength=item.max() + 1)[item] < of_item)
        of_rare |= rare
        kept &= ~rare
        kept &= np.bincount(user[kept], minlength=user.max() + 1)[user] >= of_user
        if kept.sum() == before:
            return kept, of_rare


def _lengths(user: pl.Series) -> np.ndarray:
    """int64 [N]: how many events the event's user has."""
    of_user = np.bincount(user.to_numpy())
    return of_user[user.to_numpy()]


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


def starts_of(user: pl.Series) -> np.ndarray:
    """int64 [U + 1]: where each user's events begin, and their number."""
    return np.append(np.flatnonzero(~same_as_before(user)), len(user))


def _repeats(events: pl.DataFrame) -> np.ndarray:
    """Bool [N]: whether an earlier row has the same user, item and time; the events are sorted."""
    tied = same_as_before(events["user"], events["time"])
    # Rows of one user and time stand together; only where there are several can one repeat.
    rows = np.flatnonzero(tied | np.append(tied[1:], False))
    repeats = np.zeros(len(events), bool)
    if len(rows):
        starts = np.append(np.flatnonzero(~tied[rows]), len(rows))
        repeats[rows] = ~orders.first_of_pairs(starts, events["item"].to_numpy()[rows])
    return repeats
