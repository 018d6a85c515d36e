"""What the Recommender makes of times and of the moment of asking."""

import dataclasses
import datetime
import json
import logging

import jax
import numpy as np
import pytest

from flaxrec.config import FeatureConfig
from flaxrec.data import contexts, histories, moments
from flaxrec.data import timelines as timelines_lib
from flaxrec.errors import ExportError
from tests.support.builders import make_config, make_interactions
from tests.support.moment_inputs import Asking
from tools import make_moment_vectors as vectors

UNIX = {"unit": "s", "zone": "UTC", "resolution": 1, "dates": False, "moments": False}
DAYS = {"unit": "s", "zone": "Europe/Berlin", "resolution": 86400, "dates": True, "moments": True}
LARGEST = {"event.gap": 9, "event.gap_after": 20, "ask.since": 18, "ask.hour": 23, "ask.weekday": 6}
NOON = 1_700_000_000 // 86400 * 86400 + 12 * 3600  # Tuesday, 14 November 2023


class Encoding(Asking):
    """Reads every source of time, three activities."""

    def __init__(self, time=UNIX, sources=moments.SOURCES):
        entries = {s: ["<pad>", *map(str, range(most + 1))] for s, most in LARGEST.items()}
        entries["event.gap"] = ["<pad>", "-1", *entries["event.gap"][:0:-1]]  # by frequency
        super().__init__(entries, sources, 3, time)

    def values(self, times, now=None, **features) -> dict[str, list]:
        """The inputs as values; None: unknown, without padding."""
        found = self.encode([{"item": 1, "time": t, **features} for t in times], now=now)
        assert {array.dtype for array in found.values()} == {np.dtype(np.int32)}
        return {name: self._own(name, array[array != 0].tolist()) for name, array in found.items()}

    def _own(self, source, rows):
        if source == moments.SECONDS_AGO:
            return [None if row == -1 else row for row in rows]
        entries = self._vocabularies[source].entries
        return [int(entries[row]) if row < len(entries) else None for row in rows]


