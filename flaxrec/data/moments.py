"""Time as an input: from activity to activity, and to the moment of asking.

| source | value |
|---|---|
| `event.gap` | steps of the time since the user's activity before, `FIRST` for the first |
| `event.gap_after` | steps of the time to the user's next activity; of the latest, to the moment |
| `event.seconds_ago` | the time from an activity to the moment of asking, int32, no vocabulary |
| `ask.since` | steps of the time since the latest activity, one value a label |
| `ask.hour`, `ask.weekday` | of the moment of asking, 0..23 and 0 (Monday)..6, one value a label |

A time t has floor(log2(1 + t)) steps. Times count in seconds where the data hold dates or
date-times, and in the data's own unit otherwise. The moment of asking is the label's own time in
training and evaluation. The Recommender needs this module: it imports numpy alone.
"""

import dataclasses
import datetime
import math
import time as time_lib
import zoneinfo
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

GAP, GAP_AFTER, SECONDS_AGO = "event.gap", "event.gap_after", "event.seconds_ago"
SINCE, HOUR, WEEKDAY = "ask.since", "ask.hour", "ask.weekday"
OF_NOW = (GAP_AFTER, SECONDS_AGO, SINCE, HOUR, WEEKDAY)  # sources that know the moment of asking
OF_CALENDAR = {HOUR: 24, WEEKDAY: 7}  # and their numbers of values
SOURCES = (GAP, *OF_NOW)
NAME = "gap"  # the column of `event.gap`
FIRST = -1  # `event.gap` without a previous event
UNKNOWN = -1  # of the others: not known
MOST = 31  # steps beyond it are unknown: seconds of 68 years; probably another unit
LONGEST = 2**31 - 1  # of `event.seconds_ago`
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # in a second
_UNIX = (631_152_000, 4_102_444_800)  # seconds of 1990 and 2100, between which a guess is made
_DAY = 86_400
_QUARTER = 900  # seconds; zones differ from UTC by quarters of an hour


@dataclasses.dataclass(frozen=True)
class Clock:
    """How the times of the data count.

    Attributes:
      unit: 's', 'ms', 'us' or 'ns' since 1970 in UTC; 'none': numbers that are no moments.
      zone: name of the time zone that hours, weekdays and dates are of.
      resolution: all times are multiples of so many units; 0: none is known.
      dates: whether the data hold dates, without a time of day.
      moments: whether the data hold dates or date-times instead of numbers.
    """

    unit: str
    zone: str = "UTC"
    resolution: int = 0
    dates: bool = False
    moments: bool = False

    @property
    def knows_now(self) -> bool:
        """Whether the clock on the wall says the moment of asking."""
        return self.unit != "none"

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any] | None) -> "Clock":
        """The inverse of `to_json`; None: of an export of version 0.1.0, whose unit is unknown."""
        return cls(**fields) if fields else cls("none")

    def number(self, time: Any) -> float:
        """A number, date or date-time in the data's unit, cut to the data's resolution.

        Raises:
          TypeError, ValueError, OverflowError: it is none of them, or not finite.
        """
        if isinstance(time, np.datetime64):
            time = time.astype("datetime64[us]").item()
        if isinstance(time, datetime.date):  # a date-time is one
            seconds = self._seconds(time)
            number = seconds * _UNITS.get(self.unit, 1)
        elif isinstance(time, bool) or not hasattr(time, "__float__"):
            raise TypeError(f"{time!r}")
        else:
            number = float(time)
        if not math.isfinite(number):
            raise ValueError(f"{time!r} is not finite")
        return number // self.resolution * self.resolution if self.resolution else number

    def now(self) -> float:
        """The present moment in the data's unit."""
        return self.number(datetime.datetime.fromtimestamp(time_lib.time(), datetime.UTC))

    def _seconds(self, moment: datetime.date) -> float:
        """Since 1970; dates count from midnight to midnight of the clock's zone."""
        if isinstance(moment, datetime.datetime):
            if self.dates and moment.tzinfo:
                moment = moment.astimezone(zone(self.zone)).date()
            else:
                moment = in_utc(moment)
        if not isinstance(moment, datetime.datetime):
            moment = datetime.datetime.combine(moment, datetime.time())
        return moment.replace(tzinfo=datetime.UTC).timestamp()


def clock_of(
    times: np.ndarray, zone_name: str, unit: str = "auto", *, moments: bool, dates: bool
) -> Clock:
    """How these times count.

    Args:
      times: [N] numbers; dates and date-times in seconds since 1970.
      zone_name: config.data.time_zone.
      unit: config.data.time_unit; 'auto': numbers are moments if all of them lie between 1990 and
        2100 in one of the units.
      moments: whether they were dates or date-times.
      dates: whether they were dates.
    """
    low, high = (float(times.min()), float(times.max())) if len(times) else (0.0, 0.0)
    if moments:
        unit = "s"
    elif unit == "auto":
        fits = [u for u, size in _UNITS.items() if _UNIX[0] <= low / size <= high / size < _UNIX[1]]
        unit = fits[0] if fits else "none"
    size = _UNITS.get(unit, 1)
    resolution = 0
    for seconds in (_DAY, 3600, 60, 1):
        if unit != "none" and not np.any(times % (seconds * size)):
            resolution = seconds * size
            break
    return Clock(unit, zone_name, resolution, dates, moments)


