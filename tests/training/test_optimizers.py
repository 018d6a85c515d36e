"""Optimisers against updates by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flaxrec.config import OptimizerConfig
from flaxrec.training.optimizers import learning_rate, make_optimizer


def weights_after(config, weights, gradients, steps=100):
    """Weights after one update for each gradient."""
    optimizer = make_optimizer(config, steps)
    params = {"w": jnp.asarray(weights, jnp.float32)}
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    for gradient in gradients:
        updates, state = update({"w": jnp.asarray(gradient, jnp.float32)}, state, params)
        params = optax.apply_updates(params, updates)
    return np.asarray(params["w"])


# ---- updates --------------------------------------------------------------------------------


def test_adagrad_by_hand():
    """The rule: acc += g^2; w -= rate * g / sqrt(acc + eps), with the reference's 0.1 and 1e-7."""
    config = OptimizerConfig(name="adagrad", learning_rate=0.5)
    found = weights_after(config, [1.0, -2.0, 3.0], [[2.0, -1.0, 0.0], [-3.0, -1.0, 0.0]])
    first = 1 - 0.5 * 2 / math.sqrt(0.1 + 4 + 1e-7)
    second = first + 0.5 * 3 / math.sqrt(0.1 + 4 + 9 + 1e-7)
    other = -2 + 0.5 * 1 / math.sqrt(0.1 + 1 + 1e-7) + 0.5 * 1 / math.sqrt(0.1 + 2 + 1e-7)
    np.testing.assert_allclose(found, [second, other, 3.0], rtol=1e-6)


def test_adagrad_takes_accumulator_and_epsilon_from_the_config():
    config = OptimizerConfig(
        name="adagrad", learning_rate=1.0, initial_accumulator=0.0, epsilon=0.03
    )
    found = weights_after(config, [0.0], [[0.1]])
    np.testing.assert_allclose(found, [-0.1 / math.sqrt(0.1**2 + 0.03)], rtol=1e-6)


def test_adam_by_hand():
    """Two steps with beta1 0.9, beta2 0.999 and both moments corrected for their start at 0."""
    config = OptimizerConfig(name="adam", learning_rate=0.01, epsilon=1e-3)
    weight, m, v = 1.0, 0.0, 0.0
    for step, gradient in enumerate([0.2, -0.5], start=1):
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        m_hat, v_hat = m / (1 - 0.9**step), v / (1 - 0.999**step)
        weight -= 0.01 * m_hat / (math.sqrt(v_hat) + 1e-3)
    np.testing.assert_allclose(weights_after(config, [1.0], [[0.2], [-0.5]]), [weight], rtol=1e-6)


def test_adamw_decays_matrices_without_a_gradient():
    config = OptimizerConfig(name="adamw", learning_rate=0.1, weight_decay=0.5)
    found = weights_after(config, [[2.0]], [[[0.0]], [[0.0]]])
    np.testing.assert_allclose(found, [[2.0 * (1 - 0.1 * 0.5) ** 2]], rtol=1e-6)


def test_adamw_leaves_biases_and_scales_as_they_are():
    config = OptimizerConfig(name="adamw", learning_rate=0.1, weight_decay=0.5)
    np.testing.assert_array_equal(weights_after(config, [2.0], [[0.0]]), [2.0])


