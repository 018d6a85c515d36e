"""The transitions head against loops, and the weight that validation labels choose."""

import jax
import numpy as np
import pytest

from flaxrec.data.spec import InputSpec, ModelSpec
from flaxrec.models import transitions_head
from flaxrec.training import transitions
from flaxrec.training.run_assets import RunAssets

CANDIDATES, FOLLOWERS, LENGTH = 7, 3, 14


def drawn(power=1.0, weight=2.0):
    """The table [C, n]: followers and whole levels; the last item has one follower, item 3 none."""
    random = np.random.default_rng(0)
    followers = np.stack([random.permutation(CANDIDATES)[:FOLLOWERS] for _ in range(CANDIDATES)])
    levels = random.integers(1, 128, followers.shape)
    levels[0, 0] = 127
    for item, count in ((3, 0), (6, 1)):
        levels[item, count:], followers[item, count:] = 0, 0
    head = transitions_head.make(
        followers.astype(np.int32),
        (levels * 0.01).astype(np.float32),
        first=1,
        rows=CANDIDATES + 2,
        name="item",
        weight=weight,
        power=power,
    )
    return head, followers, levels * 0.01


def contexts(length=LENGTH):
    random = np.random.default_rng(1)
    ids = random.integers(1, CANDIDATES + 2, (9, length))  # with 'unknown', the last row
    ends = np.array([length, length, length - 1, 3, 1, 0, length, 5, 4])[:, None]
    ids = np.where(np.arange(length) < ends, ids, 0)
    ids[6, 1::2] = 0  # holes
    ids[7, 0], ids[8, 1] = CANDIDATES + 9, -4  # beyond the vocabulary: 'unknown' and padding
    return ids.astype(np.int32)


def by_loops(followers, weights, ids, power, weight):
    """The k-th latest place of ten counts k ** -power; holes and 'unknown' follow nothing."""
    out = np.zeros((len(ids), CANDIDATES))
    for b, row in enumerate(ids):
        places = np.flatnonzero(row > 0)
        last = places[-1] if len(places) else -1
        for k in range(1, 11):
            place = last - k + 1
            if place < 0 or not 1 <= row[place] <= CANDIDATES:
                continue
            for follower, value in zip(
                followers[row[place] - 1], weights[row[place] - 1], strict=True
            ):
                out[b, follower] += weight * value * k**-power
    return out


@pytest.mark.parametrize(("length", "power"), [(LENGTH, 1.0), (LENGTH, 2.0), (10, 1.0), (4, 1.0)])
def test_adds_what_follows_the_ten_latest(length, power):
    head, followers, weights = drawn(power)
    ids = contexts(length)
    found = jax.jit(lambda head, x: head(x))(head, {"item": ids})
    expected = by_loops(followers, weights, ids, power, 2.0)
    assert (np.abs(expected) > 0.1).any(axis=1).sum() >= 6
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_weights_are_rounded_to_levels_of_the_largest():
    weights = np.array([[1.0, 0.5, 0.0], [0.0039, 0.0, 0.0]], np.float32)
    head = transitions_head.make(
        np.array([[1, 0, 0], [0, 0, 0]], np.int32), weights, first=1, rows=4, name="x", weight=1
    )
    np.testing.assert_array_equal(head.levels, [[0] * 3, [127, 64, 0], [0] * 3, [0] * 3])
    assert head.scale == pytest.approx(1 / 127)
    nothing = transitions_head.make(
        np.zeros((2, 3), np.int32), weights * 0, first=1, rows=4, name="x", weight=1
    )
    assert not nothing.levels.any()
    assert np.isfinite(nothing.scale)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_kept_with_the_run(tmp_path, power):
    head, *_ = drawn(power, weight=17.0)
    assets = RunAssets(tmp_path / "assets")
    (tmp_path / "assets").mkdir()
    inputs = (InputSpec("item", "item.id", "INT", LENGTH, CANDIDATES + 2, "item"),)
    (tmp_path / "assets" / "spec.json").write_text(ModelSpec(inputs, CANDIDATES, 1).to_json())
    assert assets.head() is None
    assets.write_head(head)
    read = assets.head()
    for name in ("followers", "levels", "scale", "weight"):
        np.testing.assert_array_equal(getattr(read, name), getattr(head, name))
    assert (read.input, read.candidates, read.power) == ("item", CANDIDATES, power)
    assert hash(jax.tree.structure(read)) == hash(jax.tree.structure(head))  # for jit


@pytest.mark.parametrize(
    ("metrics", "lower", "best"),
    [
        ({25.0: 0.3, 50.0: 0.4}, False, 50.0),
        ({25.0: 0.4, 50.0: 0.4, 70.0: 0.4}, False, 25.0),  # of equal ones the smaller
        ({}, False, 0.0),
        ({5.0: -1.0, 200.0: -2.0}, True, 200.0),
        ({10.0: -2.0, 200.0: -2.0}, True, 10.0),
    ],
)
def test_the_best_weight(metrics, lower, best):
    asked = []

    def metric_of(weight, labels):
        asked.append(labels)
        return metrics.get(weight, 0.0)

    labels = np.arange(25_000, dtype=np.int32)
    found = transitions.best_weight(metric_of, labels, lower_is_better=lower)
    assert found == best
    assert len(asked) == len(transitions.WEIGHTS)
    for some in asked:
        assert len(some) == 10_000
        assert (some[0], some[-1]) == (0, 24_999)
        assert set(np.diff(some)) <= {2, 3}
