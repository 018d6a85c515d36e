"""What a step learns from, read from small timelines that are written out here."""

import dataclasses
from types import SimpleNamespace
from typing import NamedTuple

import jax
import numpy as np
import pytest

from flaxrec.data import contexts
from flaxrec.data.spec import ModelSpec
from flaxrec.devices import Mesh
from flaxrec.errors import ConfigError
from flaxrec.training import objective
from flaxrec.training.validation import validate
from tests.support.builders import ITEM_ID, make_config, make_timelines

# Items 10 to 50 by count: 10 five times, 20 four, 30 three, 40 twice, 50 once: candidates 0 to 4.
WATCHED = [(1, i, t) for t, i in enumerate([10, 20, 10, 30, 40])]
WATCHED += [(2, i, t) for t, i in enumerate([20, 10, 30, 10, 20])]
WATCHED += [(3, i, t) for t, i in enumerate([40, 30, 20, 10, 50])]
NONE = 5  # as many as there are candidates: none


class Read(NamedTuple):
    """What the tests look at of `objective.Examples`."""

    labels: np.ndarray
    weights: np.ndarray
    seen: np.ndarray | None


def read(positions, counts=None, held_out=(), weight=None, **options):
    """Examples of contexts of three before events, one or several labels each."""
    config = make_config(ITEM_ID, context_length=3)
    config.train.labels_per_context = options.pop("labels", 1)
    for name, value in options.items():
        setattr(config.loss, name, value)
    timelines = dataclasses.replace(make_timelines(WATCHED, ITEM_ID), weight=weight)
    inputs = tuple(type(i)(**{**vars(i), "length": 3}) for i in timelines.inputs)
    reader = objective.reader(config, ModelSpec(inputs, 5, 1), {})
    device = contexts.to_device(timelines, Mesh(1, 1).replicated)
    mask = np.ones(15, bool)
    mask[list(held_out)] = False
    counts = np.array([1] * len(positions) if counts is None else counts, np.int32)

    @jax.jit
    def compute(*arguments):
        examples = reader(*arguments)
        return examples.labels, examples.weights, examples.seen

    found = compute(device, mask, np.array(positions, np.int32), counts)
    return Read(*jax.device_get(found))


def test_a_label_alone():
    examples = read([2, 6])
    assert examples.labels.tolist() == [0, 0]
    assert examples.weights.tolist() == [1, 1]
    assert examples.seen is None


def test_seen_is_what_the_context_holds():
    """Before event 4 of user 1: 30, 10, 20 (10 at 0 is out of sight); before 6: only 20."""
    examples = read([4, 6], exclude_seen=True)
    assert [sorted(row) for row in examples.seen.tolist()] == [[0, 1, 2], [1, NONE, NONE]]


def test_seen_of_prefixes_is_what_comes_before_each():
    examples = read([4], counts=[3], labels=3, exclude_seen=True)
    assert examples.labels.tolist() == [0, 2, 3]  # events 2 (begin + 1), 3 and 4
    assert [sorted(row) for row in examples.seen.tolist()] == [
        [0, 1, NONE],
        [0, 0, 1],
        [0, 1, 2],
    ]


def test_only_training_labels_of_the_window_count():
    """Event 3 is held out; of the second context only the last label is the window's own."""
    examples = read([4, 8], counts=[3, 1], labels=3, held_out=[3])
    assert examples.labels.tolist() == [0, 2, 3, 0, 2, 0]
    assert examples.weights.tolist() == [1, 0, 1, 0, 0, 1]


def test_labels_have_the_weights_of_their_events():
    weight = np.arange(15, dtype=np.float32) / 4
    assert read([2, 6], weight=weight).weights.tolist() == [0.5, 1.5]
    examples = read([4, 8], counts=[3, 1], labels=3, held_out=[3], weight=weight)
    assert examples.weights.tolist() == [0.5, 0, 1, 0, 0, 2]


def test_cold_items_are_no_candidates_of_a_loss(monkeypatch):
    """They are the last ones, and have no share of the training labels; nor does a teacher tell."""
    steps = []

    def noted(step):
        steps.append(step)
        return np.zeros(())

    monkeypatch.setattr(objective, "known_losses", lambda config: {"global_softmax": noted})
    items = np.arange(10.0).reshape(5, 2)
    encoder = SimpleNamespace(all=lambda: items, some=None)
    model = SimpleNamespace(label_encoder=encoder, score=None, dtype=None)
    examples = objective.Examples({}, None, np.zeros(1), np.ones(1), None)
    log_q, told = np.zeros(3), (np.zeros((1, 4)), np.ones((5, 4)))
    loss = objective.loss(make_config(ITEM_ID))
    loss(model, np.zeros((1, 2)), examples, log_q, None, told)
    np.testing.assert_array_equal(steps[0].all_items(), items[:3])
    assert steps[0].teacher[1].shape == (3, 4)


@pytest.mark.parametrize("option", ["exclude_seen", "label_smoothing"])
def test_what_needs_all_scores_is_refused_without_them(option):
    config = make_config(ITEM_ID)
    config.loss.name = "batch_softmax"
    setattr(config.loss, option, 0.5 if option == "label_smoothing" else 1)
    with pytest.raises(ConfigError, match=f"config.loss.{option} is"):
        validate(config)


def test_records_do_not_tell_what_was_seen():
    config = make_config(ITEM_ID, source="tfrecord", path="train*", min_timeline_length=1)
    config.data.records.test = "test*"
    config.train.select_metric = "recall@10"
    validate(config)
    config.loss.exclude_seen = True
    with pytest.raises(ConfigError, match="exclude_seen is True, but records"):
        validate(config)
