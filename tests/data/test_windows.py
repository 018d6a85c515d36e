"""Where windows of labels end: every trained label once, anywhere."""

import numpy as np
import pytest

from flaxrec.data import windows
from flaxrec.data.windows import Runs
from tests.support.builders import make_timelines


def labels_of(ends, counts):
    return [label for end, count in zip(ends, counts, strict=True)
            for label in range(end - count + 1, end + 1)]  # fmt: skip


@pytest.mark.parametrize("labels", [1, 2, 5, 50])
@pytest.mark.parametrize("seed", range(5))
def test_every_label_is_in_one_window(labels, seed):
    first = np.array([1, 40, 60, 100])
    last = np.array([30, 40, 62, 199])
    ends, counts = windows.draw(Runs(first, last), labels, np.random.default_rng(seed))
    expected = [i for a, b in zip(first, last, strict=True) for i in range(a, b + 1)]
    assert labels_of(ends, counts) == expected
    assert counts.max() <= labels
    assert counts.min() >= 1
    assert ends.dtype == counts.dtype == np.int32


def test_windows_begin_anywhere():
    """Of a window of 4 labels the first one holds 1 to 4, each as often."""
    runs = Runs(np.zeros(4000, int) + 10, np.zeros(4000, int) + 29)
    ends, _ = windows.draw(runs, 4, np.random.default_rng(0))
    firsts = ends[np.flatnonzero(np.diff(ends, prepend=99) < 0)]
    found = np.bincount(firsts - 9, minlength=5)[1:]
    np.testing.assert_allclose(found / 4000, 0.25, atol=0.03)


@pytest.mark.parametrize("labels", [2, 7])
def test_the_expected_number_is_the_mean(labels):
    runs = Runs(np.array([1, 20, 50]), np.array([1, 31, 90]))
    random = np.random.default_rng(0)
    counts = [len(windows.draw(runs, labels, random)[0]) for _ in range(3000)]
    exact = sum((n + labels - 1) / labels for n in (1, 12, 41))
    np.testing.assert_allclose(np.mean(counts), exact, atol=0.05)
    assert windows.expected(runs, labels) == int(exact)


def test_runs_reach_from_a_users_first_trained_label_to_the_last():
    events = [(1, 10, t) for t in range(5)] + [(2, 10, t) for t in range(4)]
    events += [(3, 10, t) for t in range(3)]
    timelines = make_timelines(events)
    runs = windows.label_runs(timelines, np.array([7, 1, 3, 6]))
    assert runs.first.tolist() == [1, 6]
    assert runs.last.tolist() == [3, 7]
