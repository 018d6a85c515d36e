"""Tables of what was measured for each test label."""

import jax
import numpy as np
import polars as pl

from flaxrec.data import contexts, splits
from flaxrec.data.dataset import Dataset
from flaxrec.data.spec import ModelSpec
from flaxrec.devices import Mesh
from flaxrec.evaluation import per_label
from flaxrec.evaluation.evaluator import Evaluator, PerLabel, earlier_events
from tests.support.builders import make_config, make_timelines, random_model

# Two users; items by count: 10 (3 times), 20 (2), 30 (2), 40 (1).
WATCHED = [
    *[("ann", item, time) for time, item in enumerate((10, 20, 30, 10))],
    *[("bob", item, time) for time, item in enumerate((10, 20, 30, 40))],
]


def make_dataset() -> Dataset:
    timelines = make_timelines(WATCHED)
    split = splits.Split(
        train=np.array([1, 3, 5], np.int32),
        validation=np.array([], np.int32),
        test=np.array([2, 6, 7], np.int32),
        protocol="random",
    )
    return Dataset(timelines, split, ModelSpec(timelines.inputs, 4, 1))


def test_labels_by_hand():
    dataset = make_dataset()
    ranks = PerLabel(
        dataset.split.test,
        np.array([0.0, 1.5, 3.0], np.float32),
        np.array([0.0, 0.5, 0.0], np.float32),
        loss=None,
        top=np.array([[3, 0], [1, 2], [0, 1]]),
    )
    table = per_label.labels(ranks, dataset)
    assert table["user"].to_list() == ["ann", "bob", "bob"]
    assert table["history"].to_list() == [2, 2, 3]
    assert table["item"].to_list() == [30, 30, 40]
    assert table["item_count"].to_list() == [0, 0, 0]  # trained on 20, 10 and 20
    assert table["later_in_training"].to_list() == [1, 0, 0]
    assert table["since"].to_list() == [1.0, 1.0, 1.0]
    assert table["loss"].to_list() == [None] * 3
    assert table["rank"].to_list() == [0.0, 1.5, 3.0]
    assert table["top"].to_list() == [[3, 0], [1, 2], [0, 1]]
    assert table.schema["top"] == pl.List(pl.Int32)


def test_items_by_hand():
    table = per_label.items(make_dataset())
    assert dict(zip(table["item"], table["count"], strict=True)) == {10: 1, 20: 2, 30: 0, 40: 0}
    assert table["candidate"].to_list() == [0, 1, 2, 3]


def test_lists_leave_out_what_was_seen_and_nothing_else():
    dataset = make_dataset()
    config = make_config()
    structure, params = random_model(config, dataset.spec)
    mesh = Mesh(1, 1)
    device = contexts.to_device(dataset.timelines, mesh.replicated)
    evaluator = Evaluator(
        structure, dataset.spec, config, device, earlier_events(dataset.timelines), mesh
    )
    found = evaluator(params, dataset.split.test, top=9).top  # of four candidates
    assert found.shape == (3, 4)
    rows = dataset.timelines.item
    gather = contexts.gatherer(config, dataset.spec.inputs)
    compute = jax.jit(lambda p, *where: structure.merge(p).logits(gather(*where)))
    every = jax.device_get(compute(params, device, dataset.split.test))
    for label, logits, listed in zip(dataset.split.test, every, found, strict=True):
        start = dataset.timelines.offsets[dataset.timelines.user[label]]
        seen = set((rows[start:label] - 1).tolist())
        unseen = [c for c in np.argsort(-logits, kind="stable").tolist() if c not in seen]
        assert listed[: len(unseen)].tolist() == unseen
        assert set(listed[len(unseen) :].tolist()) == seen
