"""Quirks of the reference that no test of the core pins; docs/migration.md lists all of them."""

import dataclasses
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import flaxrec
from flaxrec.config import Config
from flaxrec.config.quirks import Quirks
from flaxrec.data import dataset, splits, timelines
from flaxrec.evaluation.evaluator import PerLabel
from flaxrec.models.features import clamp
from flaxrec.reference import input_config
from flaxrec.scoring import metrics
from tests.support.builders import ITEM_ID, make_config, make_interactions

FLAGS = [field.name for field in dataclasses.fields(Quirks)]


# ---- the switch -----------------------------------------------------------------------------


def test_reference_mode_is_every_flag_and_the_default_none():
    assert all(dataclasses.astuple(Config(reference_mode=True).quirks))
    assert not any(dataclasses.astuple(Config().quirks))
    assert Quirks() == Config().quirks


@pytest.mark.parametrize("flag", FLAGS)
def test_the_code_asks_for_the_flag(flag):
    package = Path(flaxrec.__file__).parent
    asking = re.compile(rf"[qQ]uirks(\.of\([\w.]+\))?\.{flag}\b")
    files = [path for path in package.rglob("*.py") if path.name != "quirks.py"]
    assert any(asking.search(path.read_text()) for path in files)


# ---- training -------------------------------------------------------------------------------


def test_what_the_launcher_trains_with():
    """The softmax over all items, whatever the notebook says of in-batch softmax."""
    label = {"feature_name": "label", "feature_type": "INT", "vocab_size": 9, "embedding_dim": 4}
    film = label | {"feature_name": "context_movie_id", "feature_length": 5}
    inputs = {"activity_feature_groups": [{"features": [film]}], "label_feature": label}
    config = input_config.training_config(inputs)
    assert config.loss.name == "global_softmax"
    assert (config.optimizer.name, config.optimizer.schedule) == ("adagrad", "constant")
    assert config.train.patience == 0
    # Of a proto that says nothing else, K is the launcher's 5, not the 10 of the class beneath it.
    assert config.export.top_k == 5


def test_every_label_is_a_candidate(monkeypatch):
    """No label's loss is silently 0 because its row is beyond the table."""
    events = [(user, item, t) for user in (1, 2) for t, item in enumerate([12, 5, 12, 5])]
    interactions = make_interactions(events, {"item": [5, 9]})  # 12 is not in the catalogue
    monkeypatch.setattr(dataset.prepared, "interactions", lambda *given: interactions)
    for reference_mode in (False, True):
        config = make_config(ITEM_ID)
        config.reference_mode = reference_mode
        config.evaluation.ks, config.export.top_k = (1,), 1
        data = dataset.prepare(config)
        labels = data.timelines.item - data.spec.first_candidate
        assert labels.min() >= 0
        assert labels.max() < data.spec.candidates


# ---- metrics --------------------------------------------------------------------------------


def test_a_cut_off_above_the_batch_is_no_error():
    """All labels of a batch of 3 are among its first 5; the reference stops."""
    scores = jnp.asarray(np.random.default_rng(0).normal(size=(3, 9)), jnp.float32)
    rank = np.asarray(metrics.batch_rank(scores, jnp.array([4, 0, 7])))
    everything = np.zeros(3, np.float32)
    means = PerLabel(np.arange(3), everything, everything, everything, rank).means((1, 3, 5))
    assert means["batch_recall@3"] == means["batch_recall@5"] == 1.0


# ---- data -----------------------------------------------------------------------------------


def test_a_random_split_leaks_and_says_its_name():
    """Most test labels stand in contexts of training labels; leave-one-out's never do."""
    items = np.random.default_rng(0).integers(1, 90, (40, 20)).tolist()
    events = [(user, item, t) for user, row in enumerate(items) for t, item in enumerate(row)]
    config = make_config(ITEM_ID)
    offsets = timelines.build(make_interactions(events), config).offsets

    def share_in_training_contexts(split):
        end = offsets[np.searchsorted(offsets, split.test, side="right")]
        # A label after it of the same user, at most L = 3 later, has it in its context.
        later = [set(range(t + 1, min(t + 4, e))) for t, e in zip(split.test, end, strict=True)]
        return np.mean([bool(positions & set(split.train.tolist())) for positions in later])

    assert share_in_training_contexts(splits.random(offsets, 0.0, 0.1, 0)) > 0.8
    assert share_in_training_contexts(splits.leave_one_out(offsets)) == 0.0


def test_ids_that_are_not_in_the_table_stop_nothing():
    """The reference raises or reads past its table; here a negative id pads, others are unknown."""
    assert clamp(jnp.array([-1, 0, 9, 10, 3953]), 10).tolist() == [0, 0, 9, 9, 9]
