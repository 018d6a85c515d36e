"""Splits: which events are labels of training, validation and test.

A label is identified by its event's position; its user has at least one earlier event, unless
users' first events are training labels too (config.train.first_events).
Contexts reach back into any split, never forward.
"""

import dataclasses
from typing import Any

import numpy as np

from flaxrec.config import SplitConfig
from flaxrec.data.timelines import Timelines
from flaxrec.errors import ConfigError, DataError

EVALUATED = ("validation", "test", "cold")  # parts of a split that are not learned from


@dataclasses.dataclass(frozen=True)
class Split:
    """Positions of the labels, int32, ascending unless the protocol shuffles.

    Attributes:
      train: labels to learn from.
      validation: labels for every choice (epochs, hyper-parameters, quantisation).
      test: labels for the reported metrics.
      protocol: the name of the split.
      cold: with cold_items, labels of items that no training label and no training context has.
      cold_items: how many such items there are: the last candidates.
      sampled_from: how many labels there were, by part, where only some are evaluated.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    protocol: str
    cold: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int32))
    cold_items: int = 0
    sampled_from: dict[str, int] = dataclasses.field(default_factory=dict)


def split(timelines: Timelines, config: SplitConfig, *, first_events: bool = False) -> Split:
    """The config's split.

    Args:
      timelines: the data.
      config: names the protocol.
      first_events: users' first events are training labels too, with an empty context; with
        global_time those before the validation's time.

    Raises:
      ConfigError: the protocol needs times that the data lack.
      DataError: there are no training or no test labels.
    """
    if config.protocol == "leave_one_out":
        made = leave_one_out(timelines.offsets, first_events=first_events)
    elif config.protocol == "cold_items":
        made = cold_items(timelines, first_events=first_events)
    elif config.protocol == "random":
        made = random(
            timelines.offsets, config.validation_fraction, config.test_fraction, config.seed
        )
        made = without_later(made, timelines, config.later, config.seed)
        if first_events:  # nothing is before them
            train = np.concatenate([timelines.offsets[:-1], made.train])
            made = dataclasses.replace(made, train=train.astype(np.int32))
    else:
        if timelines.account and not timelines.account.has_time:
            raise ConfigError(
                f"config.split.protocol is {config.protocol!r}, but the data have no times; use "
                "leave_one_out, or name the time's column in config.data.columns.time."
            )
        made = global_time(
            timelines.offsets,
            timelines.time,
            config.validation_fraction,
            config.test_fraction,
            first_events=first_events,
        )
    for part in ("train", "test", *["cold"] * (config.protocol == "cold_items")):
        if not len(getattr(made, part)):
            raise DataError(
                f"The split {config.protocol!r} leaves no {part} labels of "
                f"{len(timelines.item)} events of {len(timelines.users)} users; "
                f"{_remedy(config.protocol)}."
            )
    return made


def _remedy(protocol: str) -> str:
    if protocol == "cold_items":
        return (
            "a warm label needs a user with four events of other items, a cold one an event before "
            "it; use more data, or another config.split.cold_fraction"
        )
    if protocol == "leave_one_out":
        return (
            "only users with four events or more teach, as the last is for the test, the one "
            "before for validation, and the first has no context; use more data or lower filters"
        )
    return "use more data, lower filters or other config.split fractions"


def sampled(made: Split, most: int, seed: int) -> Split:
    """The split with at most `most` labels each of validation, test and cold; 0: all.

    The same ones for every model and seed of training. The labels left out are in no training.
    """
    drawn: dict[str, Any] = {}
    for number, part in enumerate(EVALUATED):
        labels = getattr(made, part)
        if most and len(labels) > most:
            kept = np.random.default_rng([seed, number]).choice(len(labels), most, replace=False)
            drawn[part] = labels[np.sort(kept)]
    left = {part: len(getattr(made, part)) for part in drawn}
    return dataclasses.replace(made, **drawn, sampled_from=left) if drawn else made


def evenly(positions: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the positions [n], evenly spaced from first to last."""
    n = min(most, len(positions))
    return positions[np.linspace(0, len(positions) - 1, n).round().astype(np.int64)]


