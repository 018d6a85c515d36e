"""The table of weight names, both ways, and checkpoints of the reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxrec.errors import DataError
from flaxrec.models import dual_encoder
from flaxrec.reference import goldens, weights
from tests.support.places import GOLDENS

SHAPES = {
    "context_encoder/groups/0/features/tables/item": (7, 2),
    "context_encoder/groups/0/encoder/kernels/0": (3, 2, 4),
    "context_encoder/groups/0/encoder/biases/0": (4,),
    "context_encoder/groups/11/encoder/kernel": (2, 20),
    "context_encoder/groups/11/encoder/recurrent_kernel": (5, 20),
    "context_encoder/groups/11/encoder/bias": (20,),
    "context_encoder/hidden/1/kernel": (9, 6),
    "context_encoder/hidden/1/bias": (6,),
    "context_encoder/projection/kernel": (6, 3),
    "context_encoder/projection/bias": (3,),
    "label_encoder/table": (8, 3),
}
REFERENCE_NAMES = [
    "group0/embedding/item",
    "group0/conv0/kernel",
    "group0/conv0/bias",
    "group11/lstm/kernel",
    "group11/lstm/recurrent_kernel",
    "group11/lstm/bias",
    "dense/hidden_layer1/kernel",
    "dense/hidden_layer1/bias",
    "dense/proj_layer/kernel",
    "dense/proj_layer/bias",
    "label_embedding",
]


@pytest.fixture
def params():
    random = np.random.default_rng(0)
    return {name: random.normal(size=shape).astype("float32") for name, shape in SHAPES.items()}


@pytest.fixture
def shapes():
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in SHAPES.items()}


def test_every_rule_both_ways(params, shapes):
    theirs = weights.to_reference(params)
    assert list(theirs) == REFERENCE_NAMES
    ours = weights.from_reference(theirs, shapes)
    assert list(ours) == list(params)
    for name in params:
        np.testing.assert_array_equal(ours[name], params[name])


def test_a_rule_with_a_permutation(monkeypatch):
    rule = weights.Rule("group{i}/conv{j}/kernel", "groups/{i}/kernels/{j}", (2, 0, 1), "conv{j}")
    monkeypatch.setattr(weights, "RULES", (rule,))
    theirs = {"group3/conv1/kernel": np.arange(24.0).reshape(2, 3, 4)}
    shapes = {"groups/3/kernels/1": jax.ShapeDtypeStruct((4, 2, 3), jnp.float32)}
    ours = weights.from_reference(theirs, shapes)["groups/3/kernels/1"]
    assert ours[3, 1, 2] == theirs["group3/conv1/kernel"][1, 2, 3]
    back = weights.to_reference({"groups/3/kernels/1": ours})
    np.testing.assert_array_equal(back["group3/conv1/kernel"], theirs["group3/conv1/kernel"])


def test_all_mismatches_in_one_error(params, shapes):
    theirs = weights.to_reference(params)
    del theirs["group0/conv0/bias"]
    theirs["dense/proj_layer/kernel"] = theirs["dense/proj_layer/kernel"].T
    theirs["label_embedding"] = theirs["label_embedding"][0]
    theirs["group0/embedding/genre"] = np.zeros((5, 2))
    theirs["bias"] = np.zeros(1)
    with pytest.raises(DataError) as error:
        weights.from_reference(theirs, shapes)
    for part in (
        "group0/conv0/bias [4] is missing",
        "dense/proj_layer/kernel is [3, 6], but the model has [6, 3]",
        "label_embedding is [3], but the model has [8, 3]",
        "group0/embedding/genre is not in the model",
        "bias is not in the model",
    ):
        assert part in str(error.value)


def test_parameters_that_the_reference_does_not_have(params, shapes):
    params["context_encoder/temperature"] = params["label_encoder/bias"] = np.zeros(1)
    with pytest.raises(DataError, match=r"context_encoder/temperature.*label_encoder/bias"):
        weights.to_reference(params)
    further = dict.fromkeys(params, jax.ShapeDtypeStruct((1,), jnp.float32)) | shapes
    with pytest.raises(DataError, match=r"temperature.*group0/conv0/bias \[4\] is missing"):
        weights.from_reference({}, further)


@pytest.mark.parametrize("name", goldens.names(GOLDENS))
def test_the_weights_of_a_golden_go_both_ways(name):
    golden = goldens.load(GOLDENS, name)
    structure = dual_encoder.structure_of(golden.config, golden.spec)
    theirs = golden.under("w")
    back = weights.to_reference(weights.from_reference(theirs, structure.shapes))
    assert set(back) == set(theirs) == set(golden.notes["weight_order"])
    for name in theirs:
        np.testing.assert_array_equal(back[name], theirs[name], err_msg=name)


# ---- checkpoints ----------------------------------------------------------------------------


def test_names_in_a_checkpoint():
    assert weights.checkpoint_name("group3/conv1/bias", 2) == (
        "model/_context_encoder/_feature_group_encoders/3/_conv1d_layers/1/bias"
    )
    # The projection is the last of the dense layers.
    dense = "model/_context_encoder/_hidden_layers"
    assert weights.checkpoint_name("dense/hidden_layer0/kernel", 2) == f"{dense}/0/kernel"
    assert weights.checkpoint_name("dense/proj_layer/kernel", 2) == f"{dense}/2/kernel"
    with pytest.raises(DataError, match="has no weight dense/other"):
        weights.checkpoint_name("dense/other", 2)


def write_checkpoint(tf, prefix, values):
    """A TensorFlow checkpoint of variables by path ('a/b/0/c'), with a step besides."""
    root = tf.train.Checkpoint(step=tf.Variable(3))
    for path, value in values.items():
        node, *rest = root, *path.split("/")
        for part in rest[:-1]:
            if not hasattr(node, part):
                setattr(node, part, tf.Module())
            node = getattr(node, part)
        setattr(node, rest[-1], tf.Variable(value))
    return root.write(str(prefix))


def test_a_checkpoint_is_read(tmp_path):
    tf = pytest.importorskip("tensorflow")
    golden = goldens.load(GOLDENS, "string_features")
    structure = dual_encoder.structure_of(golden.config, golden.spec)
    theirs = golden.under("w")
    hidden = len(golden.config.model.hidden_dims)
    named = {weights.checkpoint_name(name, hidden): value for name, value in theirs.items()}
    recorded = [name for name, _ in golden.notes["checkpoint_variables"]]
    assert all(name + weights.CHECKPOINT_SUFFIX in recorded for name in named)

    prefix = write_checkpoint(tf, tmp_path / "ckpt-7", named)
    found = weights.to_reference(weights.read_checkpoint(prefix, structure.shapes))
    assert set(found) == set(theirs)
    for name in theirs:
        np.testing.assert_array_equal(found[name], theirs[name], err_msg=name)

    kernel = weights.checkpoint_name("dense/proj_layer/kernel", hidden)
    changed = {name: value for name, value in named.items() if name != kernel}
    changed["model/_context_encoder/_gate"] = np.zeros(2, "float32")
    prefix = write_checkpoint(tf, tmp_path / "ckpt-8", changed)
    with pytest.raises(DataError) as error:
        weights.read_checkpoint(prefix, structure.shapes)
    assert "dense/proj_layer/kernel [16, 8] is missing" in str(error.value)
    assert "_gate is not in the model" in str(error.value)


def test_no_checkpoint(tmp_path):
    pytest.importorskip("tensorflow")
    with pytest.raises(DataError, match=r"ckpt-1 cannot be read as a TensorFlow checkpoint.*index"):
        weights.read_checkpoint(tmp_path / "ckpt-1", {})
