"""The time since the latest activity, and its bins."""

import dataclasses
import json

import numpy as np
import pytest

from flaxrec.data.dataset import Dataset
from flaxrec.data.moments import Clock
from flaxrec.data.spec import ModelSpec
from flaxrec.data.splits import Split
from flaxrec.evaluation import per_label, since
from flaxrec.evaluation.evaluator import PerLabel
from flaxrec.research import point_labels
from tests.support.builders import make_timelines

START = 1_000_000_000  # a Unix time
EVENTS = [("ann", 10, START), ("ann", 20, START), ("ann", 30, START + 59), ("bob", 10, START + 9)]
FIRST = np.array([0, 1, 2, 3], np.int32)


def test_a_first_event_has_none():
    timelines = make_timelines(EVENTS)
    assert timelines.clock == Clock("s", resolution=1)
    assert str(since.of_labels(timelines, FIRST).tolist()) == "[nan, 0.0, 59.0, nan]"
    stored = dataclasses.replace(timelines, contexts_are_stored=True)
    assert np.isnan(since.of_labels(stored, FIRST)).all()
    without = dataclasses.replace(timelines, clock=None)
    assert np.isnan(since.of_labels(without, FIRST)).all()


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_seconds_to_hours_in_any_unit(unit):
    """An hour is not more than an hour; less than a second is the same second."""
    clock = Clock(unit)
    seconds = np.array([0, 1, 59, 60, 3600, 3601, 1e9, np.nan])
    code, names = since.bins(seconds * clock.per_second, clock)
    assert code.tolist() == [0, 1, 1, 2, 2, 3, 3, -1]
    assert names == ("same second", "1 to 59 s", "1 to 60 min", "more than an hour")
    if unit == "ms":
        assert since.bins(np.array([999, 3_600_001]), clock)[0].tolist() == [0, 3]


def test_days_where_times_are_dates():
    clock = Clock("ms", resolution=86_400_000, dates=True)
    code, names = since.bins(np.array([0, 1, 2, 7, 8]) * 86_400_000.0, clock)
    assert code.tolist() == [0, 1, 2, 2, 3]
    assert names[-1] == "more than a week"
    assert since.bins(np.zeros(1), Clock("s", resolution=3600))[1][0] == "same second"


def test_numbers_that_are_no_moments_have_no_bins():
    for clock in (Clock("none"), None):
        code, names = since.bins(np.array([3.0]), clock)
        assert (code.tolist(), names) == ([-1], ())


def test_files_keep_the_clock(tmp_path):
    timelines = make_timelines(EVENTS)
    split = Split(*[np.zeros(0, np.int32)] * 3, "none")
    dataset = Dataset(timelines, split, ModelSpec(timelines.inputs, 3, 1))
    ranks = PerLabel(FIRST[1:3], np.zeros(2), None, None)
    per_label.write(tmp_path / "per_label", ranks, dataset)
    read = point_labels.load([tmp_path])
    assert read.clock == timelines.clock
    assert read.seeds[0]["since"].to_list() == [0.0, 59.0]
    # Files of before it are read without; a torn one is told.
    old = read.seeds[0].drop("since")
    old.write_parquet(tmp_path / "per_label" / "test.parquet")
    with pytest.raises(point_labels.DataError, match=r"test\.parquet is not what files\.json"):
        point_labels.load([tmp_path])
    (tmp_path / "per_label" / "files.json").unlink()
    (tmp_path / "per_label" / "clock.json").write_text(json.dumps({"of": 1}))
    with pytest.raises(
        point_labels.DataError, match=r"clock\.json does not fit: object missing required"
    ):
        point_labels.load([tmp_path])
    (tmp_path / "per_label" / "clock.json").unlink()
    read = point_labels.load([tmp_path])
    assert read.clock is None
    assert "since" not in read.seeds[0].columns
