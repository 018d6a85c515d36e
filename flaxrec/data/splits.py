"""Splits: which events are labels of training, validation and test.

Plain functions over timelines; a label is named by its event's position. A label always has at
least one event of its user before it. Contexts reach back into any split, never forward.
"""

import dataclasses

import numpy as np

from flaxrec.config import SplitConfig
from flaxrec.data.timelines import Timelines
from flaxrec.errors import DataError


@dataclasses.dataclass(frozen=True)
class Split:
    """Positions of the labels, int32, ascending unless the protocol shuffles.

    Attributes:
      train: labels to learn from.
      validation: labels for every choice (epochs, hyper-parameters, quantisation).
      test: labels for the reported figures.
      protocol: the name of the split.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    protocol: str


def split(timelines: Timelines, config: SplitConfig) -> Split:
    """The split that the config names; raises DataError if it has no training or test labels."""
    if config.protocol == "leave_one_out":
        made = leave_one_out(timelines.offsets)
    elif config.protocol == "random":
        made = random(
            timelines.offsets, config.validation_fraction, config.test_fraction, config.seed
        )
        made = without_later(made, timelines, config.later, config.seed)
    else:
        made = global_time(
            timelines.offsets, timelines.time, config.validation_fraction, config.test_fraction
        )
    for part in ("train", "test"):
        if not len(getattr(made, part)):
            raise DataError(
                f"The split {config.protocol!r} leaves no {part} labels of "
                f"{len(timelines.item)} events of {len(timelines.users)} users; use more data, "
                "lower filters or other config.split fractions."
            )
    return made


def leave_one_out(offsets: np.ndarray) -> Split:
    """Last event: test; last but one: validation; all others after the first: training."""
    starts, ends = offsets[:-1], offsets[1:]
    test, validation = ends - 1, ends - 2
    is_train = _has_context(offsets)
    is_train[test] = False
    is_train[validation[validation > starts]] = False
    return Split(
        _positions(is_train),
        validation[validation > starts].astype(np.int32),
        test[test > starts].astype(np.int32),
        "leave_one_out",
    )


def random(
    offsets: np.ndarray, validation_fraction: float, test_fraction: float, seed: int
) -> Split:
    """The reference's split: all labels shuffled together, whoever's and whenever.

    The reference knows train and test only; validation is taken from the training part. A test
    label's later events are usually in training, so the figures flatter.
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
    """The split without the training labels that come after a label which is ranked.

    Two models, one trained with 'drop' and one with 'match', have equally many training labels of
    each user and the same test labels; only the first has not seen the user's future. Their
    difference is what a random split flatters by.

    Args:
      split: a random split.
      timelines: the data.
      later: 'keep' changes nothing; 'drop' leaves out a user's training labels after the first
        test or validation label; 'match' leaves out as many of the user's, drawn at random.
      seed: of the draw.
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
    offsets: np.ndarray, time: np.ndarray, validation_fraction: float, test_fraction: float
) -> Split:
    """Two moments cut all timelines: training before, validation between, test from the second on.

    The moments are the times below which the first 1 - validation - test and 1 - test of all
    events lie; events at the very moment belong to the later part.
    """
    in_order = np.sort(time)
    n = len(in_order)
    part = np.zeros(n, int)
    for fraction in (validation_fraction + test_fraction, test_fraction):
        if fraction:
            part += time >= in_order[min(n - 1, round(n * (1 - fraction)))]
    labels = _has_context(offsets)
    return Split(
        _positions(labels & (part == 0)),
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
