"""Tied tables: the candidates' encodings are rows of the table that the context is looked up in.

A second implementation has two tables that hold the same: the gradient of the one is the sum of
theirs. Shapes: R rows of the table, C candidates (rows 1..C), D width of the encodings.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flaxrec.config import (
    Config,
    DataConfig,
    FeatureConfig,
    GroupConfig,
    ModelConfig,
    OptimizerConfig,
    SyntheticConfig,
    TrainConfig,
)
from flaxrec.data import contexts
from flaxrec.data.dataset import prepare
from flaxrec.data.spec import InputSpec, ModelSpec
from flaxrec.errors import DataError
from flaxrec.models import dual_encoder
from flaxrec.reference import weights
from flaxrec.scoring import losses
from flaxrec.training import optimizers, steps
from flaxrec.training.run import TrainState, train
from flaxrec.training.validation import validate
from flaxrec.training.workdir import Workdir
from tests.support.builders import random_model
from tests.support.shared_programs import shared_programs

ROWS, CANDIDATES, DIM, LENGTH = 9, 7, 4, 3
TABLE = "context_encoder/groups/0/features/tables/item"
LABELS = np.array([0, 6, 6, 2])
IDS = {"item": np.array([[1, 7, 3], [4, 4, 0], [0, 0, 0], [8, 2, 5]], np.int32)}


@pytest.fixture(scope="module", autouse=True)
def traced_once():
    """What one test has traced, the others need not."""
    with shared_programs():
        yield


def settings(encoder="bow", hidden=(5,), *, tied=True, dim=DIM) -> tuple[Config, ModelSpec]:
    """One group of item ids."""
    feature = FeatureConfig("item", "item.id", "INT", dim)
    group = GroupConfig([feature], encoder, (2, 1), conv_kernel_size=2, lstm_units=3)
    model = ModelConfig(
        context_length=LENGTH,
        embedding_dim=dim,
        activity_groups=[group],
        hidden_dims=hidden,
        tied_tables=tied,
    )
    spec = InputSpec("item", "item.id", "INT", LENGTH, ROWS, "item")
    return validate(Config(model=model)), ModelSpec((spec,), CANDIDATES, 1)


# ---- the model ------------------------------------------------------------------------------


def test_logits_by_hand():
    config, spec = settings(hidden=(), dim=2)
    spec = dataclasses.replace(
        spec, inputs=(dataclasses.replace(spec.inputs[0], rows=5),), candidates=3
    )
    table = np.array([[0, 0], [1, 0], [0, 2], [3, 1], [9, 9]], np.float32)
    params = {
        TABLE: table,
        "context_encoder/projection/kernel": np.array([[1, 0], [0, 10]], np.float32),
        "context_encoder/projection/bias": np.array([0, 1], np.float32),
    }
    structure = dual_encoder.structure_of(config, spec)
    ids = {"item": np.array([[1, 3, 0], [4, 2, 0]])}
    some = np.array([[2, 0], [1, 1]])

    @jax.jit
    def compute(params):
        model = structure.merge(params)
        labels = model.label_encoder
        return model.logits(ids), labels.all(), labels.some(some)

    logits, of_all, of_some = compute(params)
    # The means are (2, 0.5) and (4.5, 5.5): the encodings (2, 6) and (4.5, 56).
    expected = [[2, 2 * 6, 3 * 2 + 6], [4.5, 2 * 56, 3 * 4.5 + 56]]
    np.testing.assert_allclose(logits, expected)
    np.testing.assert_array_equal(of_all, table[1:4])
    np.testing.assert_array_equal(of_some, table[1 + some])


@pytest.mark.parametrize("tied", [True, False])
def test_label_rows_are_the_parameter_itself(tied):
    structure, params = random_model(*settings(tied=tied))
    table, first = structure.merge(params).label_rows()
    # An export knows by it that the context is looked up in the same array.
    assert table is params[TABLE if tied else "label_encoder/table"]
    assert first == (1 if tied else 0)
    np.testing.assert_array_equal(
        np.asarray(table)[first : first + CANDIDATES], structure.merge(params).label_encoder.all()
    )


@pytest.mark.parametrize("encoder", ["bow", "cnn", "lstm"])
def test_there_is_one_table(encoder):
    tied, untied = (
        dual_encoder.structure_of(*settings(encoder, tied=tied)).shapes for tied in (True, False)
    )
    assert set(untied) - set(tied) == {"label_encoder/table"}
    assert tied == {name: shape for name, shape in untied.items() if name in tied}
    sizes = [sum(int(np.prod(s.shape)) for s in shapes.values()) for shapes in (untied, tied)]
    assert sizes[0] - sizes[1] == CANDIDATES * DIM


def test_the_table_may_stand_in_any_group_beside_others():
    config, spec = settings()
    genres = FeatureConfig("genres", "item.genres", "STRING", 2)
    genres_spec = InputSpec("genres", "item.genres", "STRING", LENGTH, 6, "genres")
    config.model.activity_groups[0].features.append(FeatureConfig("stars", "event.stars", "FLOAT"))
    config.model.activity_groups.insert(0, GroupConfig([genres], "cnn"))
    stars = InputSpec("stars", "event.stars", "FLOAT", LENGTH)
    spec = dataclasses.replace(spec, inputs=(genres_spec, *spec.inputs, stars))
    structure, params = random_model(validate(config), spec)
    table, _ = structure.merge(params).label_rows()
    assert table is params["context_encoder/groups/1/features/tables/item"]


def test_merge_round_trip():
    structure, params = random_model(*settings("lstm"))
    graphdef, state = nnx.split(structure.merge(params))
    assert graphdef == structure.graphdef
    flat = {path: leaf.get_value() for path, leaf in nnx.to_flat_state(state)}
    assert {structure.paths[name] for name in params} == set(flat)


def test_padding_and_unknown_are_no_candidates():
    structure, params = random_model(*settings())
    logits = jax.jit(lambda params, ids: structure.merge(params).logits(ids))
    known = {"item": np.array([[1, 7, 0]], np.int32)}
    other = {**params, TABLE: np.array(params[TABLE])}
    other[TABLE][[0, -1]] += 100
    assert logits(params, known).shape == (1, CANDIDATES)
    np.testing.assert_array_equal(logits(other, known), logits(params, known))


def test_initial_rows():
    _, params = dual_encoder.create(*settings())
    table = np.asarray(params[TABLE])
    assert not table[[0, -1]].any()
    assert table[1:-1].all()


# ---- gradients ------------------------------------------------------------------------------


def global_loss(context, labels):
    return jnp.mean(losses.global_softmax.cross_entropy(context @ labels.T, LABELS))


def batch_loss(context, labels):
    scores = context @ labels[LABELS].T
    return jnp.mean(losses.batch_softmax.cross_entropy(scores, LABELS, log_q=jnp.arange(4.0)))


def loss_of(model, name):
    if name == "global":
        return jnp.mean(losses.global_softmax.cross_entropy(model.logits(IDS), LABELS))
    scores = model.score(model.encode_context(IDS), model.label_encoder.some(LABELS))
    return jnp.mean(losses.batch_softmax.cross_entropy(scores, LABELS, log_q=jnp.arange(4.0)))


@pytest.mark.parametrize("loss", ["global", "batch"])
def test_gradients_by_a_second_implementation(loss):
    """A bag of words in plain jnp, with a table for the context and one for the labels."""
    structure, params = random_model(*settings())
    dense = {name.removeprefix("context_encoder/"): v for name, v in params.items()}

    def plain(inputs, labels, dense):
        rows = inputs[IDS["item"]] * (IDS["item"] > 0)[..., None]
        x = rows.sum(1) / np.maximum((IDS["item"] > 0).sum(1), 1)[:, None]
        x = jnp.maximum(x @ dense["hidden/0/kernel"] + dense["hidden/0/bias"], 0)
        x = x @ dense["projection/kernel"] + dense["projection/bias"]
        return {"global": global_loss, "batch": batch_loss}[loss](x, labels)

    @jax.jit
    def compute(params, table, labels, dense):
        mine = jax.value_and_grad(lambda p: loss_of(structure.merge(p), loss))(params)
        return mine, jax.value_and_grad(plain, argnums=(0, 1, 2))(table, labels, dense)

    table = np.asarray(params[TABLE])
    (value, gradients), (expected, (of_context, of_labels, of_dense)) = jax.device_get(
        compute(params, table, table[1:-1], dense)
    )
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    both = of_context + np.pad(of_labels, ((1, 1), (0, 0)))
    assert of_context.any()
    assert of_labels.any()
    np.testing.assert_allclose(gradients[TABLE], both, atol=1e-6)
    for name in set(params) - {TABLE}:
        np.testing.assert_allclose(
            gradients[name], of_dense[name.removeprefix("context_encoder/")], atol=1e-6
        )


@functools.cache
def gradients_of(encoder):
    """Gradients of a model with one table, and of one with two that hold the same."""
    structure, params = random_model(*settings(encoder))
    untied = dual_encoder.structure_of(*settings(encoder, tied=False))
    apart = {**params, "label_encoder/table": np.asarray(params[TABLE])[1:-1]}

    @jax.jit
    def compute(*given):
        return [
            jax.grad(lambda p, structure=structure: loss_of(structure.merge(p), "global"))(params)
            for structure, params in zip((structure, untied), given, strict=True)
        ]

    return jax.device_get(compute(params, apart))


@pytest.mark.parametrize("encoder", ["cnn", "lstm"])
def test_the_gradient_is_the_sum_of_both_uses(encoder):
    tied, two = gradients_of(encoder)
    both = two[TABLE] + np.pad(two["label_encoder/table"], ((1, 1), (0, 0)))
    np.testing.assert_allclose(tied[TABLE], both, atol=1e-6)
    assert set(two) - set(tied) == {"label_encoder/table"}
    for name in set(tied) - {TABLE}:
        np.testing.assert_allclose(tied[name], two[name], atol=1e-6)


def test_padding_gets_no_gradient():
    """Nor does 'unknown' where no context has it."""
    gradient = gradients_of("lstm")[0][TABLE]
    assert not gradient[0].any()
    assert gradient[1:].any(axis=1).all()  # the last one's by IDS[3]


# ---- training -------------------------------------------------------------------------------


def run_config(**fields) -> Config:
    """Small generated data; contexts shorter than LENGTH are among them."""
    config, _ = settings()
    config.model.activity_groups[0].features[0].name = "context_item_id"
    config.data = DataConfig(synthetic=SyntheticConfig(60, 30, 12))
    config.train = TrainConfig(batch_size=32, epochs=2, log_every=5, patience=0)
    config.train.select_metric, config.evaluation.ks, config.export.top_k = "loss", (1, 5), 5
    return validate(dataclasses.replace(config, **fields))


OPTIMIZERS = {
    "adam": OptimizerConfig("adam", 0.05),
    "adamw": OptimizerConfig("adamw", 0.05, weight_decay=0.1),
    "adagrad": OptimizerConfig("adagrad", 0.3, clip_norm=0.05, clip="per_parameter"),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_padding_and_unknown_stay_zero(name):
    config = run_config(optimizer=OPTIMIZERS[name])
    config.loss.name = "batch_softmax" if name == "adagrad" else "global_softmax"
    data = prepare(config)
    structure, params = dual_encoder.create(config, data.spec)
    (table,) = (key for key in params if "/tables/" in key)
    optimizer = optimizers.make_optimizer(config.optimizer, 30)
    scan = steps.make_scan(structure, data.spec, config, optimizer)
    device = contexts.to_device(data.timelines, jax.sharding.SingleDeviceSharding(jax.devices()[0]))
    positions = np.resize(data.split.train, (30, 32))
    before = np.asarray(params[table])
    targets = steps.Targets(jnp.full(data.spec.candidates, -3.0))
    state, step_losses = scan(
        TrainState(params, optimizer.init(params)), device, targets, steps.ones_of(positions)
    )
    after = np.asarray(state.params[table])
    step_losses = np.asarray(step_losses)
    assert step_losses[-5:].mean() < step_losses[:5].mean()
    assert not after[[0, -1]].any()
    assert (after[1:-1] != before[1:-1]).any(axis=1).all()


class _Stopped(Exception):
    pass


def _stop_after_an_epoch(line: str) -> None:
    if line.startswith("epoch 1/"):
        raise _Stopped


def test_a_run_that_was_stopped_goes_on_to_the_same_result(tmp_path):
    config = run_config()
    unbroken = train(config, Workdir(tmp_path / "unbroken"), lambda line: None)
    stopped = Workdir(tmp_path / "stopped")
    with pytest.raises(_Stopped):
        train(config, stopped, _stop_after_an_epoch)
    resumed = train(config, stopped, lambda line: None)
    assert resumed.metrics == unbroken.metrics
    assert stopped.read_metrics() == Workdir(tmp_path / "unbroken").read_metrics()


def test_the_references_weights_do_not_fit():
    """It has a table for the labels: 'label_embedding'."""
    _, params = random_model(*settings(tied=False))
    tied = dual_encoder.structure_of(*settings())
    with pytest.raises(DataError, match="label_embedding is not in the model"):
        weights.from_reference(weights.to_reference(params), tied.shapes)
