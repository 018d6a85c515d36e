"""Writes docs/moment_vectors.json: histories and moments of asking, and the inputs they make.

python tools/make_moment_vectors.py

Any platform's code can be held against the file; the tests hold the Recommender's and the demo
page's. A text is a date or a date-time; date-times without a zone are in UTC.
"""

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np

from flaxrec.data import moments
from flaxrec.data.vocabulary import PADDING, Vocabulary

FILE = Path(__file__).resolve().parents[1] / "docs" / "moment_vectors.json"
LENGTH = 4  # of the inputs of activities
ABOUT = (
    "Made by tools/make_moment_vectors.py. clock: `time` of metadata.json; times: of the "
    "activities, oldest first, null: unknown; now: the moment of asking, in the form of times, or "
    "'unknown'; values: of the inputs, null: unknown; rows: what the graph reads, by the "
    "vocabularies here (entry n is row n, the row after the last is unknown, 0 pads), and seconds "
    "for event.seconds_ago (-1: unknown)."
)
VOCABULARIES = {
    moments.GAP: [-1, 0, 2, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 15, 17, 20, 18, 19],
    moments.GAP_AFTER: range(23),
    moments.SINCE: range(25),
    moments.HOUR: range(24),
    moments.WEEKDAY: range(7),
}
T = 978_300_760  # 31 December 2000, 22:12:40, a Sunday; MovieLens-1M's first
DAY = 86_400
UNIX = moments.Clock("s", resolution=1)
BERLIN = moments.Clock("s", "Europe/Berlin", resolution=1)
DATES = moments.Clock("s", "Europe/Berlin", resolution=DAY, dates=True, moments=True)
MINUTES = moments.Clock("s", resolution=60, moments=True)
MILLISECONDS = moments.Clock("ms")
OTHERS = moments.Clock("none")
LATE = "2024-05-31T22:30:00+00:00"  # half past midnight in Berlin
CASES: list[tuple[str, moments.Clock, list[Any], Any]] = [
    ("equal times", UNIX, [T, T, T], T),
    ("a second", UNIX, [T, T + 1], T + 2),
    ("a minute", UNIX, [T, T + 60], T + 120),
    ("a day", UNIX, [T, T + DAY], T + 2 * DAY),
    ("a month", UNIX, [T, T + 30 * DAY], T + 60 * DAY),
    ("just below and at a power of two", UNIX, [T, T + 6], T + 13),
    ("longer than the history", UNIX, [T, T, T + 1, T + 3, T + 9], T + 3600),
    ("above the largest values", UNIX, [T, T + 300 * DAY], T + 3000 * DAY),
    ("milliseconds for seconds", UNIX, [T, T + 5], 1000 * T),
    ("before the latest activity", UNIX, [T, T + 60], T + 30),
    ("times that are not in order", UNIX, [T + 60, T], T + 61),
    ("an unknown moment", UNIX, [T, T + 60], "unknown"),
    ("no time in the middle", UNIX, [T, None, T + 60], T + 61),
    ("no time of the latest", UNIX, [T, T + 60, None], T + 61),
    ("no times", UNIX, [None, None], T),
    ("no times, an unknown moment", UNIX, [None], "unknown"),
    ("no history", UNIX, [], T),
    ("parts of a second", UNIX, [T, T + 0.9], T + 1.5),
    ("date-times for Unix times", UNIX, ["2000-12-31T22:12:40"], "2001-01-01T00:12:41+02:00"),
    ("to the minute", MINUTES, ["2024-05-31T18:30"], "2024-05-31T18:31:59"),
    ("dates", DATES, ["2024-05-29", "2024-05-30"], "2024-05-31"),
    ("a date-time among dates: the day in the zone", DATES, ["2024-05-31"], LATE),
    ("the same day in the zone", DATES, ["2024-05-31", "2024-06-01"], LATE),
    ("milliseconds", MILLISECONDS, [1000 * T, 1000 * T + 250], 1000 * T + 1250),
    ("winter in Berlin", BERLIN, ["2024-03-31T00:59:00+00:00"], "2024-03-31T00:59:59+00:00"),
    ("summer, a second later", BERLIN, ["2024-03-31T00:59:00+00:00"], "2024-03-31T01:00:00+00:00"),
    ("two o'clock in summer", BERLIN, ["2024-10-26T22:00:00+00:00"], "2024-10-27T00:30:00+00:00"),
    ("two o'clock in winter", BERLIN, ["2024-10-26T22:00:00+00:00"], "2024-10-27T01:30:00+00:00"),
    ("Monday in Berlin, Sunday in UTC", BERLIN, [], "2024-06-02T22:00:00+00:00"),
    ("numbers that are no moments", OTHERS, [3, 4, 8.5], 15),
    ("numbers, an unknown moment", OTHERS, [3, 4], "unknown"),
]


def content() -> dict[str, Any]:
    """The file's content."""
    vocabularies = {s: [PADDING, *map(str, values)] for s, values in VOCABULARIES.items()}
    return {
        "about": ABOUT,
        "length": LENGTH,
        "vocabularies": vocabularies,
        "cases": [_case(*case, vocabularies) for case in CASES],
    }


def read(time: Any) -> Any:
    """A time of the file as Python has it."""
    if not isinstance(time, str):
        return time
    kind = datetime.date if len(time) == len("2024-05-31") else datetime.datetime
    return kind.fromisoformat(time)


def text() -> str:
    """The file's text: a line for each vocabulary and part of a case."""
    made = content()

    def line(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    def block(fields: dict[str, Any], indent: str) -> str:
        return ",\n".join(f"{indent}{line(name)}: {line(value)}" for name, value in fields.items())

    cases = ",\n".join("  {\n" + block(case, "   ") + "\n  }" for case in made["cases"])
    return (
        "{\n"
        + block({"about": made["about"], "length": made["length"]}, " ")
        + ',\n "vocabularies": {\n'
        + block(made["vocabularies"], "  ")
        + '\n },\n "cases": [\n'
        + cases
        + "\n ]\n}\n"
    )


def _case(
    name: str,
    clock: moments.Clock,
    times: list[Any],
    now: Any,
    vocabularies: dict[str, list[str]],
) -> dict[str, Any]:
    activities = [{"time": read(time)} for time in times]
    moment = None if now == "unknown" else clock.number(read(now))
    most = {source: moments.largest(entries) for source, entries in vocabularies.items()}
    asked = moments.asked(activities, moment, clock, most)
    values = {s: of[-LENGTH:] for s, of in asked.of_events.items()}
    values |= {source: [value] for source, value in asked.of_moment.items()}
    rows = {}
    for source, known in values.items():
        padded = np.zeros(1 if source.startswith("ask.") else LENGTH, np.int32)
        if source == moments.SECONDS_AGO:
            padded[: len(known)] = [-1 if value is None else value for value in known]
        else:
            padded[: len(known)] = Vocabulary(tuple(vocabularies[source])).lookup(known)
        rows[source] = padded.tolist()
    return {
        "name": name,
        "clock": clock.to_json(),
        "times": times,
        "now": now,
        "values": values,
        "rows": rows,
    }


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8", newline="\n")
