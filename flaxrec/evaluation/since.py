"""The time from a user's latest activity to a label, and bins of it.

Where times are dates, or whole days, bins count days: 0 days, 1 day, 2 to 7 days, more than a week.
Otherwise: the same second, 1 to 59 s, 1 to 60 min, more than an hour. Numbers that are no moments
have no bins.
"""

import dataclasses

import numpy as np

from flaxrec.data.moments import Clock
from flaxrec.data.timelines import Timelines
from flaxrec.evaluation.evaluator import PerLabel

_DAY = 86_400
# Names, and where each bin but the first begins, in seconds or days.
_SECONDS = ("same second", "1 to 59 s", "1 to 60 min", "more than an hour"), (1, 60, 3600)
_DAYS = ("0 days", "1 day", "2 to 7 days", "more than a week"), (1, 2, 7)


@dataclasses.dataclass(frozen=True)
class Part:
    """The labels of one bin.

    Attributes:
      name: of the bin.
      labels: how many, at least 1.
      metrics: means over them by name, as in metrics.jsonl.
    """

    name: str
    labels: int
    metrics: dict[str, float]


def parts(ranked: PerLabel, timelines: Timelines, ks: tuple[int, ...]) -> list[Part]:
    """Metrics by bin, without empty bins; [] where there are no bins."""
    code, names = bins(of_labels(timelines, ranked.positions), timelines.clock)
    found = []
    for number, name in enumerate(names):
        inside = code == number
        if inside.any():
            filtered = ranked.filtered_rank
            of_bin = PerLabel(
                ranked.positions[inside],
                ranked.rank[inside],
                None if filtered is None else filtered[inside],
                None if ranked.loss is None else ranked.loss[inside],
            )
            found.append(Part(name, int(inside.sum()), of_bin.means(ks)))
    return found


def of_labels(timelines: Timelines, positions: np.ndarray) -> np.ndarray:
    """The time since the activity before each label, float64 [n], in the data's unit.

    NaN where the label is a user's first event, and where the data have no times or hold stored
    contexts.

    Args:
      timelines: the data.
      positions: int32 [n], the labels' events.
    """
    if timelines.clock is None or timelines.contexts_are_stored:
        return np.full(len(positions), np.nan)
    is_first = positions == timelines.offsets[timelines.user[positions]]
    between = timelines.time[positions] - timelines.time[positions - 1]
    return np.where(is_first, np.nan, between.astype(np.float64))


def bins(since: np.ndarray, clock: Clock | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """The bin of each time, int64 [n], -1 where it is unknown; and the bins' names.

    Args:
      since: float64 [n], from `of_labels`.
      clock: of the data; None: they have no times.

    Returns:
      No names, and -1 for all, where the times are no moments.

    >>> bins(np.array([0, 59, 60, 3600, 3601, np.nan]), Clock("s"))[0].tolist()
    [0, 1, 2, 2, 3, -1]
    """
    if clock is None or not clock.per_second:
        return np.full(len(since), -1), ()
    seconds = since / clock.per_second
    whole_days = clock.resolution and not clock.resolution % (_DAY * clock.per_second)
    names, (one, two, most) = _DAYS if whole_days else _SECONDS
    counts = seconds / _DAY if whole_days else seconds
    code = np.searchsorted([one, two, np.nextafter(most, np.inf)], counts, side="right")
    return np.where(np.isnan(since), -1, code), names
