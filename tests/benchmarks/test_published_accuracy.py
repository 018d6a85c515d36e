"""Ranks of published files, by hand."""

import importlib.util
import math
from types import SimpleNamespace

import numpy as np
import pytest

from tests.support.places import ROOT

FILE = ROOT / "benchmarks" / "published_accuracy.py"
_spec = importlib.util.spec_from_file_location("published_accuracy", FILE)
script = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(script)


def test_seen_items_and_what_is_no_candidate_take_no_place():
    timelines = SimpleNamespace(
        item=np.array([3, 1, 2, 1, 3, 2, 2]),
        user=np.array([0, 0, 0, 1, 1, 2, 2]),
        offsets=np.array([0, 3, 5, 7]),
    )
    logits = np.array(
        [
            [0.0, 5.0, 2.0, 7.0],  # label 2 after 3 and 1: third of all, first of what is unseen
            [9.0, 1.0, 0.0, 4.0],  # label 3 after 1: second, and the one before it is unseen
            [1.0, 3.0, 2.0, -np.inf],  # label 2 after itself: second either way
        ],
        np.float32,
    )
    found = script.ranked(logits, SimpleNamespace(timelines=timelines), np.array([2, 4, 6]))
    second = 1 / math.log2(3)
    assert found["ndcg@10"] == pytest.approx((1 / math.log2(4) + second + second) / 3)
    assert found["filtered/ndcg@10"] == pytest.approx((1 + second + second) / 3)
    assert (found["mean_rank"], found["filtered/mean_rank"]) == pytest.approx((4 / 3, 2 / 3))
