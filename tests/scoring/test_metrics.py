"""Ranks and ranking metrics by hand, against naive Python, and against the reference."""

import json
import math
from math import log2

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from flaxrec.scoring import metrics
from tests.support.places import GOLDENS

CASES = GOLDENS / "metrics_cases.npz"
label_rank = jax.jit(metrics.label_rank)
batch_rank = jax.jit(metrics.batch_rank)
all_pairs_rank = jax.jit(metrics.all_pairs_rank)

# Whole numbers from a small range: ties are the rule.
scores_with_ties = arrays.arrays(np.float32, (4, 6), elements=st.integers(-2, 2))
labels_of_four = arrays.arrays(np.int32, 4, elements=st.integers(0, 5))
ranks = arrays.arrays(np.float64, 9, elements=st.integers(0, 40).map(lambda twice: twice / 2))


# ---- rank -----------------------------------------------------------------------------------


@given(scores_with_ties, labels_of_four)
def test_label_rank_counts_better_and_half_of_equal_others(scores, labels):
    found = label_rank(scores, labels)
    expected = []
    for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
        others = row[:label] + row[label + 1 :]
        better = sum(score > row[label] for score in others)
        expected.append(better + 0.5 * sum(score == row[label] for score in others))
    np.testing.assert_array_equal(found, expected)


@given(scores_with_ties, labels_of_four, st.permutations(range(6)))
def test_label_rank_does_not_depend_on_the_candidates_order(scores, labels, order):
    moved = np.argsort(order)[labels].astype(np.int32)  # where the label's candidate went
    np.testing.assert_array_equal(
        label_rank(scores, labels),
        label_rank(scores[:, order], moved),
    )


def test_label_rank_of_equal_scores_is_the_middle():
    """A model that knows nothing must not look good: the mean of places 0..4 is 2."""
    assert label_rank(np.zeros((1, 5), np.float32), np.array([0])).tolist() == [2.0]


def test_label_rank_of_a_score_that_is_no_number():
    nan = float("nan")
    scores = np.array([[nan, 1.0, 2.0], [nan, nan, nan], [0.0, nan, 1.0]])
    assert label_rank(scores, np.array([0, 1, 2])).tolist() == [3.0, 3.0, 0.0]


def test_label_rank_of_infinite_scores():
    scores = np.array([[-math.inf, 0.0, -math.inf], [math.inf, math.inf, 0.0]])
    assert label_rank(scores, np.array([0, 1])).tolist() == [1.5, 0.5]


# ---- per label ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rank", "k", "recall", "ndcg", "mrr"),
    [
        (0.0, 1, 1.0, 1 / log2(0 + 2), 1 / 1),
        (1.0, 1, 0.0, 0.0, 0.0),
        (1.0, 2, 1.0, 1 / log2(1 + 2), 1 / 2),
        (2.0, 10, 1.0, 1 / log2(2 + 2), 1 / 3),
        (9.0, 10, 1.0, 1 / log2(9 + 2), 1 / 10),
        (9.5, 10, 1.0, 1 / log2(9.5 + 2), 1 / 10.5),
        (10.0, 10, 0.0, 0.0, 0.0),
        (0.5, 1, 1.0, 1 / log2(0.5 + 2), 1 / 1.5),
    ],
)
def test_metrics_by_hand(rank, k, recall, ndcg, mrr):
    ranks = np.array([rank])
    assert metrics.recall(ranks, k).tolist() == [recall]
    assert metrics.ndcg(ranks, k).tolist() == pytest.approx([ndcg])
    assert metrics.mrr(ranks, k).tolist() == pytest.approx([mrr])


@given(ranks, st.integers(1, 12))
def test_mrr_is_below_ndcg_and_ndcg_below_recall(rank, k):
    recall, ndcg, mrr = metrics.recall(rank, k), metrics.ndcg(rank, k), metrics.mrr(rank, k)
    assert (mrr <= ndcg).all()
    assert (ndcg <= recall).all()
    assert ((ndcg > 0) == (recall == 1)).all()
    assert (metrics.ndcg(rank, k + 1) >= ndcg).all()


# ---- means ----------------------------------------------------------------------------------


def test_from_ranks_by_hand():
    means = metrics.from_ranks(np.array([0.0, 1.0, 4.0, 20.0], np.float32), (1, 5))
    assert means == pytest.approx(
        {
            "recall@1": 1 / 4,
            "recall@5": 3 / 4,
            "ndcg@1": 1 / 4,
            "ndcg@5": (1 / log2(2) + 1 / log2(3) + 1 / log2(6)) / 4,
            "mrr@1": 1 / 4,
            "mrr@5": (1 / 1 + 1 / 2 + 1 / 5) / 4,
            "mean_rank": (0 + 1 + 4 + 20) / 4,
        }
    )
    assert all(type(value) is float for value in means.values())


