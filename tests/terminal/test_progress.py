"""The rate and the time left, as a log shows them."""

import itertools
import re

import pytest

from flaxrec.terminal import progress


@pytest.mark.parametrize(
    ("seconds", "rate", "left"),
    [
        ([100, 20], 5, 160),  # the first part compiled: only the second counts
        ([20], 5, 180),
        ([20, 20, 20], 5, 140),
    ],
)
def test_the_time_left_counts_no_compilation(seconds, rate, left, monkeypatch, capsys):
    clock = list(itertools.accumulate([0, *seconds]))
    now = [0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: clock[now[0]])
    with progress.progress("epoch 1/1", 1000, "labels") as advance:
        for _ in seconds:
            now[0] += 1
            advance(100)
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"([\d,]+) labels/s, ([\d,]+) s left", last).groups() == (
        str(rate),
        str(left),
    )