def warnings_of(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_moment_is_given(caplog):
    found = Encoding().values([NOON - 10, NOON - 3], NOON)
    assert found == {
        "event.gap": [-1, 3],
        "event.gap_after": [3, 2],
        "event.seconds_ago": [10, 3],
        "ask.since": [2],
        "ask.hour": [12],
        "ask.weekday": [1],
    }
    assert not warnings_of(caplog)


@pytest.mark.parametrize("now", [NOON, float(NOON), np.int64(NOON), np.float64(NOON + 0.5)])
def test_a_moment_may_be_any_number(now):
    assert Encoding().values([np.float64(NOON - 3)], now) == Encoding().values([NOON - 3], NOON)


def test_a_moment_may_be_a_date_time():
    """With a zone; in UTC; as NumPy has it."""
    zone = datetime.timezone(datetime.timedelta(hours=-9))
    then, now = (datetime.datetime.fromtimestamp(time, zone) for time in (NOON - 3, NOON))
    utc = [moment.astimezone(datetime.UTC).replace(tzinfo=None) for moment in (then, now)]
    expected = Encoding().values([NOON - 3], NOON)
    for unit in ("s", "ns"):
        as_numpy = [np.datetime64(moment, unit) for moment in utc]
        for before, moment in ((then, now), utc, (utc[0], now), as_numpy):
            assert Encoding().values([before], moment) == expected


def test_the_clock_is_the_default(monkeypatch):
    monkeypatch.setattr(moments.time_lib, "time", lambda: NOON + 0.9)
    assert Encoding().values([NOON - 3]) == Encoding().values([NOON - 3], NOON)
    unknown = Encoding().values([NOON - 3], "unknown")
    assert unknown["event.gap_after"] == unknown["event.seconds_ago"] == [None]
    assert unknown["ask.since"] == unknown["ask.hour"] == unknown["ask.weekday"] == [None]
    assert unknown["event.gap"] == [-1]
    assert Encoding({**UNIX, "unit": "none", "resolution": 0}).values([5]) == unknown


def test_without_times_all_is_unknown_but_the_calendar(caplog):
    found = Encoding().encode([{"item": 1}, {"item": 1}], now=NOON)
    assert {name: array.tolist() for name, array in found.items()} == {
        "event.gap": [12, 12, 0],
        "event.gap_after": [22, 22, 0],
        "event.seconds_ago": [-1, -1, 0],
        "ask.since": [20],
        "ask.hour": [13],
        "ask.weekday": [2],
    }
    assert Encoding().values([], NOON)["ask.since"] == [None]  # as who has no history
    assert not warnings_of(caplog)


@pytest.mark.parametrize(
    ("now", "since", "after", "ago", "part"),
    [
        (NOON - 7200, 0, 0, None, "before the latest activity"),
        (NOON + 10 * 365 * 86400, 18, 20, 10 * 365 * 86400, "longer after the latest"),
        (NOON * 1000, None, None, 2**31 - 1, "another unit"),
        (1e300, None, None, 2**31 - 1, "another unit"),
        (-1e18, 0, 0, None, "before the latest activity"),
    ],
)
def test_absurd_moments_have_a_value_and_one_warning(caplog, now, since, after, ago, part):
    found = Encoding().encode([{"item": 1, "time": NOON}], now=now)
    assert found["ask.since"].tolist() == [20 if since is None else since + 1]
    assert found["event.gap_after"].tolist() == [22 if after is None else after + 1, 0, 0]
    assert found["event.seconds_ago"].tolist() == [ago or 0, 0, 0]
    (message,) = warnings_of(caplog)
    assert part in message


def test_a_gap_beyond_the_longest_in_training_counts_as_it():
    """Whatever the order of its vocabulary; a given one as well."""
    found = Encoding().values([NOON - 86400, NOON], NOON)
    assert (found["event.gap"], found["event.gap_after"]) == ([-1, 9], [16, 0])
    for gap in (30, np.int64(30), 30.0):
        assert Encoding().values([None], gap=gap)["event.gap"] == [9]
    assert Encoding().values([None], gap="a week")["event.gap"] == [None]


def test_dates_are_those_of_the_zone():
    """Half past eleven at night in UTC is the next day in Berlin."""
    late = datetime.datetime(2024, 5, 31, 22, 30, tzinfo=datetime.UTC)
    found = Encoding(DAYS).values([datetime.date(2024, 5, 31)], late)
    assert found["event.seconds_ago"] == [86400]
    assert found["ask.since"] == [16]
    assert Encoding(DAYS).values([datetime.date(2024, 6, 1)], late)["ask.since"] == [0]
    # A number is the data's, and a date-time without a zone is of the zone.
    assert Encoding(DAYS).values([late.date()], late.replace(tzinfo=None))["ask.since"] == [0]


def test_milliseconds_count_as_the_data_do():
    clock = {**UNIX, "unit": "ms", "resolution": 0}
    found = Encoding(clock).values([NOON * 1000 - 500], NOON * 1000 + 1)
    assert found["ask.since"] == [8]  # of 501
    assert found["event.seconds_ago"] == [1]
    assert found["ask.hour"] == [12]
    moment = datetime.datetime.fromtimestamp(NOON, datetime.UTC)
    later = moment + datetime.timedelta(microseconds=501_000)
    assert Encoding(clock).values([moment], later)["ask.since"] == [8]


def test_nanoseconds_are_exact():
    clock = moments.Clock("ns")
    now = clock.number(datetime.datetime(2024, 5, 31, 12, 0, 0, 1))
    assert now == 1717156800000001000
    assert moments.asked([{"time": now - 1}], now, clock).of_moment["ask.since"] == 1


@pytest.mark.parametrize(
    "time", ["noon", float("nan"), float("inf"), True, 10**400, [3], np.datetime64("NaT", "s")]
)
def test_what_is_no_time_is_refused_in_one_sentence(time):
    with pytest.raises(
        ExportError, match=r"^now is no number, date or date-time of the data \(.*;"
    ):
        Encoding().encode([], now=time)
    with pytest.raises(ExportError, match="'time' is no number, date or date-time of the data"):
        Encoding().encode([{"item": 1, "time": time}])


def test_dates_mean_nothing_where_times_are_other_numbers():
    encoding = Encoding({**UNIX, "unit": "none"}, ["event.gap_after"])
    with pytest.raises(ExportError, match="numbers that are no moments"):
        encoding.encode([], now=datetime.date(2024, 5, 31))


def test_a_zone_that_the_device_lacks_is_named():
    no_zone = {**UNIX, "zone": "Mars/Olympus"}
    with pytest.raises(ExportError, match="'Mars/Olympus' here; install the package tzdata"):
        Encoding(no_zone).encode([], now=NOON)
    assert Encoding(no_zone, ["ask.since"]).encode([], now=NOON)["ask.since"] == [20]


@pytest.mark.parametrize(
    ("clock", "number", "text"),
    [
        (UNIX, NOON, "2023-11-14T12:00:00"),
        (DAYS, NOON - 43200, "2023-11-14"),
        ({**UNIX, "unit": "ms"}, NOON * 1000 + 1, "1699963200001"),
        ({**UNIX, "unit": "none"}, 5.0, "5"),
        ({**UNIX, "unit": "none"}, 0.5, "0.5"),
        (UNIX, 10**15, "1000000000000000"),
    ],
)
def test_times_as_text(clock, number, text):
    assert moments.Clock(**clock).text(number) == text


def test_the_clock_of_an_export_is_json():
    clock = moments.Clock.from_json(
        json.loads(json.dumps(moments.Clock("ms", "Asia/Tokyo").to_json()))
    )
    assert clock == moments.Clock("ms", "Asia/Tokyo")


# ---- as in training --------------------------------------------------------------------------

TRAINED = {  # how a second is written, of which kind the times are, and their clock's unit
    "Unix times": (lambda seconds: NOON + int(seconds), "numbers", "s"),
    "parts of seconds": (lambda seconds: NOON + seconds + 0.37, "numbers", "s"),
    "milliseconds": (lambda seconds: 1000 * NOON + int(1000 * seconds), "numbers", "ms"),
    "microseconds": (lambda seconds: 10**6 * NOON + int(10**6 * seconds), "numbers", "us"),
    "other numbers": (lambda seconds: int(seconds), "numbers", "none"),
    "date-times": (lambda seconds: NOON + round(seconds, 6), "date-times", "s"),
    "dates": (lambda seconds: (NOON + int(seconds)) // 86400 * 86400.0, "dates", "s"),
}


@pytest.mark.parametrize("kind", TRAINED)
def test_histories_are_encoded_as_in_training(kind, caplog):
    write, time_is, unit = TRAINED[kind]
    random = np.random.default_rng(3)
    apart = random.choice([0, 0.2, 1, 7, 50, 86400, 3e5], (4, 8))
    times = [[write(float(seconds)) for seconds in of_user.cumsum()] for of_user in apart]
    events = [(user, 1, time) for user, of_user in enumerate(times) for time in of_user]
    interactions = dataclasses.replace(make_interactions(events), time_is=time_is)
    knows_hour = unit != "none" and time_is != "dates"
    sources = [s for s in moments.SOURCES if knows_hour or s not in moments.OF_CALENDAR]
    features = [FeatureConfig(source, source) for source in sources]
    config = make_config(*features, time_zone="America/New_York")
    timelines = timelines_lib.build(interactions, config)
    assert timelines.clock.unit == unit

    entries = {name: of.entries for name, of in timelines.vocabularies.items()}
    clock = json.loads(json.dumps(timelines.clock.to_json()))
    asking = Asking(entries, sources, 3, clock)
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    labels = np.arange(len(timelines.item), dtype=np.int32)
    on_device = contexts.to_device(timelines, here)
    trained = contexts.gather(on_device, labels, timelines.inputs, context_length=3)
    for label in labels.tolist():
        history = histories.history(timelines, label, 3)
        if label % 8 <= 3:  # the user's first event is in it
            history["activities"] = [{**a, "gap": None} for a in history["activities"]]
        found = asking.encode(history["activities"], now=history["now"])
        for source in sources:
            expected = np.asarray(trained[source][label])
            if source == moments.SINCE and not history["activities"]:
                expected = expected * 0 + asking._vocabularies[source].unknown_row
            np.testing.assert_array_equal(found[source], expected, f"{source} of {label}")
    # Microseconds of an hour have more than 31 steps: unknown in training as well.
    assert bool(warnings_of(caplog)) == (kind == "microseconds")


# ---- the cases that any platform's code can be held against ----------------------------------


def test_the_committed_vectors_are_current():
    assert vectors.FILE.read_text(encoding="utf-8") == vectors.text(), (
        "run python tools/make_moment_vectors.py"
    )


def test_the_recommender_encodes_as_the_vectors_say():
    made = json.loads(vectors.FILE.read_text(encoding="utf-8"))
    for case in made["cases"]:
        asking = Asking(made["vocabularies"], moments.SOURCES, made["length"], case["clock"])
        activities = [{"item": 1, "time": vectors.read(time)} for time in case["times"]]
        now = case["now"] if case["now"] == "unknown" else vectors.read(case["now"])
        found = asking.encode(activities, now=now)
        assert {name: array.tolist() for name, array in found.items()} == case["rows"], case["name"]


def test_some_vectors_by_hand():
    cases = {case["name"]: case["values"] for case in vectors.content()["cases"]}
    assert cases["a day"]["ask.since"] == [16]  # 2^16 = 65,536 is below 86,401, 2^17 above
    assert cases["just below and at a power of two"]["event.gap_after"] == [2, 3]
    hours = [cases[name]["ask.hour"] for name in cases if "winter" in name or "summer" in name]
    assert hours == [[1], [3], [2], [2]]
    assert cases["milliseconds"]["ask.since"] == [9]  # of 1000
