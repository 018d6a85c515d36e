"""The whole model: dense layers, scores, quirks, padding, precision, parameters.

Shapes: B batch, L context length, C candidates, D width of the encodings.
"""

import jax
import numpy as np
import pytest
from flax import nnx

from flaxrec.config import FeatureConfig
from flaxrec.models import dual_encoder
from flaxrec.scoring.losses.global_softmax import cross_entropy as global_softmax
from tests.support.builders import random_model
from tests.support.grouped_models import (
    AGE,
    ALL_ENCODERS,
    CANDIDATES,
    GENRE,
    ITEM,
    ROWS,
    STARS,
    WIDTH,
    contexts,
    group,
    settings,
)

MODES = pytest.mark.parametrize("reference", [False, True], ids=["default", "reference"])


# ---- dense layers and scores ----------------------------------------------------------------


@MODES
@pytest.mark.parametrize("hidden", [(), (8, 7)])
def test_hidden_layers_projection_and_scores(hidden, reference):
    by_user = group("bow", AGE)
    config, spec = settings(
        group("cnn", GENRE),
        group("bow", ITEM, STARS),
        global_groups=[by_user],
        hidden=hidden,
        reference_mode=reference,
    )
    structure, params = random_model(config, spec)
    features = contexts(spec, 4, 2, 1)

    @jax.jit
    def run(params):
        model = structure.merge(params)
        encodings = [g(features) for g in model.context_encoder.groups]
        return encodings, model.encode_context(features), model.logits(features)

    encodings, context, logits = jax.device_get(run(params))
    # Global groups come first, whatever their encoder and name.
    assert [e.shape[1] for e in encodings] == [AGE.embedding_dim, 1 * WIDTH, 4 + 1]
    x = np.concatenate(encodings, axis=1)
    weights = {name.removeprefix("context_encoder/"): np.asarray(v) for name, v in params.items()}
    for layer in range(len(hidden)):
        x = x @ weights[f"hidden/{layer}/kernel"] + weights[f"hidden/{layer}/bias"]
        x = np.maximum(x, 0)
    x = x @ weights["projection/kernel"] + weights["projection/bias"]
    assert (x < 0).any()  # linear by default; the reference has a ReLU here as well
    x = np.maximum(x, 0) if reference else x
    np.testing.assert_allclose(context, x, atol=1e-5)
    np.testing.assert_allclose(logits, x @ weights["label_encoder/table"].T, atol=1e-5)
    assert logits.dtype == np.float32


def test_scores_with_any_leading_axes():
    structure, params = random_model(*settings(group("bow", ITEM)))
    random = np.random.default_rng(0)
    context, labels = random.normal(size=(2, 3, WIDTH)), random.normal(size=(5, WIDTH))
    context, labels = np.float32(context), np.float32(labels)
    score = jax.jit(lambda params, *of: structure.merge(params).score(*of))
    scores = np.asarray(score(params, context, labels))
    assert scores.shape == (2, 3, 5)
    np.testing.assert_allclose(scores[1, 2], labels @ context[1, 2], atol=1e-5)


def test_label_encoder():
    structure, params = random_model(*settings(group("bow", ITEM)))
    table = np.asarray(params["label_encoder/table"])
    labels = np.array([[0, 9, 3], [3, 3, 1]])

    @jax.jit
    def encodings(params):
        encoder = structure.merge(params).label_encoder
        return encoder.all(), encoder.some(labels)

    of_all, some = encodings(params)
    np.testing.assert_array_equal(of_all, table)
    np.testing.assert_array_equal(some, table[labels])


def test_the_same_input_in_two_groups_has_two_tables():
    wide = FeatureConfig("item", "item.id", "INT", 9)
    config, spec = settings(group("bow", ITEM), group("bow", wide))
    structure, params = random_model(config, spec)
    tables = [f"context_encoder/groups/{i}/features/tables/item" for i in (0, 1)]
    assert [params[name].shape for name in tables] == [(12, 4), (12, 9)]
    ids = {"item": np.array([[5, 0, 0, 0]], np.int32)}
    encode = jax.jit(
        lambda params: [g(ids) for g in structure.merge(params).context_encoder.groups]
    )
    for name, encoding in zip(tables, encode(params), strict=True):
        np.testing.assert_array_equal(np.asarray(encoding)[0], np.asarray(params[name])[5])


