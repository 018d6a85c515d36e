"""The time since a user's previous event, in powers of two: the feature `event.gap`.

It shows sessions: people rate or watch in bursts, and choose otherwise after a month.
"""

import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np

NAME = "gap"
FIRST = -1  # no previous event


def from_times(times: Any, is_first: np.ndarray) -> np.ndarray:
    """Gaps of events in order.

    Args:
      times: [N] numbers, or dates or date-times (counted in seconds), ascending for each user.
      is_first: bool [N], whether it is the user's first event.

    Returns:
      int64 [N], floor(log2(1 + time since the previous event)); `FIRST` at a user's first event.

    Raises:
      ValueError: a time is not finite.

    >>> from_times([5, 5, 8, 100], np.array([True, False, False, True])).tolist()
    [-1, 0, 2, -1]
    """
    times = np.asarray(times)
    if times.dtype.kind == "O":  # Python's own dates and date-times
        times = np.array([in_utc(time) for time in times], "datetime64[us]")
    if times.dtype.kind == "M":
        times = times.astype("datetime64[us]").astype(np.int64) / 1e6
    times = times.astype(np.float64)
    if not np.isfinite(times).all():
        raise ValueError("one is not finite")
    since = np.diff(times, prepend=0.0)
    steps = np.floor(np.log2(1 + np.where(is_first, 0.0, np.maximum(since, 0.0))))
    return np.where(is_first, FIRST, steps).astype(np.int64)


def in_utc(time: Any) -> Any:
    """A date-time with a zone as UTC without one; other values unchanged."""
    if getattr(time, "tzinfo", None) is None:
        return time
    return time.astimezone(datetime.UTC).replace(tzinfo=None)


def from_activities(activities: Sequence[Any]) -> list[int | None]:
    """Gaps of one user's activities, oldest first, from their 'time'; None where it is unknown.

    An activity's own 'gap' takes precedence. The first activity counts as the user's first unless
    it has a 'gap'.

    Raises:
      ValueError, TypeError: a time is not a number, date or date-time.
    """
    gaps: list[int | None] = []
    before = None
    for place, activity in enumerate(activities):
        now = activity.get("time")
        gap = activity.get(NAME)
        if gap is None and now is not None and (place == 0 or before is not None):
            pair = np.array([now if before is None else before, now])
            gap = FIRST if place == 0 else int(from_times(pair, np.array([True, False]))[1])
        gaps.append(gap)
        before = now
    return gaps
