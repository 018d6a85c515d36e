"""One point's metric by activity, context, popularity, time since; leaks and recommended lists.

A bin's metric is averaged over each user's labels in the bin, then over users. Functions that take
a metric raise what `point_labels.per_label` raises. Shapes: S seeds, N labels, C candidates.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import polars as pl

from flaxrec.errors import DataError
from flaxrec.evaluation import since
from flaxrec.research import statistics
from flaxrec.research.point_labels import PointLabels, per_label, user_means
from flaxrec.research.statistics import Interval, OverSeeds

# Edges of bins: round numbers, roughly doubling.
_STEPS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclasses.dataclass(frozen=True)
class Bin:
    """The labels of one bin."""

    name: str  # e.g. '10–19'
    labels: int  # of one seed
    users: int  # with labels in the bin
    mean: float  # the metric's mean over seeds, each user's labels of the bin, and users
    interval: Interval | None  # of the mean, by bootstrap over users; None with one user


@dataclasses.dataclass(frozen=True)
class Recommended:
    """Popularity, inequality and coverage of the recommended items."""

    popularity: OverSeeds  # mean number of training labels of the items in the lists
    label_popularity: float  # the same for the labels' own items, the value of unbiased lists
    gini: OverSeeds  # of how often candidates are recommended: 0 all equally, near 1 only a few
    coverage: OverSeeds  # share of the candidates that are in at least one list
    candidates: int  # C
    lists: int  # of one seed; coverage grows with it


@dataclasses.dataclass(frozen=True)
class Leak:
    """Labels whose user has later events among the training labels."""

    share: float  # of all labels
    bins: list[Bin]  # labels with later training events, and those without; no empty bin


def by_activity(point: PointLabels, metric_name: str) -> list[Bin]:
    """The metric by the number of the user's earlier events."""
    return _bins(point, metric_name, *_between(_STEPS, point.seeds[0]["history"].to_numpy()))


def by_context(point: PointLabels, metric_name: str, length: int) -> list[Bin]:
    """The metric by the events that the context holds: all earlier ones, at most `length`."""
    edges = [*(step for step in _STEPS if step < length), length]
    code, names = _between(edges, point.seeds[0]["history"].to_numpy())
    return _bins(point, metric_name, code, [*names[:-1], f"{length} (full)"])


def by_since(point: PointLabels, metric_name: str) -> list[Bin]:
    """The metric by the time since the user's latest activity, in the bins of `since.bins`.

    A user's first event is in none. Empty where times are no moments, or the files are older.
    """
    table = point.seeds[0]
    if point.clock is None or "since" not in table.columns:
        return []
    code, names = since.bins(table["since"].to_numpy(), point.clock)
    return _bins(point, metric_name, code, names)


def by_popularity(
    point: PointLabels, metric_name: str, shares: tuple[float, float] = (0.5, 0.8)
) -> list[Bin]:
    """The metric by how popular the label's item is.

    Head: the most popular items, which together have half of all training labels (`shares[0]`).
    Mid: the next, up to 80% (`shares[1]`). Tail: the rest, including items without training labels.
    Items with equal counts share the more popular group. Names hold the counts.

    Raises:
      DataError: there are no training labels.
    """
    count, items = np.unique(point.items["count"].to_numpy(), return_counts=True)
    total = int((count * items).sum())
    if not total:
        raise DataError(
            f"None of {len(point.items)} candidates has a training label, so none is popular; "
            "break down a run whose items.parquet counts them."
        )
    more_popular = total - np.cumsum(count * items)  # labels of items with a greater count
    head, mid = (int(count[more_popular < share * total].min()) for share in shares)
    code, ranges = _between((0, mid, head), point.seeds[0]["item_count"].to_numpy())
    names = [f"{group} ({r})" for group, r in zip(("tail", "mid", "head"), ranges, strict=True)]
    return _bins(point, metric_name, code, names)[::-1]


def leak(point: PointLabels, metric_name: str) -> Leak:
    """The share of labels whose user has later training events; the metric with and without them.

    A random split has such labels; splits by time have none.
    """
    has_later = point.seeds[0]["later_in_training"].to_numpy() > 0
    names = ["later events in training", "no later event in training"]
    return Leak(float(has_later.mean()), _bins(point, metric_name, ~has_later, names))


def recommended(point: PointLabels) -> Recommended:
    """Popularity, inequality and coverage of the items in the lists (`top`, seen items left out).

    Popularity is the average recommendation popularity of Abdollahpouri et al. (2019), counted in
    training labels.

    Raises:
      DataError: lists are empty or hold candidates that `items.parquet` lacks.
    """
    count = point.items["count"].to_numpy()
    times = np.stack([_times(table["top"], len(count)) for table in point.seeds])  # [S, C]
    return Recommended(
        popularity=statistics.over_seeds(times @ count / times.sum(axis=1)),
        label_popularity=float(point.seeds[0]["item_count"].to_numpy().mean()),
        gini=statistics.over_seeds([gini(row) for row in times]),
        coverage=statistics.over_seeds((times > 0).mean(axis=1)),
        candidates=len(count),
        lists=len(point.seeds[0]),
    )


def gini(times: np.ndarray) -> float:
    """Gini coefficient of non-negative counts [C], not all 0.

    >>> gini(np.array([0, 0, 0, 4]))  # all on one of four: 1 - 1 / 4
    0.75
    """
    n = len(times)
    weights = 2 * np.arange(1, n + 1) - n - 1
    return float(weights @ np.sort(times) / (n * times.sum()))


def _times(top: pl.Series, candidates: int) -> np.ndarray:
    """How often each candidate is in the lists, int [C]."""
    listed = top.explode().drop_nulls().to_numpy()  # an empty list may explode to a null
    if not len(listed):
        raise DataError(f"All {len(top)} lists are empty; evaluate the run with its lists.")
    if listed.min() < 0 or listed.max() >= candidates:
        raise DataError(
            f"Lists name candidates {listed.min()} to {listed.max()}, and items.parquet has "
            f"{candidates}; both have to come from one run."
        )
    return np.bincount(listed, minlength=candidates)


def _between(edges: Sequence[int], values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The bin of each value, int [N], and the bins' names; the last bin is open."""
    names = [
        str(low) if high - low == 1 else f"{low}–{high - 1}"
        for low, high in itertools.pairwise(edges)
    ]
    return np.searchsorted(edges, values, side="right") - 1, [*names, f"≥ {edges[-1]}"]


def _bins(
    point: PointLabels, metric_name: str, code: np.ndarray, names: Sequence[str]
) -> list[Bin]:
    """The metric by bin, `code` int [N] into names; bins without labels are left out."""
    values, users = per_label(point, metric_name), point.seeds[0]["user"].to_numpy()
    bins = []
    for number, name in enumerate(names):
        inside = code == number
        if inside.any():
            of_users = user_means(values[:, inside], users[inside]).values
            interval = statistics.bootstrap_interval(of_users)
            mean = float(of_users.mean())
            bins.append(Bin(name, int(inside.sum()), of_users.shape[1], mean, interval))
    return bins