def zone(name: str) -> datetime.tzinfo:
    """The time zone; raises ValueError if there is none of that name on this machine."""
    if name == "UTC":
        return datetime.UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, OSError) as error:
        raise ValueError(f"there is no time zone {name!r}") from error


def in_utc(time: Any) -> Any:
    """A date-time with a zone as UTC without one; other values unchanged."""
    if getattr(time, "tzinfo", None) is None:
        return time
    return time.astimezone(datetime.UTC).replace(tzinfo=None)


# ---- arrays of events, in training ------------------------------------------------------------


def steps(durations: Any) -> np.ndarray:
    """floor(log2(1 + duration)), int64; of a negative duration 0.

    >>> steps([0, 1, 2, 3, 6, 7, -5]).tolist()
    [0, 1, 1, 2, 2, 3, 0]
    """
    return np.frexp(1 + np.maximum(np.asarray(durations, np.float64), 0))[1].astype(np.int64) - 1


def from_times(times: Any, is_first: np.ndarray) -> np.ndarray:
    """`event.gap` of events in order.

    Args:
      times: [N] numbers, ascending for each user.
      is_first: bool [N], whether it is the user's first event.

    Returns:
      int64 [N], steps since the previous event; `FIRST` at a user's first event.

    >>> from_times([5, 5, 8, 100], np.array([True, False, False, True])).tolist()
    [-1, 0, 2, -1]
    """
    times = np.asarray(times)
    return np.where(is_first, FIRST, steps(np.diff(times, prepend=times[:1])))


def since(times: np.ndarray, is_first: np.ndarray) -> np.ndarray:
    """`ask.since` of events as labels, int64 [N]; UNKNOWN at a first event and above MOST steps."""
    found = from_times(times, is_first)
    return np.where(found > MOST, UNKNOWN, found)


def gap_after(times: np.ndarray, is_first: np.ndarray) -> np.ndarray:
    """`event.gap_after`, int64 [N]; UNKNOWN at a user's last event and above MOST steps."""
    return np.append(since(times, is_first)[1:], UNKNOWN)


def calendar(source: str, times: Any, clock: Clock) -> np.ndarray:
    """`ask.hour` or `ask.weekday` of times in the clock's unit, int64 [N]."""
    seconds = np.floor_divide(times, _UNITS[clock.unit]).astype(np.int64)
    quarters, place = np.unique(seconds // _QUARTER, return_inverse=True)
    of_zone = zone(clock.zone)
    local = [datetime.datetime.fromtimestamp(q * _QUARTER, of_zone) for q in quarters.tolist()]
    values = [moment.hour if source == HOUR else moment.weekday() for moment in local]
    return np.array(values, np.int64)[place]


# ---- one history, in use ----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Asked:
    """The time inputs of one history and moment; None where a value is not known.

    Attributes:
      of_events: values of each activity by source, oldest first.
      of_moment: the value by source.
      remark: one sentence about a moment that cannot be right; ''.
    """

    of_events: dict[str, list[int | None]]
    of_moment: dict[str, int | None]
    remark: str = ""


def asked(activities: Sequence[Mapping[str, Any]], now: float | None, clock: Clock) -> Asked:
    """The time inputs of a history that is asked about at `now`.

    Args:
      activities: oldest first, with 'time' where it is known. An activity's own 'gap' takes
        precedence; the first counts as the user's first unless it has a 'gap'.
      now: in the clock's unit, cut to its resolution (`Clock.number`); None: unknown.
      clock: of the training data.

    Raises:
      TypeError, ValueError, OverflowError: a time is no number, date or date-time.
    """
    times = [None if a.get("time") is None else clock.number(a["time"]) for a in activities]
    before = [None, *times[:-1]]
    after = [*times[1:], now]
    gaps = [_between(earlier, time) for earlier, time in zip(before, times, strict=True)]
    if times and times[0] is not None:
        gaps[0] = FIRST
    gaps = [
        a[NAME] if a.get(NAME) is not None else g for a, g in zip(activities, gaps, strict=True)
    ]
    until_next = [_between(time, later) for time, later in zip(times, after, strict=True)]
    latest = until_next[-1] if until_next else None
    known: dict[str, int | None] = dict.fromkeys(OF_CALENDAR)
    if now is not None and clock.knows_now:
        known = {s: int(calendar(s, np.array([now]), clock)[0]) for s in OF_CALENDAR}
    remark = ""
    if now is not None and times and times[-1] is not None:
        if now < times[-1]:
            remark = "The moment of asking lies before the latest activity: taken as its own time."
        elif latest is not None and latest > MOST:
            remark = (
                "The moment of asking lies 2^32 or more after the latest activity, so it is taken "
                "as unknown: is it in another unit, such as milliseconds for seconds?"
            )
    usable = [None if value is None or value > MOST else value for value in until_next]
    ago = [
        None if time is None or now is None else int(min(max(now - time, 0), LONGEST))
        for time in times
    ]
    return Asked(
        {GAP: gaps, GAP_AFTER: usable, SECONDS_AGO: ago},
        {SINCE: usable[-1] if usable else None, **known},
        remark,
    )


def _between(earlier: float | None, later: float | None) -> int | None:
    return None if earlier is None or later is None else int(steps(later - earlier))
