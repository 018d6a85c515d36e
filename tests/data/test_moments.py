"""Times between events, in powers of two, in training and in use."""

import datetime
import warnings

import numpy as np
import polars as pl
import pytest

from flaxrec.config import DataConfig, FeatureConfig
from flaxrec.data import moments
from flaxrec.data.sources.own_tables import read_table
from flaxrec.errors import ExportError
from flaxrec.recommender import Recommender
from tests.support.builders import ITEM_ID, make_timelines

GAP = FeatureConfig("since", "event.gap", "INT", 4)


def _gaps(activities):
    return moments.asked(activities, None, moments.Clock.from_json(None)).of_events[moments.GAP]


@pytest.mark.parametrize(
    ("seconds", "gap"), [(0, 0), (1, 1), (2, 1), (3, 2), (6, 2), (7, 3), (1023, 10), (86400, 16)]
)
def test_the_gap_is_the_logarithm_of_the_time(seconds, gap):
    found = moments.from_times([100, 100 + seconds], np.array([True, False]))
    assert found.tolist() == [moments.FIRST, gap]


def test_activities_may_have_dates():
    """And Python's date-times, as an app has them."""
    day = datetime.datetime(2024, 2, 28, 12)
    times = [day, day + datetime.timedelta(seconds=3), day + datetime.timedelta(days=1)]
    assert _gaps([{"time": time} for time in times]) == [-1, 2, 16]
    assert _gaps([{"time": time.date()} for time in times]) == [-1, 0, 16]
    zone = datetime.timezone(datetime.timedelta(hours=2))
    aware = [time.replace(tzinfo=zone) for time in times]
    aware[1] = aware[1].astimezone(datetime.UTC)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _gaps([{"time": moment} for moment in aware]) == [-1, 2, 16]


def test_a_time_that_is_none_is_refused():
    for times in ([1.0, float("nan")], [1.0, float("inf")]):
        with pytest.raises(ValueError, match="not finite"):
            _gaps([{"time": time} for time in times])


@pytest.mark.parametrize("kind", ["text", "date-times", "dates"])
def test_dates_of_a_table_have_the_gaps_that_an_app_finds(tmp_path, kind):
    """From the file over the vocabulary: what is trained is what the Recommender looks up."""
    day = datetime.datetime(2024, 2, 28, 12)
    hours = (0, 6, 30, 31) if kind != "dates" else (0, 24, 72, 72)
    times = [day + datetime.timedelta(hours=hour) for hour in hours]
    cells = {
        "text": [str(time) for time in times],
        "date-times": pl.Series(times, dtype=pl.Datetime("ns")),
        "dates": [time.date() for time in times],
    }[kind]
    table = pl.DataFrame({"user": [1] * 4, "item": ["a", "b", "c", "d"], "time": cells})
    file = tmp_path / ("events.csv" if kind == "text" else "events.parquet")
    table.write_csv(file) if kind == "text" else table.write_parquet(file)
    events = read_table(DataConfig(source="table", path=str(file))).events
    trained = moments.from_times(events["time"].to_numpy(), np.array([True, False, False, False]))
    given = [time.date() if kind == "dates" else time for time in times]
    assert trained.tolist() == _gaps([{"time": time} for time in given])
    assert trained[1] == (14 if kind != "dates" else 16)


def test_timelines_have_gaps_by_user():
    """File order is not time order; users are apart; the vocabulary has every gap that there is."""
    events = [(1, 10, 103), (2, 10, 50), (1, 20, 100), (1, 40, 110), (2, 20, 50)]
    timelines = make_timelines(events, ITEM_ID, GAP)
    entries = timelines.vocabularies["since"].entries
    found = [int(entries[row]) for row in timelines.columns["since"].values]
    assert found == [-1, 2, 3, -1, 0]
    assert timelines.activities["gap"].to_list() == found


def test_a_column_of_ones_own_goes_before():
    timelines = make_timelines([(1, 10, 0), (1, 20, 9)], ITEM_ID, GAP, gap=[7, 8])
    assert timelines.activities["gap"].to_list() == [7, 8]


def test_activities_with_times_have_the_gaps_of_training():
    times = [100, 103, 110, 110]
    activities = [{"item": 1, "time": time} for time in times]
    expected = moments.from_times(times, np.array([True, False, False, False])).tolist()
    assert _gaps(activities) == expected


def test_without_a_time_there_is_no_gap_but_the_given_one():
    activities = [
        {"item": 1},
        {"item": 1, "time": 5},
        {"item": 2, "time": 8},
        {"item": 3, "gap": 4},
    ]
    assert _gaps(activities) == [None, None, 2, 4]


class Encoded(Recommender):
    """Without a folder: one input of gaps, each written as ten more."""

    def __init__(self):
        spec = {"name": "since", "source": "event.gap", "shape": [3], "dtype": "int32"}
        spec |= {"vocabulary": "v", "multi_valued": False}
        self.metadata = {"context_length": 3, "flatten_keeps_oldest": False, "inputs": [spec]}
        self._vocabularies = {"v": self}
        self.items = {"1": {}}

    entries = ()

    def lookup(self, values):
        return [0 if v is None else v + 10 for v in values]


def test_the_recommender_finds_gaps_from_times():
    activities = [{"item": 1, "time": 0}, {"item": 1, "time": 3}, {"item": 1, "time": 3}]
    assert Encoded().encode(activities)["since"].tolist() == [9, 12, 10]


def test_a_time_that_is_none_is_refused_in_one_sentence():
    with pytest.raises(ExportError, match="'time' is no number"):
        Encoded().encode([{"item": 1, "time": 0}, {"item": 1, "time": "noon"}])