def test_from_ranks_prefixes_every_name():
    means = metrics.from_ranks(np.array([3.0]), (10,), "filtered/")
    assert list(means) == [
        "filtered/recall@10",
        "filtered/ndcg@10",
        "filtered/mrr@10",
        "filtered/mean_rank",
    ]


def test_from_ranks_adds_up_in_double_precision():
    """In float32, 2**24 + 0.5 is 2**24."""
    rank = np.array([16_777_216.0, 0.5, 0.5], np.float32)
    assert metrics.from_ranks(rank, (1,))["mean_rank"] == (16_777_216 + 1) / 3


# ---- the batch's own labels -----------------------------------------------------------------


def naive_batch_rank(scores, labels):
    """Where column i stands in row i of scores[:, labels], sorted stably in descending order."""
    found = []
    for i, row in enumerate(scores[:, labels].tolist()):
        order = sorted(range(len(labels)), key=lambda j: -row[j])
        found.append(order.index(i))
    return found


@given(scores_with_ties, labels_of_four)
def test_batch_rank_is_the_naive_one(scores, labels):
    found = batch_rank(scores, labels)
    assert found.tolist() == naive_batch_rank(scores, labels)


def test_batch_rank_of_equal_columns_keeps_their_order():
    assert batch_rank(np.zeros((3, 2), np.float32), np.array([1, 0, 1])).tolist() == [0, 1, 2]


def test_batch_rank_gives_the_references_metrics():
    expected = json.loads(CASES.with_suffix(".json").read_text())
    ranks = []
    with np.load(CASES) as cases:
        for batch, of_batch in enumerate(expected["batches"]):
            logits, labels = cases[f"logits{batch}"], cases[f"labels{batch}"][:, 0]
            ranks.append(np.asarray(batch_rank(logits, labels)))
            assert_batch_metrics(ranks[-1], of_batch["metrics"])
    assert_batch_metrics(np.concatenate(ranks), expected["accumulated"])


def assert_batch_metrics(rank, expected):
    for k in (1, 5, 10, 20):
        assert (rank < k).mean() == pytest.approx(expected[f"Batch_Recall/Recall_{k}"], abs=1e-6)
    assert rank.mean() == pytest.approx(expected["batch_mean_rank"], abs=1e-5)


def test_label_rank_gives_the_references_recall_but_for_ties():
    """The reference ranks by softmax, lower index first: it lies between the two extremes."""
    expected = json.loads(CASES.with_suffix(".json").read_text())["batches"]
    with np.load(CASES) as cases:
        for batch, of_batch in enumerate(expected):
            logits, labels = cases[f"logits{batch}"], cases[f"labels{batch}"][:, 0]
            shares = np.asarray(jax.jit(jax.nn.softmax)(logits))
            rank = np.asarray(label_rank(shares, labels))
            own = np.take_along_axis(shares, labels[:, None], 1)
            half_of_ties = ((shares == own).sum(axis=1) - 1) / 2
            for k in (1, 5, 10, 20):
                recall = of_batch["metrics"][f"Global_Recall/Recall_{k}"]
                lowest = (rank + half_of_ties < k).mean()
                highest = (rank - half_of_ties < k).mean()
                assert lowest - 1e-6 <= recall <= highest + 1e-6
                assert math.isclose(lowest, highest) or half_of_ties.any()


# ---- the reference's mean rank over all pairs -----------------------------------------------


@given(scores_with_ties, labels_of_four)
def test_all_pairs_rank_is_the_naive_one(scores, labels):
    found = all_pairs_rank(scores, labels)
    for row, mean in zip(scores.tolist(), found.tolist(), strict=True):
        order = sorted(range(6), key=lambda c, row=row: -row[c])
        assert mean == np.mean([order.index(label) for label in labels])


def test_all_pairs_rank_by_hand():
    """Labels 0 and 2. First row: places 0 and 1. Second row: places 2 and 1. Own ones: 0 and 1."""
    scores = np.array([[3.0, 1.0, 2.0], [1.0, 3.0, 2.0]], np.float32)
    assert all_pairs_rank(scores, np.array([0, 2])).tolist() == [0.5, 1.5]
    assert label_rank(scores, np.array([0, 2])).tolist() == [0.0, 1.0]
