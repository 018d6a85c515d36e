"""Normalised transitions: against a slow loop, followers, scores, contexts that are stored."""

import dataclasses

import numpy as np
import pytest
from scipy import sparse

from flaxrec.data import splits, transitions
from flaxrec.data.spec import InputSpec, ModelSpec
from flaxrec.data.timelines import ITEM, Column
from tests.support.builders import make_timelines


def made(protocol="leave_one_out"):
    """Twelve users with three to thirteen of nine items, repeats among them."""
    rng = np.random.default_rng(5)
    watched = [rng.choice(9, rng.integers(3, 14)).tolist() for _ in range(12)]
    events = [(user, item, t) for user, items in enumerate(watched) for t, item in enumerate(items)]
    timelines = make_timelines(events)
    split = splits.leave_one_out(timelines.offsets)
    if protocol == "random":
        split = splits.random(timelines.offsets, 0.1, 0.3, 1)
    return timelines, split, ModelSpec(timelines.inputs, len(timelines.items), 1)


def slow(timelines, train, spec, window, powers, keep_self):
    count = spec.candidates
    table = np.zeros((count, count))
    labels = set(train.tolist())
    for i in range(len(timelines.item)):
        for j in range(i + 1, min(i + window, len(timelines.item) - 1) + 1):
            counts = keep_self or timelines.item[i] != timelines.item[j]
            if counts and j in labels and timelines.user[i] == timelines.user[j]:
                table[timelines.item[i] - 1, timelines.item[j] - 1] += (j - i) ** -0.5
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    for r in range(count):
        for c in range(count):
            if table[r, c]:
                table[r, c] *= rows[r] ** powers[0] * columns[c] ** powers[1]
    return table


@pytest.mark.parametrize("at_once", [1, 40, transitions._PAIRS])
@pytest.mark.parametrize("keep_self", [True, False])
@pytest.mark.parametrize("protocol", ["leave_one_out", "random"])
def test_against_a_slow_loop(protocol, keep_self, at_once, monkeypatch):
    monkeypatch.setattr(transitions, "_PAIRS", at_once)
    timelines, split, spec = made(protocol)
    for window, powers in ((50, (-0.5, -0.25)), (3, (-0.7, 0.0))):
        table = transitions.normalized(
            timelines,
            split.train,
            spec,
            window=window,
            row_power=powers[0],
            column_power=powers[1],
            keep_self=keep_self,
        )
        expected = slow(timelines, split.train, spec, window, powers, keep_self)
        np.testing.assert_allclose(table.toarray(), expected, rtol=1e-6)
        assert table.dtype == np.float32
        assert table.nnz == (expected != 0).sum()
        assert bool(np.diag(expected).any()) == keep_self


def test_large_catalogues_are_summed_by_sorting():
    timelines, split, spec = made()
    wide = dataclasses.replace(spec, candidates=5000)  # a dense block would be mostly zeros
    table = transitions.normalized(timelines, split.train, wide, keep_self=True)
    expected = transitions.normalized(timelines, split.train, spec, keep_self=True)
    np.testing.assert_allclose(table[:9, :9].toarray(), expected.toarray(), rtol=1e-6)
    assert table.shape == (5000, 5000)
    assert table.nnz == expected.nnz


def test_the_best_followers_are_kept():
    timelines, split, spec = made()
    whole = transitions.normalized(timelines, split.train, spec, keep_self=True)
    best = transitions.normalized(timelines, split.train, spec, keep_self=True, most=3)
    assert np.diff(best.indptr).max() == 3
    for n in (2, 3):
        for got, expected in zip(
            transitions.followers(best, n), transitions.followers(whole, n), strict=True
        ):
            np.testing.assert_array_equal(got, expected)


def test_followers_by_hand():
    rows = [[0, 2, 2, 1], [0, 0, 0, 0], [3, 0, 0, 5], [1, 1, 1, 1]]
    candidates, weights = transitions.followers(sparse.csr_array(np.float32(rows)), 2)
    assert candidates.tolist() == [[1, 2], [0, 0], [3, 0], [0, 1]]
    assert weights.tolist() == [[2, 2], [0, 0], [5, 3], [1, 1]]
    assert (candidates.dtype, weights.dtype) == (np.int32, np.float32)


def test_scores_by_hand():
    table = sparse.csr_array(np.float32([[0, 1, 0], [4, 0, 2], [0, 0, 6]]))
    contexts = np.array([[1, -1, 2], [-1, 0, 0], [-1, -1, -1]])
    expected = [[4, 0, 2 + 6 / 3], [0, 1 / 2 + 1 / 3, 0], [0, 0, 0]]
    scores = (transitions.weighted(contexts, 3) @ table).toarray()
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_contexts_hold_the_latest_items_first():
    timelines = make_timelines([(1, 10, 0), (1, 20, 1), (1, 30, 2), (2, 20, 0), (2, 10, 1)])
    spec = ModelSpec(timelines.inputs, len(timelines.items), 1)
    contexts = transitions.contexts_before(timelines, np.array([2, 4]), spec, 3)
    assert contexts.tolist() == [[1, 0, -1], [1, -1, -1]]  # candidates: 10 is 0, 20 is 1
    assert contexts.dtype == np.int32


def test_stored_contexts_give_the_same_table():
    timelines, split, spec = made()
    rows = np.zeros((len(timelines.item), 4), np.int32)
    for position, user in enumerate(timelines.user):
        context = timelines.item[max(timelines.offsets[user], position - 4) : position]
        rows[position, : len(context)] = context
    stored = dataclasses.replace(timelines, columns={"c": Column(rows)}, contexts_are_stored=True)
    inputs = (InputSpec("c", "item.id", "INT", 4, 11, ITEM),)
    tables = [
        transitions.normalized(source, split.train, own, window=window, keep_self=True).toarray()
        for source, own, window in (
            (timelines, spec, 4),
            (stored, dataclasses.replace(spec, inputs=inputs), 50),
        )
    ]
    np.testing.assert_allclose(tables[0], tables[1], rtol=1e-6)


def test_validation_and_test_labels_are_not_counted():
    # 1 -> 2 -> 3 | 4 | 5: only 1 -> 2, 1 -> 3, 2 -> 3 are counted.
    timelines = make_timelines([(1, item, item) for item in range(1, 6)])
    spec = ModelSpec(timelines.inputs, len(timelines.items), 1)
    train = splits.leave_one_out(timelines.offsets).train
    table = transitions.normalized(timelines, train, spec, keep_self=True)
    assert list(zip(*(axis.tolist() for axis in table.nonzero()), strict=True)) == [
        (0, 1),
        (0, 2),
        (1, 2),
    ]
    nothing = transitions.normalized(timelines, train[:0], spec, keep_self=True)
    assert nothing.nnz == 0