# ---- padding and ids outside the tables -----------------------------------------------------


def test_padding_does_not_change_a_context():
    groups = (group("bow", ITEM, STARS), group("lstm", GENRE))
    short, long = settings(*groups, length=2), settings(*groups, length=3)
    structure, params = random_model(*short)
    padded_structure, _ = random_model(*long)
    features = contexts(short[1], 2, 1)
    padded = {name: np.pad(values, ((0, 0), (0, 1))) for name, values in features.items()}

    @jax.jit
    def both(params):
        of_padded = padded_structure.merge(params).logits(padded)
        return of_padded, structure.merge(params).logits(features)

    of_padded, logits = both(params)
    np.testing.assert_allclose(of_padded, logits, atol=1e-5)


@pytest.fixture(scope="module", params=[False, True], ids=["default", "reference"])
def padded(request):
    """(reference mode, logits, encodings by group, gradients) of [no activity, two of three]."""
    config, spec = settings(
        *ALL_ENCODERS,
        global_groups=[group("bow", AGE)],
        length=3,
        reference_mode=request.param,
    )
    structure, params = random_model(config, spec)
    features = contexts(spec, 0, 2)

    def loss(params):
        model = structure.merge(params)
        logits = model.logits(features)
        encodings = [g(features) for g in model.context_encoder.groups]
        return global_softmax(logits, np.array([3, 1])).mean(), (logits, encodings)

    gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (_, (logits, encodings)), gradients = jax.device_get(gradient(params))
    return request.param, logits, encodings, gradients


def test_context_of_padding_alone(padded):
    reference, logits, encodings, gradients = padded
    assert np.isfinite(logits).all()
    for name, values in gradients.items():
        assert np.isfinite(values).all(), name
    # Without quirks nothing but the dense layers' biases is left of a context without activities.
    assert [bool(e[0].any()) for e in encodings] == [False, False, reference, reference]
    assert all(e[1].any() for e in encodings)


def test_padding_rows_get_no_gradient(padded):
    *_, gradients = padded
    tables = {name: g for name, g in gradients.items() if "/tables/" in name}
    assert len(tables) == 4
    for name, gradient in tables.items():
        np.testing.assert_array_equal(gradient[0], np.zeros(gradient.shape[1]), err_msg=name)
        assert gradient[1:].any(), name


def test_ids_outside_the_tables():
    config, spec = settings(group("bow", ITEM), group("cnn", GENRE))
    structure, params = random_model(config, spec)
    compiled = jax.jit(lambda features: structure.merge(params).logits(features))

    def logits(features):
        return np.asarray(compiled(features))

    features = contexts(spec, 4)
    for outside, row_of in ((-3, lambda rows: 0), (4000, lambda rows: rows - 1)):
        strange, known = ({n: v.copy() for n, v in features.items()} for _ in range(2))
        for name in features:
            strange[name][0, 1] = outside
            known[name][0, 1] = row_of(ROWS[name])
        np.testing.assert_array_equal(logits(strange), logits(known))
        assert (logits(strange) != logits(features)).any()


@MODES
def test_numbers_alone_are_averaged_or_summed(reference):
    config, spec = settings(group("bow", STARS), reference_mode=reference)
    structure, params = random_model(config, spec)
    stars = np.array([[2, 4, 5, 1]], np.float32)
    (encoder,) = structure.merge(params).context_encoder.groups
    expected = 2 + 4 + 5 + 1 if reference else (2 + 4 + 5 + 1) / 4
    assert jax.jit(encoder)({"stars": stars}).tolist() == [[expected]]


# ---- precision ------------------------------------------------------------------------------


def test_bfloat16_logits():
    logits = {}
    for dtype in ("float32", "bfloat16"):
        config, spec = settings(*ALL_ENCODERS[:2], compute_dtype=dtype)
        structure, params = random_model(config, spec)
        assert {value.dtype for value in params.values()} == {np.dtype("float32")}
        found = jax.jit(structure.merge(params).logits)(contexts(spec, 4, 2, 0))
        logits[dtype] = np.asarray(found)
        assert logits[dtype].dtype == np.float32
    difference = np.abs(logits["bfloat16"] - logits["float32"]).max()
    # Seven roundings to 8 bits lie between the tables and the logits.
    assert 0 < difference < 7 / 256 * np.abs(logits["float32"]).max()


