"""Times between events, in powers of two, in training and in use."""

import datetime

import numpy as np
import pytest
from helpers import ITEM_ID, make_timelines

from flaxrec.config import FeatureConfig
from flaxrec.data import gaps
from flaxrec.errors import ExportError
from flaxrec.recommender import Recommender

GAP = FeatureConfig("since", "event.gap", "INT", 4)


@pytest.mark.parametrize(
    ("seconds", "gap"), [(0, 0), (1, 1), (2, 1), (3, 2), (6, 2), (7, 3), (1023, 10), (86400, 16)]
)
def test_the_gap_is_the_logarithm_of_the_time(seconds, gap):
    found = gaps.of_times([100, 100 + seconds], np.array([True, False]))
    assert found.tolist() == [gaps.FIRST, gap]


def test_date_times_count_in_seconds():
    day = datetime.datetime(2024, 2, 28, 12)
    times = np.array([day, day + datetime.timedelta(seconds=3), day + datetime.timedelta(days=1)])
    found = gaps.of_times(times.astype("datetime64[us]"), np.array([True, False, False]))
    assert found.tolist() == [-1, 2, 16]


def test_activities_may_have_dates():
    """And Python's date-times, as an app has them."""
    day = datetime.datetime(2024, 2, 28, 12)
    moments = [day, day + datetime.timedelta(seconds=3), day + datetime.timedelta(days=1)]
    assert gaps.of_activities([{"time": moment} for moment in moments]) == [-1, 2, 16]
    assert gaps.of_activities([{"time": moment.date()} for moment in moments]) == [-1, 0, 16]


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
    expected = gaps.of_times(times, np.array([True, False, False, False])).tolist()
    assert gaps.of_activities(activities) == expected


def test_without_a_time_there_is_no_gap_but_the_given_one():
    activities = [
        {"item": 1},
        {"item": 1, "time": 5},
        {"item": 2, "time": 8},
        {"item": 3, "gap": 4},
    ]
    assert gaps.of_activities(activities) == [None, None, 2, 4]


class Encoded(Recommender):
    """Without a folder: one input of gaps, each written as ten more."""

    def __init__(self):
        spec = {"name": "since", "source": "event.gap", "shape": [3], "dtype": "int32"}
        spec |= {"vocabulary": "v", "multi_valued": False}
        self.metadata = {"context_length": 3, "flatten_keeps_oldest": False, "inputs": [spec]}
        self._vocabularies = {"v": self}
        self.items = {"1": {}}

    def lookup(self, values):
        return [0 if v is None else v + 10 for v in values]


def test_the_recommender_finds_gaps_from_times():
    activities = [{"item": 1, "time": 0}, {"item": 1, "time": 3}, {"item": 1, "time": 3}]
    assert Encoded().encode(activities)["since"].tolist() == [9, 12, 10]


def test_a_time_that_is_none_is_refused_in_one_sentence():
    with pytest.raises(ExportError, match="'time' is no number"):
        Encoded().encode([{"item": 1, "time": 0}, {"item": 1, "time": "noon"}])
