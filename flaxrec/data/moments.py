"""Time as an input: from activity to activity, and to the moment of asking.

| source | value |
|---|---|
| `event.gap` | steps of the time since the user's activity before, `FIRST` for the first |
| `event.gap_after` | steps of the time to the user's next activity; of the latest, to the moment |
| `event.seconds_ago` | whole seconds from an activity to the moment of asking, no vocabulary |
| `ask.since` | steps of the time since the latest activity, one value a label |
| `ask.hour`, `ask.weekday` | of the moment of asking, 0..23 and 0 (Monday)..6, one value a label |

A time t has floor(log2(1 + t)) steps. It counts in seconds where the data hold dates or date-times,
and in the data's own unit otherwise. The moment of asking is the label's own time in training and
evaluation. The Recommender needs this module: it imports numpy alone.
"""

import dataclasses
import datetime
import itertools
import math
import time as time_lib
import zoneinfo
from collections.abc import Collection, Iterable, Mapping, Sequence
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
_DATES = (-62e9, 253e9)  # seconds of the years that dates have, 1 to 9999
_1970 = datetime.datetime(1970, 1, 1)
_IN_UTC = _1970.replace(tzinfo=datetime.UTC)


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

    def __post_init__(self) -> None:
        if self.knows_now and self.unit not in _UNITS:
            raise ValueError(f"the unit {self.unit!r} is none of {', '.join(_UNITS)} and none")

    @property
    def knows_now(self) -> bool:
        """Whether the clock on the wall says the moment of asking."""
        return self.unit != "none"

    @property
    def per_second(self) -> int:
        """Units in a second; 0 where the unit is 'none'."""
        return _UNITS.get(self.unit, 0)

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any] | None) -> "Clock":
        """The inverse of `to_json`; None, as in version 0.1.0: numbers as they are, dates in s."""
        return cls(**fields) if fields else cls("s")

    def number(self, time: Any) -> int | float:
        """A number, date or date-time in the data's unit, cut to the data's resolution.

        Date-times without a zone count as UTC, as those of the data do.

        Raises:
          TypeError, ValueError, OverflowError: it is none of them, or not finite; or a date, where
            the data's times are numbers that are no moments.
        """
        if isinstance(time, np.datetime64):
            moment = time.astype("datetime64[us]").item()
            if not isinstance(moment, datetime.date):  # none, or beyond the years of dates
                raise ValueError(f"{time!r}")
            time = moment
        elif isinstance(time, np.generic):
            time = time.item()
        if isinstance(time, datetime.date):  # a date-time is one
            if not self.knows_now:
                raise TypeError(f"{time!r}, where the data have numbers that are no moments")
            number: int | float = self._of_date(time)
        elif isinstance(time, bool) or not hasattr(time, "__float__"):
            raise TypeError(f"{time!r}")
        else:
            number = time if isinstance(time, int) else float(time)
        if not math.isfinite(number):
            raise ValueError(f"{time!r} is not finite")
        return number // self.resolution * self.resolution if self.resolution else number

    def text(self, number: int | float) -> str:
        """A time in the data's unit as people read it, such that `number` of it is the same."""
        if self.knows_now and number % (size := _UNITS[self.unit]) == 0:
            try:
                moment = _1970 + datetime.timedelta(seconds=int(number // size))
            except OverflowError:
                return str(number)
            return moment.date().isoformat() if self.dates else moment.isoformat()
        return str(int(number)) if float(number).is_integer() else repr(number)

    def now(self) -> int | float:
        """The present moment in the data's unit."""
        return self.number(datetime.datetime.fromtimestamp(time_lib.time(), datetime.UTC))

    def _of_date(self, moment: datetime.date) -> int | float:
        """Since 1970; in data of dates a date-time with a zone is its day in the clock's zone."""
        if isinstance(moment, datetime.datetime):
            if self.dates and moment.tzinfo:
                moment = moment.astimezone(zone(self.zone)).date()
            else:
                moment = in_utc(moment)
        if not isinstance(moment, datetime.datetime):
            moment = datetime.datetime.combine(moment, datetime.time())
        scaled = (moment - _1970) // datetime.timedelta(microseconds=1) * _UNITS[self.unit]
        whole, rest = divmod(scaled, 10**6)
        return scaled / 10**6 if rest else whole


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
        raise ValueError(f"there is no time zone {name!r} here") from error


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


def whole_seconds(times: Any, clock: Clock) -> Any:
    """Times in whole seconds, a number or int64 [N]; of numbers that are no moments in theirs."""
    whole = times // _UNITS.get(clock.unit, 1)
    return whole.astype(np.int64) if isinstance(whole, np.ndarray) else int(whole)


def calendar(source: str, times: np.ndarray, clock: Clock) -> np.ndarray:
    """`ask.hour` or `ask.weekday` of times in the clock's unit, int64 [N].

    Raises:
      ValueError, OverflowError: there is no such zone, or a time is beyond the years of dates.
    """
    quarters, place = np.unique(whole_seconds(times, clock) // _QUARTER, return_inverse=True)
    of_zone = zone(clock.zone)
    utc = [_IN_UTC + datetime.timedelta(seconds=q * _QUARTER) for q in quarters.tolist()]
    local = [moment.astimezone(of_zone) for moment in utc]
    values = [moment.hour if source == HOUR else moment.weekday() for moment in local]
    return np.array(values, np.int64)[place]


# ---- one history, in use ----------------------------------------------------------------------


def largest(entries: Iterable[str]) -> int:
    """The largest number in a vocabulary, whatever its order; MOST if there is none."""
    found = (int(entry) for entry in entries if entry.isascii() and entry.isdigit())
    return max(found, default=MOST)


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


def asked(
    activities: Sequence[Mapping[str, Any]],
    now: int | float | None,
    clock: Clock,
    most: Mapping[str, int] | None = None,
    sources: Collection[str] = SOURCES,
) -> Asked:
    """The time inputs of a history that is asked about at `now`.

    Args:
      activities: oldest first, with 'time' where it is known. An activity's own 'gap' takes
        precedence; the first counts as the user's first unless it has a 'gap'.
      now: in the clock's unit, cut to its resolution (`Clock.number`); None: unknown.
      clock: of the training data.
      most: the `largest` value that a source's vocabulary has, where it has one; larger ones count
        as this.
      sources: those that are needed.

    Raises:
      TypeError, ValueError, OverflowError: a time is no number, date or date-time, or the clock's
        time zone is needed and not on this machine.
    """
    most = most or {}
    times = [None if a.get("time") is None else clock.number(a["time"]) for a in activities]
    gaps: list[Any] = [_between(*pair) for pair in itertools.pairwise([None, *times])]
    if times and times[0] is not None:
        gaps[0] = FIRST
    until_next = [_between(*pair) for pair in itertools.pairwise([*times, now])]
    latest = until_next[-1] if until_next else None
    trained = min((most[s] for s in (GAP_AFTER, SINCE) if s in most), default=MOST)
    remark = ""
    if any(value is not None and value > MOST for value in until_next):
        remark = (
            f"Two times are 2^{MOST + 1} or more apart, so the time between counts as unknown: is "
            "one in another unit, such as milliseconds for seconds?"
        )
    elif now is not None and times and times[-1] is not None and now < times[-1]:
        remark = (
            f"The moment of asking, {clock.text(now)}, lies before the latest activity, so the "
            "time between counts as 0: is one without its time zone?"
        )
    elif now is not None and latest is not None and latest > trained:
        remark = (
            f"The moment of asking, {clock.text(now)}, lies longer after the latest activity than "
            "any in training, so the time between counts as the longest there."
        )
    gaps = [g if a.get(NAME) is None else a[NAME] for a, g in zip(activities, gaps, strict=True)]
    ago = [
        None
        if time is None or now is None
        else min(max(whole_seconds(now, clock) - whole_seconds(time, clock), 0), LONGEST)
        for time in times
    ]
    return Asked(
        {
            GAP: [_cut(value, most.get(GAP)) for value in gaps],
            GAP_AFTER: [_cut(value, most.get(GAP_AFTER)) for value in until_next],
            SECONDS_AGO: ago,
        },
        {
            SINCE: _cut(latest, most.get(SINCE)),
            **{s: _in_calendar(s, now, clock) for s in OF_CALENDAR if s in sources},
        },
        remark,
    )


def _between(earlier: int | float | None, later: int | float | None) -> int | None:
    """As `steps`, of one duration."""
    if earlier is None or later is None:
        return None
    return math.frexp(1 + float(max(later - earlier, 0)))[1] - 1


def _cut(value: Any, largest: int | None) -> Any:
    """Steps as the vocabulary has them; a given value that is no number as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return value
    if value > max(MOST, largest or 0):
        return None
    return value if largest is None else min(value, largest)


def _in_calendar(source: str, now: int | float | None, clock: Clock) -> int | None:
    if now is None or not clock.knows_now or clock.dates:
        return None
    if not _DATES[0] < whole_seconds(now, clock) < _DATES[1]:
        return None
    return int(calendar(source, np.array([now]), clock)[0])