def test_beta2_is_the_decay_of_the_squares():
    """Two steps by hand; the first one moves by the learning rate, whatever the gradient."""
    config = OptimizerConfig(name="adam", learning_rate=0.01, epsilon=1e-8, beta2=0.5)
    v = (0.5 * (0.5 * 0.2**2) + 0.5 * 0.4**2) / (1 - 0.5**2)
    m = (0.9 * 0.1 * 0.2 + 0.1 * 0.4) / (1 - 0.9**2)
    found = weights_after(config, [1.0], [[0.2], [0.4]])
    np.testing.assert_allclose(found, [1 - 0.01 - 0.01 * m / math.sqrt(v)], rtol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adagrad"])
def test_only_adamw_decays_weights(name):
    config = OptimizerConfig(name=name, learning_rate=0.1, weight_decay=0.5)
    np.testing.assert_array_equal(weights_after(config, [2.0], [[0.0]]), [2.0])


def test_the_schedule_drives_the_update():
    """Linear over two steps: rates 0.5 and 0.25."""
    config = OptimizerConfig(name="adagrad", learning_rate=0.5, schedule="linear")
    found = weights_after(config, [0.0], [[1.0], [1.0]], steps=2)
    expected = -0.5 / math.sqrt(1.1 + 1e-7) - 0.25 / math.sqrt(2.1 + 1e-7)
    np.testing.assert_allclose(found, [expected], rtol=1e-6)


# ---- clipping -------------------------------------------------------------------------------


def clipped_step(clip_norm, clip="global", row_norms=None, **gradients):
    """The gradient that adagrad saw, from its accumulator's growth, by parameter."""
    config = OptimizerConfig(
        name="adagrad",
        learning_rate=1.0,
        clip_norm=clip_norm,
        clip=clip,
        initial_accumulator=1e-12,
    )
    optimizer = make_optimizer(config, 10)
    grads = {name: jnp.asarray(value) for name, value in gradients.items()}
    update = jax.jit(optimizer.update)
    _, state = update(grads, optimizer.init(grads), grads, row_norms=row_norms or {})
    return {
        name: np.sqrt(np.asarray(value))
        for name, value in optax.tree_utils.tree_get(state, "sum_of_squares").items()
    }


def test_clipping_is_by_the_global_norm():
    """The norm over both parameters is sqrt(9 + 16 + 144) = 13."""
    seen = clipped_step(6.5, a=jnp.array([3.0, 4.0]), b=jnp.array([12.0]))
    np.testing.assert_allclose(seen["a"], [3.0 * 6.5 / 13, 4.0 * 6.5 / 13], rtol=1e-5)
    np.testing.assert_allclose(seen["b"], [12.0 * 6.5 / 13], rtol=1e-5)


@pytest.mark.parametrize("clip_norm", [13.5, 0.0])
def test_a_small_gradient_is_not_clipped(clip_norm):
    """And a clip_norm of 0 clips nothing."""
    seen = clipped_step(clip_norm, a=jnp.array([3.0, 4.0]), b=jnp.array([12.0]))
    np.testing.assert_allclose(seen["a"], [3.0, 4.0], rtol=1e-5)
    np.testing.assert_allclose(seen["b"], [12.0], rtol=1e-5)


def test_clipping_parameter_by_parameter():
    """Norms 5, 12 and 0 against 6.5: only the second is scaled; a gradient of zero stays zero."""
    gradients = {"a": [3.0, 4.0], "b": [12.0], "c": [0.0]}
    seen = clipped_step(6.5, "per_parameter", **gradients)
    np.testing.assert_allclose(seen["a"], [3.0, 4.0], rtol=1e-5)
    np.testing.assert_allclose(seen["b"], [6.5], rtol=1e-5)
    np.testing.assert_allclose(seen["c"], [0.0], atol=1e-5)


def test_row_norms_stand_for_the_gradients_own():
    """The gradient 12 of b is taken for one of 26, the 5 of a for one of 1."""
    seen = clipped_step(
        6.5, "per_parameter", {"a": 1.0, "b": 26.0}, a=[3.0, 4.0], b=[12.0], c=[13.0]
    )
    np.testing.assert_allclose(seen["a"], [3.0, 4.0], rtol=1e-5)
    np.testing.assert_allclose(seen["b"], [12.0 * 6.5 / 26], rtol=1e-5)
    np.testing.assert_allclose(seen["c"], [6.5], rtol=1e-5)


@pytest.mark.parametrize("name", ["adagrad", "adam", "adamw"])
@pytest.mark.parametrize("clip", ["global", "per_parameter"])
@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_every_optimizer_takes_row_norms(name, clip, clip_norm):
    optimizer = make_optimizer(OptimizerConfig(name=name, clip=clip, clip_norm=clip_norm), 10)
    params = {"w": jnp.ones(2)}
    updates, _ = optimizer.update(params, optimizer.init(params), params, row_norms={})
    assert np.isfinite(updates["w"]).all()


# ---- schedules ------------------------------------------------------------------------------


def rates(steps_asked, **fields):
    schedule = learning_rate(OptimizerConfig(learning_rate=0.8, **fields), 100)
    return [float(schedule(step)) for step in steps_asked]


def test_constant():
    assert rates([0, 50, 100, 1000]) == pytest.approx([0.8] * 4)


def test_linear_falls_to_zero():
    found = rates([0, 25, 50, 100, 200], schedule="linear")
    assert found == pytest.approx([0.8, 0.6, 0.4, 0.0, 0.0])


def test_cosine_falls_to_zero():
    quarter = 0.8 * (1 + math.cos(math.pi / 4)) / 2
    found = rates([0, 25, 50, 100, 200], schedule="cosine")
    assert found == pytest.approx([0.8, quarter, 0.4, 0.0, 0.0], abs=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_warmup_rises_from_zero_to_the_peak(schedule):
    found = rates([0, 5, 10, 20], schedule=schedule, warmup_steps=20)
    assert found == pytest.approx([0.0, 0.2, 0.4, 0.8])


def test_what_follows_the_warmup_still_ends_with_the_run():
    assert rates([60, 100], schedule="linear", warmup_steps=20) == pytest.approx([0.4, 0.0])
    assert rates([60, 100], schedule="cosine", warmup_steps=20) == pytest.approx(
        [0.4, 0.0], abs=1e-6
    )
    assert rates([60, 100], warmup_steps=20) == pytest.approx([0.8, 0.8])


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_a_warmup_longer_than_the_run_fills_it(schedule):
    found = rates([0, 50, 99], schedule=schedule, warmup_steps=1000)
    assert found == pytest.approx([0.0, 0.4, 0.8 * 99 / 100])