def leave_one_out(offsets: np.ndarray, *, first_events: bool = False) -> Split:
    """Last event: test; last but one: validation; all others after the first: training.

    With `first_events` the first too, also where it is the only one.
    """
    starts, ends = offsets[:-1], offsets[1:]
    test, validation = ends - 1, ends - 2
    is_train = _has_context(offsets) | first_events
    is_train[test[test > starts]] = False
    is_train[validation[validation > starts]] = False
    return Split(
        _positions(is_train),
        validation[validation > starts].astype(np.int32),
        test[test > starts].astype(np.int32),
        "leave_one_out",
    )


def cold_items(timelines: Timelines, *, first_events: bool = False) -> Split:
    """Leave-one-out of the timelines without cold items, and every label of a cold item.

    Args:
      timelines: users' timelines without cold items, then those in full, see `data/cold.py`.
      first_events: as for `leave_one_out`.
    """
    whole_from = timelines.whole_from
    if whole_from is None:
        whole_from = len(timelines.users)
    made = leave_one_out(timelines.offsets[: whole_from + 1], first_events=first_events)
    is_cold = timelines.items["count"].to_numpy() == 0
    labels = _has_context(timelines.offsets)
    labels &= is_cold[timelines.item - 1]  # row 0 pads
    labels[: timelines.offsets[whole_from]] = False
    return dataclasses.replace(
        made, protocol="cold_items", cold=_positions(labels), cold_items=int(is_cold.sum())
    )


def random(
    offsets: np.ndarray, validation_fraction: float, test_fraction: float, seed: int
) -> Split:
    """The reference's split: all labels of all users and times shuffled together.

    The reference has only train and test; validation is taken from its training part. Events after
    a test label are usually in training, so the metrics are too good.
    """
    labels = _positions(_has_context(offsets))
    shuffled = np.random.default_rng(seed).permutation(labels)
    n_train = round(len(labels) * (1 - test_fraction))
    n_validation = round(len(labels) * validation_fraction)
    return Split(
        shuffled[: n_train - n_validation],
        shuffled[n_train - n_validation : n_train],
        shuffled[n_train:],
        "random",
    )


def without_later(split: Split, timelines: Timelines, later: str, seed: int) -> Split:
    """Removes training labels that come after a user's first validation or test label.

    `later` 'keep' changes nothing, 'drop' removes these labels, and 'match' removes as many of the
    user's training labels, drawn at random.

    Models trained with 'drop' and with 'match' have equally many training labels of each user and
    the same test labels, but only the first has not seen the users' future. The difference of their
    metrics is the bias of a random split.
    """
    if later == "keep":
        return split
    train = np.sort(split.train)
    ranked = np.concatenate([split.validation, split.test])
    first = np.full(len(timelines.users), len(timelines.item), np.int64)
    np.minimum.at(first, timelines.user[ranked], ranked)
    user = timelines.user[train]
    dropped = train > first[user]
    if later == "match":
        counts = np.bincount(user[dropped], minlength=len(first))
        order = np.lexsort((np.random.default_rng(seed).random(len(train)), user))
        begins = np.searchsorted(user, np.arange(len(first)))
        place = np.empty(len(train), np.int64)  # of each label in its user's drawn order
        place[order] = np.arange(len(train)) - begins[user]
        dropped = place < counts[user]
    return dataclasses.replace(split, train=train[~dropped])


def global_time(
    offsets: np.ndarray,
    time: np.ndarray,
    validation_fraction: float,
    test_fraction: float,
    *,
    first_events: bool = False,
) -> Split:
    """Splits all timelines at two times: training before, validation between, test after.

    The shares 1 - validation - test and 1 - test of all events lie before the two times; an event
    at one of them belongs to the later part.
    """
    in_order = np.sort(time)
    n = len(in_order)
    part = np.zeros(n, int)
    for fraction in (validation_fraction + test_fraction, test_fraction):
        if fraction:
            part += time >= in_order[min(n - 1, round(n * (1 - fraction)))]
    labels = _has_context(offsets)
    return Split(
        _positions((labels | first_events) & (part == 0)),
        _positions(labels & (part == 1)),
        _positions(labels & (part == 2)),
        "global_time",
    )


def _has_context(offsets: np.ndarray) -> np.ndarray:
    has = np.ones(offsets[-1], bool)
    has[offsets[:-1]] = False
    return has


def _positions(mask: np.ndarray) -> np.ndarray:
    return np.flatnonzero(mask).astype(np.int32)
