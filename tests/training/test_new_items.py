"""The bias of new items: chosen so that lists show as many as are wanted, kept and exported."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxrec.config import FeatureConfig
from flaxrec.config.presets import example_network
from flaxrec.data.dataset import prepare
from flaxrec.errors import ExportError
from flaxrec.exporting import serving
from flaxrec.training import new_items, transitions
from flaxrec.training.run import train
from flaxrec.training.run_assets import RunAssets
from flaxrec.training.steps import Job, initial_params
from flaxrec.training.workdir import Workdir


def config_of(**model):
    config = example_network("bow", "id,tied,smoke")
    config.split.protocol, config.split.cold_fraction = "cold_items", 0.2
    config.data.synthetic.users, config.data.synthetic.items = 60, 40
    config.model.label_features = [FeatureConfig("genre", "item.genres", "STRING")]
    config.model.item_bias = True
    for name, value in model.items():
        setattr(config.model, name, value)
    config.train.batch_size, config.export.enabled, config.train.epochs = 32, False, 1
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir, said = Workdir(tmp_path_factory.mktemp("new_items") / "run"), []
    config = config_of()
    train(config, workdir, said.append, baselines=False)
    return workdir, said


def test_the_run_keeps_it(run):
    workdir, said = run
    noted = RunAssets(workdir.assets).new_items()
    assert f"new items: a bias of {noted['bias']:.2f}, chosen on validation labels" in said
    assert noted["cold_items"] == 8
    model = serving.load(workdir)
    assert model.new_bias == noted["bias"]
    biases = np.asarray(model.params[new_items.BIAS])
    assert (biases[32:] == np.float32(noted["bias"])).all()
    assert len(np.unique(biases[:32])) > 20


@pytest.mark.parametrize(
    "change", [{"run": "x"}, {"cold_items": 40}, {"bias": 1e7}, {"bias": None}]
)
def test_it_is_no_other_runs(run, change):
    file = run[0].assets / "new_items.json"
    before = file.read_text(encoding="utf-8")
    file.write_text(json.dumps(json.loads(before) | change), encoding="utf-8", newline="\n")
    with pytest.raises(ExportError, match=r"new_items\.json"):
        serving.load(run[0])
    file.write_text(before, encoding="utf-8", newline="\n")


def test_a_run_of_old_has_none(run):
    file = run[0].assets / "new_items.json"
    before = file.read_text(encoding="utf-8")
    file.unlink()
    model = serving.load(run[0])
    assert model.new_bias is None
    assert not np.asarray(model.params[new_items.BIAS])[32:].any()
    file.write_text(before, encoding="utf-8", newline="\n")


def test_lists_show_as_many_as_are_wanted(monkeypatch):
    """Whatever the others' scores are: here all vectors of items with an id are far longer."""
    config = config_of(transitions=4)
    dataset = prepare(config)
    job = Job(config, dataset)
    params = initial_params(config, dataset)
    tower = {name: params[name] for name in new_items.tower_shapes(config, dataset)}
    params = job.whole(job.mesh.replicate(params))
    name = next(n for n in params if n.endswith("tables/context_item_id"))
    params[name] = 5 * params[name]
    shares = []
    level = new_items._level

    def noted(share, wanted):
        found = level(share, wanted)
        shares.append((share(found), wanted, share(found - 3), share(found + 3)))
        return found

    monkeypatch.setattr(new_items, "_level", noted)
    head = job.evaluator.head
    value = new_items.bias(config, dataset, job.structure, job.evaluator, params, tower)
    assert job.evaluator.head is head
    assert value is not None
    ((share, wanted, less, more),) = shares
    stands_in = (dataset.timelines.item[dataset.split.validation] - 1) % 10 == 5
    assert wanted == pytest.approx(stands_in.mean())
    assert share == pytest.approx(wanted, abs=0.02)
    assert less < wanted < more


@pytest.mark.parametrize("some", [True, False])
def test_without_labels_of_theirs_nothing_is_chosen(some):
    config = config_of()
    dataset = prepare(config)
    labels = dataset.split.validation
    others = labels[(dataset.timelines.item[labels] - 1) % 10 != 5]
    assert 0 < len(others) < len(labels)
    split = dataclasses.replace(dataset.split, validation=others if some else others[:0])
    nothing = dataclasses.replace(dataset, split=split)
    assert new_items.bias(config, nothing, None, None, {}, {}) is None


def test_what_was_counted_of_them_is_left_out():
    config = config_of(transitions=4)
    dataset = prepare(config)
    head = jax.device_put(transitions.head_of(config, dataset))
    stand_in = np.arange(dataset.spec.candidates) % 10 == 5
    found = new_items._without_followers(head, stand_in, 1, jax.device_put)
    levels, followers = np.asarray(found.levels), np.asarray(found.followers)
    assert not levels[stand_in[followers]].any()
    assert not levels[1 + np.flatnonzero(stand_in)].any()
    others = ~stand_in[followers]
    others[1 + np.flatnonzero(stand_in)] = False
    np.testing.assert_array_equal(levels[others], np.asarray(head.levels)[others])
    assert levels.any()


@pytest.mark.parametrize("at", [-70.0, -20.0, -1.5, 0.0, 0.3, 1.0, 7.9, 63.0, 1e9])
def test_a_level_is_found(at):
    found = new_items._level(lambda x: 1 / (1 + np.exp(-np.clip(x - at, -50, 50))), 0.5)
    assert found == pytest.approx(np.clip(at, -64, 64), abs=0.05)


def test_the_bias_of_some_rows():
    params = {new_items.BIAS: jnp.arange(3.0), "other": jnp.ones(2)}
    found = new_items.with_bias(params, np.array([False, True, True]), 7)
    assert found[new_items.BIAS].tolist() == [0, 7, 7]
    assert found["other"] is params["other"]
