"""The model in reference mode against the reference's own numbers, and the table of weight names.

Arrays agree when |a - b| <= 1e-6 + rtol * max|b|, with rtol 1e-5 forward and 1e-4 for gradients and
weights after steps, in float32 (the contract's equality).
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import GOLDEN, random_model

from flaxrec import losses, optimizers
from flaxrec.errors import DataError
from flaxrec.export.verify import lists_agree
from flaxrec.reference import goldens, weights

ABSENT = pytest.mark.skip(reason=f"the reference's golden numbers are not at {GOLDEN}")
NAMES = goldens.names(GOLDEN) if GOLDEN.is_dir() else [pytest.param("absent", marks=ABSENT)]

FORWARD, BACKWARD = 1e-5, 1e-4
# An import of the reference's weights: the contract's tolerance of scores.
SCORES = 1e-6


class Case:
    """A golden and our model with its weights; everything that is compiled, compiled once."""

    def __init__(self, name):
        self.golden = golden = goldens.load(GOLDEN, name)
        self.structure, _ = random_model(golden.config, golden.spec)
        self.params = weights.from_reference(golden.under("w"), self.structure.shapes)
        self._gradients = jax.jit(jax.value_and_grad(self._loss, has_aux=True))
        self.ours = jax.device_get(jax.jit(self._forward)(self.params, golden.features))
        everything = np.arange(len(golden.labels))
        (_, ours), self.gradients_on_all_rows = self._loss_and_gradients(self.params, everything)
        self.ours |= jax.device_get(ours)

    def loss_and_gradients(self, params):
        """Of the global softmax on `train_rows`; the same compiled function as on all rows."""
        (loss, _), gradients = self._loss_and_gradients(params, self.golden.arrays["train_rows"])
        return loss, gradients

    def _loss_and_gradients(self, params, rows):
        share = np.zeros(len(self.golden.labels), "float32")
        share[rows] = 1 / len(rows)
        return self._gradients(params, self.golden.features, share)

    def _forward(self, params, features):
        model = self.structure.merge(params)
        context = model.encode_context(features)
        among = model.score(context, model.label_encoder.some(self.golden.labels))
        loss = losses.batch_softmax(among, self.golden.labels, duplicates_are_negatives=True)
        return {
            "groups": [group(features) for group in model.context_encoder.groups],
            "context": context,
            "batch_softmax": jnp.mean(loss),
            "serving_logits": model.logits(features, serving=True),
        }

    def _loss(self, params, features, share):
        logits = self.structure.merge(params).logits(features)
        loss = jnp.sum(share * losses.global_softmax(logits, self.golden.labels))
        return loss, {"logits": logits, "global_softmax": loss}


@pytest.fixture(scope="module", params=NAMES)
def case(request):
    with jax.default_device(jax.devices("cpu")[0]), jax.default_matmul_precision("float32"):
        yield Case(request.param)


def assert_close(ours, theirs, rtol, what=""):
    assert ours.shape == theirs.shape, what
    largest = np.abs(np.asarray(ours) - theirs).max(initial=0.0)
    assert largest <= 1e-6 + rtol * np.abs(theirs).max(initial=0.0), f"{what}: {largest}"


def assert_all_close(ours, theirs, rtol):
    """Both by the reference's weight names."""
    assert set(ours) == set(theirs)
    for name in theirs:
        assert_close(ours[name], theirs[name], rtol, name)


def norms(tree):
    return {name: float(np.linalg.norm(value)) for name, value in tree.items()}


# ---- stage by stage -------------------------------------------------------------------------


def test_weights_go_both_ways(case):
    theirs = case.golden.under("w")
    back = weights.to_reference(case.params)
    assert set(back) == set(theirs) == set(case.golden.notes["weight_order"])
    for name in theirs:
        np.testing.assert_array_equal(back[name], theirs[name], err_msg=name)


def test_group_outputs(case):
    theirs = case.golden.under("group_out")
    assert len(case.ours["groups"]) == len(theirs)
    for i, ours in enumerate(case.ours["groups"]):
        assert_close(ours, theirs[str(i)], FORWARD, f"group {i}")


def test_context_embedding(case):
    assert_close(case.ours["context"], case.golden.arrays["context_embedding"], FORWARD)


def test_logits(case):
    assert_close(case.ours["logits"], case.golden.arrays["logits"], FORWARD)


@pytest.mark.parametrize("loss", ["global_softmax", "batch_softmax"])
def test_losses(case, loss):
    # Over all 16 rows: the labels hold duplicates, and the padding's label 0.
    assert_close(case.ours[loss], case.golden.arrays[f"loss/{loss}"], FORWARD)


def test_gradients(case):
    loss, gradients = case.loss_and_gradients(case.params)
    assert_close(loss, case.golden.arrays["train/loss"], FORWARD)
    assert_all_close(weights.to_reference(gradients), case.golden.under("g"), BACKWARD)


def test_gradients_are_finite_where_the_references_are_not(case):
    # Rows 14 and 15 are padding only: the reference's bag of words divides 0 by 0 going back.
    for name, gradient in case.gradients_on_all_rows.items():
        assert np.isfinite(gradient).all(), name


def test_serving_form(case):
    assert_close(case.ours["serving_logits"], case.ours["logits"], FORWARD)


@pytest.mark.parametrize("form", ["logits", "serving_logits"])
def test_top_k(case, form):
    ids = case.golden.arrays["serve/top_prediction_ids"]
    scores = case.golden.arrays["serve/top_prediction_scores"]
    for row, logits in enumerate(case.ours[form]):
        top_k = case.golden.config.export.top_k
        assert lists_agree(ids[row], scores[row], logits, top_k, SCORES), row


def test_adagrad_steps(case):
    arrays, notes = case.golden.arrays, case.golden.notes["optimizer"]
    clipped = [name for name, n in case.golden.under("gnorm_used_for_clip").items() if n >= 1]
    if clipped:
        pytest.skip(f"the reference clipped the gradients of {', '.join(clipped)}")
    optimizer = optimizers.make_optimizer(case.golden.config.optimizer, steps=5)

    @jax.jit
    def apply(params, state, gradients):
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    params, state = case.params, jax.jit(optimizer.init)(case.params)
    losses_of_steps = []
    for step in range(1, 6):
        loss, gradients = case.loss_and_gradients(params)
        assert max(norms(gradients).values()) < notes["clipnorm"]
        params, state = apply(params, state, gradients)
        losses_of_steps.append(loss)
        if step in (1, 5):
            theirs = case.golden.under(f"w_after{step}")
            assert_all_close(weights.to_reference(params), theirs, BACKWARD)
    losses_of_steps.append(case.loss_and_gradients(params)[0])
    assert_close(np.stack(losses_of_steps), arrays["train/step_losses"], FORWARD)


# ---- the table of weight names (needs no goldens) -------------------------------------------


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
    rule = weights.Rule("group{i}/conv{j}/kernel", "groups/{i}/kernels/{j}", (2, 0, 1))
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


def test_a_folder_without_goldens(tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path} holds no golden"):
        goldens.names(tmp_path)
