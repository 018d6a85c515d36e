"""Bins, lists and leaks of four labels, by hand."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from flaxrec.data.moments import Clock
from flaxrec.errors import DataError
from flaxrec.research import breakdown, statistics
from flaxrec.research.breakdown import Bin
from flaxrec.research.point_labels import PointLabels
from flaxrec.research.statistics import OverSeeds
from tests.support.point_examples import ITEMS, labels, point

# ---- bins -----------------------------------------------------------------------------------


def test_activity_in_readable_bins():
    """Histories 1, 4, 30 and 9; no label has 10 to 19 earlier events."""
    found = breakdown.by_activity(point(), "mean_rank")
    assert [(b.name, b.labels, b.users, b.mean) for b in found] == [
        ("1", 1, 1, 0.0),
        ("2–4", 1, 1, 9.5),
        ("5–9", 1, 1, 30.0),
        ("20–49", 1, 1, 2.0),
    ]
    assert all(b.interval is None for b in found)  # one user each


def test_very_active_users_share_the_open_bin():
    """Bob's two labels are one user of mean 3; cat has 5: the mean is 4, not 11 / 3."""
    table = labels(history=[10, 1000, 5000, 1001], rank=[0, 2, 4, 5])
    (_, last) = breakdown.by_activity(point(table), "mean_rank")
    assert last == Bin("≥ 1000", 3, 2, 4.0, statistics.bootstrap_interval(np.array([[3.0, 5.0]])))
    assert last.interval == (3, 5)


def test_a_bin_averages_over_seeds():
    found = breakdown.by_activity(point(labels(), labels(rank=[4, 0.5, 0, 0])), "mean_rank")
    assert [b.mean for b in found] == [2, 5, 15, 1]
    assert [b.labels for b in found] == [1, 1, 1, 1]


def test_contexts_by_what_they_hold():
    """min(history, 8) is 1, 4, 8 and 8."""
    found = breakdown.by_context(point(), "mean_rank", 8)
    assert [(b.name, b.labels) for b in found] == [("1", 1), ("2–4", 1), ("8 (full)", 2)]
    assert found[-1].mean == (2 + 30) / 2
    assert breakdown.by_context(point(), "mean_rank", 1)[0].name == "1 (full)"
    assert [b.name for b in breakdown.by_context(point(), "loss", 50)][-1] == "20–49"


def test_time_since_the_latest_activity():
    """Of four labels, one is a user's first; half an hour and an hour share a bin."""
    table = labels().with_columns(since=pl.Series([0.0, 1800, None, 3600]))
    found = breakdown.by_since(PointLabels([table], ITEMS, Clock("s")), "mean_rank")
    assert [(b.name, b.labels, b.users, b.mean) for b in found] == [
        ("same second", 1, 1, 0.0),
        ("1 to 60 min", 2, 2, (9.5 + 30) / 2),
    ]
    assert breakdown.by_since(PointLabels([table], ITEMS), "mean_rank") == []
    assert breakdown.by_since(PointLabels([table], ITEMS, Clock("none")), "mean_rank") == []
    assert breakdown.by_since(PointLabels([labels()], ITEMS, Clock("s")), "mean_rank") == []


def test_head_mid_and_tail_by_share_of_training_labels():
    """5 of 10 labels are Heat's (head), 3 more are Jaws's (80%: mid); the rest is tail."""
    found = breakdown.by_popularity(point(), "mean_rank")
    assert [(b.name, b.labels, b.mean) for b in found] == [
        ("head (≥ 5)", 1, 0.0),
        ("mid (3–4)", 1, 9.5),
        ("tail (0–2)", 2, (2 + 30) / 2),
    ]


def test_items_of_one_count_stay_together():
    """Until 60%: Heat and Jaws. Until 85%: one of the two with a single label, hence both."""
    found = breakdown.by_popularity(point(), "loss", (0.6, 0.85))
    assert [b.name for b in found] == ["head (≥ 3)", "mid (1–2)", "tail (0)"]
    assert [b.labels for b in found] == [2, 1, 1]
    assert [b.name for b in breakdown.by_popularity(point(), "loss", (0.9, 0.95))] == [
        "head (≥ 1)",
        "tail (0)",
    ]


def test_without_training_labels_nothing_is_popular():
    nothing = PointLabels([labels()], ITEMS.with_columns(pl.col("count") * 0))
    with pytest.raises(DataError, match="None of 5 candidates has a training label"):
        breakdown.by_popularity(nothing, "loss")


def test_the_leak_of_a_random_split():
    """Of bob's first label and of cat's, later events are training labels; of the others none."""
    found = breakdown.leak(point(), "mean_rank")
    assert found.share == 0.5
    assert [(b.name, b.labels, b.mean) for b in found.bins] == [
        ("later events in training", 2, (9.5 + 30) / 2),
        ("no later event in training", 2, (0 + 2) / 2),
    ]


def test_a_split_by_time_does_not_leak():
    found = breakdown.leak(point(labels(later_in_training=[0] * 4)), "mean_rank")
    assert found.share == 0
    (only,) = found.bins
    assert (only.name, only.labels, only.users) == ("no later event in training", 4, 3)
    assert only.mean == (0 + (9.5 + 2) / 2 + 30) / 3


@given(st.permutations(range(4)))
def test_the_order_of_rows_changes_no_bin(order):
    moved = point(labels()[order])
    for by in (breakdown.by_activity, breakdown.by_popularity):
        assert by(moved, "ndcg@10") == by(point(), "ndcg@10")
    assert breakdown.leak(moved, "loss") == breakdown.leak(point(), "loss")
    assert breakdown.recommended(moved) == breakdown.recommended(point())


# ---- what is recommended --------------------------------------------------------------------


def test_lists_by_hand():
    """Heat four times, Jaws three, Alien once: (4 * 5 + 3 * 3 + 1) / 8 training labels."""
    found = breakdown.recommended(point())
    assert found.popularity == OverSeeds(30 / 8, None, 1)
    assert found.label_popularity == (5 + 3 + 1 + 0) / 4
    assert found.coverage == OverSeeds(3 / 5, None, 1)
    # Sorted 0, 0, 1, 3, 4 with weights -4, -2, 0, 2, 4, over 5 * 8.
    assert found.gini.mean == pytest.approx((2 * 3 + 4 * 4) / 40)
    assert (found.candidates, found.lists) == (5, 4)


def test_lists_of_seeds_are_measured_apart():
    """Each seed covers 1 of 5 candidates; lists of both together would cover 2."""
    one, other = labels(top=[[0]] * 4), labels(top=[[4], [4], [], [4]])
    found = breakdown.recommended(point(one, other))
    assert found.coverage == OverSeeds(0.2, 0.0, 2)
    assert found.popularity == OverSeeds(2.5, pytest.approx(5 / math.sqrt(2)), 2)
    assert found.gini.mean == pytest.approx(1 - 1 / 5)


@given(arrays.arrays(np.int64, 6, elements=st.integers(0, 9)).filter(lambda times: times.any()))
def test_gini_is_half_the_relative_mean_difference(times):
    apart = np.abs(times[:, None] - times[None, :]).mean()
    assert breakdown.gini(times) == pytest.approx(apart / (2 * times.mean()))


def test_lists_that_cannot_be_used_are_named():
    with pytest.raises(DataError, match="All 4 lists are empty"):
        breakdown.recommended(point(labels(top=[[]] * 4)))
    with pytest.raises(DataError, match=r"candidates 0 to 5, and items.parquet has 5"):
        breakdown.recommended(point(labels(top=[[0], [5], [1], [2]])))