# ---- parameters -----------------------------------------------------------------------------


def test_parameter_names():
    config, spec = settings(*ALL_ENCODERS, global_groups=[group("bow", AGE)], hidden=(8, 7))
    structure, params = random_model(config, spec)
    names = [
        "context_encoder/groups/0/features/tables/age",
        "context_encoder/groups/1/features/tables/item",
        "context_encoder/groups/2/encoder/biases/0",
        "context_encoder/groups/2/encoder/biases/1",
        "context_encoder/groups/2/encoder/kernels/0",
        "context_encoder/groups/2/encoder/kernels/1",
        "context_encoder/groups/2/features/tables/genre",
        "context_encoder/groups/3/encoder/bias",
        "context_encoder/groups/3/encoder/kernel",
        "context_encoder/groups/3/encoder/recurrent_kernel",
        "context_encoder/groups/3/features/tables/item",
        "context_encoder/hidden/0/bias",
        "context_encoder/hidden/0/kernel",
        "context_encoder/hidden/1/bias",
        "context_encoder/hidden/1/kernel",
        "context_encoder/projection/bias",
        "context_encoder/projection/kernel",
        "label_encoder/table",
    ]
    assert sorted(params) == names
    shapes = {name: s.shape for name, s in structure.shapes.items()}
    assert shapes == {name: value.shape for name, value in params.items()}
    assert shapes["context_encoder/groups/2/encoder/kernels/1"] == (2, 2 * WIDTH, 1 * WIDTH)
    assert shapes["context_encoder/hidden/0/kernel"] == (2 + (4 + 1) + WIDTH + 5, 8)
    assert shapes["label_encoder/table"] == (CANDIDATES, WIDTH)


def test_merge_round_trip():
    structure, params = random_model(*settings(*ALL_ENCODERS))
    backwards = dict(reversed(params.items()))  # the order of a dict of parameters is free
    graphdef, state = nnx.split(structure.merge(backwards))
    assert graphdef == structure.graphdef
    flat = {path: leaf.get_value() for path, leaf in nnx.to_flat_state(state)}
    assert set(flat) == set(structure.paths.values())
    for name, path in structure.paths.items():
        np.testing.assert_array_equal(flat[path], params[name])


ITEM_TABLE = "context_encoder/groups/0/features/tables/item"


@pytest.fixture(scope="module")
def initial():
    """Initial parameters by (seed, reference mode), of one small model; seconds to compile."""

    def create(seed, reference):
        item = FeatureConfig("item", "item.id", "INT", 40)
        config, spec = settings(group("bow", item), hidden=(), seed=seed, reference_mode=reference)
        _, params = dual_encoder.create(config, spec)
        return {name: np.asarray(value) for name, value in params.items()}

    return {key: create(*key) for key in ((0, False), (1, False), (0, True))}


def test_the_seed_decides_the_initial_parameters(initial):
    first, again, other = initial[0, False], initial[0, True], initial[1, False]
    for name, values in first.items():
        # The same seed again: the modes differ in the special rows alone.
        inside = slice(1, -1) if name == ITEM_TABLE else slice(None)
        np.testing.assert_array_equal(values[inside], again[name][inside], err_msg=name)
        if not name.endswith("bias"):
            assert (values[inside] != other[name][inside]).all(), name


def test_initial_padding_and_unknown_rows(initial):
    default, reference = initial[0, False], initial[0, True]
    assert not default[ITEM_TABLE][[0, -1]].any()
    assert default[ITEM_TABLE][1:-1].all()
    assert reference[ITEM_TABLE].all()
    # Every row of the label table is a candidate: none is special.
    assert default["label_encoder/table"].all()


def test_initial_dense_layer(initial):
    kernel = initial[0, False]["context_encoder/projection/kernel"]
    limit = np.sqrt(6 / (40 + WIDTH))  # Glorot's uniform distribution
    assert kernel.shape == (40, WIDTH)
    assert 0.95 * limit < np.abs(kernel).max() <= limit
    assert not initial[0, False]["context_encoder/projection/bias"].any()
