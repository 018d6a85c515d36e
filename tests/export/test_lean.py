"""The form written for conversion computes what the training form does, for any input."""

import jax
import numpy as np
import pytest
from helpers import random_model
from models.test_dual_encoder import AGE, ALL_ENCODERS, GENRE, ITEM, STARS, group, settings

from flaxrec.export import lean

GROUPS = {
    "bow": [group("bow", ITEM)],
    "cnn": [group("cnn", ITEM)],
    "lstm": [group("lstm", ITEM)],
    "several features": [group(e, ITEM, GENRE, STARS) for e in ("bow", "cnn", "lstm")],
    "all encoders": list(ALL_ENCODERS),
}


def any_inputs(spec, count=40) -> dict[str, np.ndarray]:
    """Ids of all rows and beyond, padding anywhere; the first context is padding only."""
    random = np.random.default_rng(5)
    inputs = {}
    for i in spec.inputs:
        if i.type == "FLOAT":
            inputs[i.name] = random.normal(size=(count, i.length)).astype("float32")
        else:
            ids = random.integers(-3, i.rows + 4, (count, i.length), np.int32)
            inputs[i.name] = np.where(random.random(ids.shape) < 0.3, 0, ids).astype("int32")
        inputs[i.name][0] = 0
    return inputs


def both(config, spec):
    structure, params = random_model(config, spec)
    params = {name: 3 * value for name, value in params.items()}
    inputs = any_inputs(spec)
    training = jax.jit(lambda p: structure.merge(p).logits(inputs))(params)
    return jax.jit(lambda p: lean.logits(structure, p, inputs, spec))(params), training


@pytest.mark.parametrize("reference", [False, True], ids=["default", "reference"])
@pytest.mark.parametrize("length", [1, 4, 5])
@pytest.mark.parametrize("name", GROUPS)
def test_is_the_training_form(name, length, reference):
    ours, training = both(*settings(*GROUPS[name], length=length, reference_mode=reference))
    assert np.ptp(training, axis=0).max() > 0.1  # contexts differ
    np.testing.assert_allclose(ours, training, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("reference", [False, True], ids=["default", "reference"])
def test_global_groups_of_one_value(reference):
    config = settings(
        group("lstm", ITEM),
        global_groups=[group("bow", AGE), group("bow", STARS)],
        reference_mode=reference,
    )
    ours, training = both(*config)
    np.testing.assert_allclose(ours, training, rtol=1e-5, atol=1e-5)


def test_a_long_hole_leaves_the_state_of_an_lstm():
    """Closed gates are closed to the bit, however many of them there are."""
    config, spec = settings(group("lstm", ITEM), length=60)
    structure, params = random_model(config, spec)
    whole = np.zeros((2, 60), np.int32)
    whole[0, :2] = whole[1, [0, 59]] = [3, 7]
    ours = lean.logits(structure, params, {"item": whole}, spec)
    np.testing.assert_array_equal(ours[0], ours[1])


def test_without_padding_only_row_0_of_the_inputs_tables_changes():
    config, spec = settings(group("bow", ITEM, GENRE), reference_mode=True)
    _, params = random_model(config, spec)
    changed = lean.without_padding(params)
    for name, value in params.items():
        if "/tables/" in name:
            assert not changed[name][0].any()
            assert value[0].any()
            np.testing.assert_array_equal(changed[name][1:], value[1:])
        else:
            np.testing.assert_array_equal(changed[name], value)
