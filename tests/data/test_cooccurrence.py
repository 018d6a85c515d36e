"""First vectors of items from the timelines (config.model.item_table=ppmi)."""

import numpy as np
import pytest

from flaxrec.config import SplitConfig
from flaxrec.data import cooccurrence
from flaxrec.data.spec import ModelSpec
from flaxrec.data.splits import Split, split
from tests.support.builders import make_timelines


def case(events, train=None):
    """Timelines of the events, their split, and the spec of all items."""
    timelines = make_timelines(events)
    if train is None:
        of = split(timelines, SplitConfig())
    else:
        empty = np.zeros(0, np.int32)
        of = Split(np.array(train, np.int32), empty, empty, "all")
    rows = len(timelines.vocabularies["item"].entries)
    return timelines, of, ModelSpec(timelines.inputs, rows - 1, 1)


def naive_information(timelines, of, spec):
    """Positive pointwise mutual information with loops over pairs of events."""
    size = spec.candidates
    counts = np.zeros((size, size))
    for label in of.train:
        for other in range(max(timelines.offsets[timelines.user[label]], label - 10), label):
            a, b = timelines.item[label] - 1, timelines.item[other] - 1
            counts[a, b] += 1 / (label - other)
            counts[b, a] += 1 / (label - other)
    total, of_item = counts.sum(), counts.sum(axis=1)
    smooth = of_item**0.75 / (of_item**0.75).sum()
    table = np.zeros_like(counts)
    for a, b in zip(*counts.nonzero(), strict=True):
        table[a, b] = max(0, np.log(counts[a, b] / total / (of_item[a] / total * smooth[b])))
    return table


def drawn_events(users=12, items=9, length=14):
    """Longer than the window; items of a user are near each other."""
    random = np.random.default_rng(0)
    return [
        (u, int((u + random.integers(0, 4)) % items), t)
        for u in range(users)
        for t in range(length)
    ]


@pytest.mark.parametrize("width", [2, 8, 20])
def test_vectors_are_the_largest_singular_vectors(width):
    """Of products of vectors only the signs are free; wider than the catalogue the rest is 0."""
    timelines, of, spec = case(drawn_events())
    left, values, _ = np.linalg.svd(naive_information(timelines, of, spec))
    rank = min(width, spec.candidates)
    expected = (left * np.sqrt(values))[:, :rank]
    found = cooccurrence.item_vectors(timelines, of, spec, width)
    assert (found.shape, found.dtype) == ((spec.candidates, width), np.float32)
    assert found.std() == pytest.approx(0.05, rel=1e-4)
    assert not found[:, rank:].any()
    scale = np.linalg.norm(expected) / np.linalg.norm(found)
    np.testing.assert_allclose(
        found @ found.T * scale**2, expected @ expected.T, atol=1e-4 * values[0]
    )
    np.testing.assert_array_equal(found, cooccurrence.item_vectors(timelines, of, spec, width))


def test_items_without_neighbours_have_zeros():
    """Those of validation and test labels alone; items of one kind of use are near."""
    ab = [(u, "ab"[t % 2], t) for u in range(4) for t in range(5)]
    cd = [(9 + u, "cd"[t % 2], t) for u in range(4) for t in range(5)]
    last = [(u, "xy"[t], 5 + t) for u in range(13) if u < 4 or u > 8 for t in range(2)]
    timelines, of, spec = case(sorted(ab + cd + last))
    found = cooccurrence.item_vectors(timelines, of, spec, 4)
    of_id = dict(zip(timelines.items["item"], timelines.items["row"].to_numpy() - 1, strict=True))
    a, c, x, y = (found[of_id[name]] for name in "acxy")
    assert np.abs([x, y]).max() < 1e-6
    assert abs(a @ c) < 1e-6 < min(np.abs(a).max(), np.abs(c).max())
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    "events",
    [
        [(u, 7, t) for u in range(3) for t in range(5)],  # one item
        [(u, t % 2, t) for u in range(3) for t in range(6)],  # two items
        [(u, t % 3, t) for u in range(3) for t in range(6)],
    ],
)
def test_tiny_catalogues_do_not_fail(events):
    timelines, of, spec = case(events)
    found = cooccurrence.item_vectors(timelines, of, spec, 4)
    assert found.shape == (spec.candidates, 4)
    assert np.isfinite(found).all()
    assert found.any() == (spec.candidates > 1)
