"""The softmax in blocks: the plain loss and its gradients, in bounded memory."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flaxrec.scoring import blockwise

M, C, D = 23, 17, 5


def draw(seed=0, contexts=M):
    random = np.random.default_rng(seed)
    return (
        jnp.asarray(random.normal(size=(contexts, D)), jnp.float32),
        jnp.asarray(random.normal(size=(C, D)), jnp.float32),
        jnp.asarray(random.integers(0, C, contexts), jnp.int32),
        jnp.asarray(random.integers(0, 3, contexts), jnp.float32),
    )


def plain(contexts, items, labels, weights, smoothing):
    """The definition: cross-entropy with (1 - s) at the label and s / C everywhere."""
    targets = jax.nn.one_hot(labels, C) * (1 - smoothing) + smoothing / C
    losses = optax.softmax_cross_entropy(contexts @ items.T, targets)
    return jnp.sum(losses * weights) / jnp.sum(weights)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_and_gradients_are_those_of_the_definition(smoothing):
    contexts, items, labels, weights = draw()

    def ours(contexts, items, rows):
        return 3 * blockwise.mean_loss(
            contexts, items, labels, weights, rows=rows, label_smoothing=smoothing
        )

    def definition(contexts, items):
        return 3 * plain(contexts, items, labels, weights, smoothing)

    @jax.jit
    def compute(*arrays):
        of_rows = {
            rows: jax.value_and_grad(partial(ours, rows=rows), (0, 1))(*arrays)
            for rows in (1, 4, 23, 40)
        }
        return of_rows, jax.value_and_grad(definition, (0, 1))(*arrays)

    of_rows, (expected, exact) = jax.device_get(compute(contexts, items))
    assert len(of_rows) == 4
    for rows, (found, gradients) in of_rows.items():
        np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=str(rows))
        for mine, theirs in zip(gradients, exact, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6, err_msg=str(rows))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_what_is_left_out_takes_no_part(smoothing):
    """Three candidates, one of which is the label and stays, and one is none."""
    contexts, items, labels, weights = draw()
    left_out = jnp.stack([(labels + 1) % C, labels, jnp.full(M, C)], axis=1)

    def ours(contexts, items):
        return blockwise.mean_loss(
            contexts,
            items,
            labels,
            weights,
            rows=5,
            left_out=left_out,
            label_smoothing=smoothing,
        )

    def definition(contexts, items):
        scores = (contexts @ items.T).at[jnp.arange(M), left_out[:, 0]].set(-1e9)
        target = jnp.full((M, C), smoothing / (C - 1)).at[jnp.arange(M), left_out[:, 0]].set(0)
        target = target.at[jnp.arange(M), labels].add(1 - smoothing)
        losses = -jnp.sum(target * jax.nn.log_softmax(scores), axis=1)
        return jnp.sum(losses * weights) / jnp.sum(weights)

    @jax.jit
    def compute(*arrays):
        return [jax.value_and_grad(loss, (0, 1))(*arrays) for loss in (ours, definition)]

    (found, gradients), (expected, exact) = jax.device_get(compute(contexts, items))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for mine, theirs in zip(gradients, exact, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


@jax.jit
def in_blocks_of_8(contexts, items, labels, weights):
    """Loss and gradient by the contexts."""
    return jax.value_and_grad(lambda x: blockwise.mean_loss(x, items, labels, weights, rows=8))(
        contexts
    )


def test_large_scores_stay_finite():
    contexts, items, labels, weights = draw()
    loss, gradient = in_blocks_of_8(1e4 * contexts, items, labels, weights)
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()


def test_without_weight_there_is_no_loss():
    contexts, items, labels, weights = draw()
    loss, gradient = in_blocks_of_8(contexts, items, labels, 0 * weights)
    assert loss == 0
    assert not gradient.any()


def test_members_side_by_side_are_each_their_own():
    """As `research.side_by_side` maps it."""
    contexts, items, labels, weights = draw()

    @jax.jit
    def one(scale):
        return jax.grad(lambda x: blockwise.mean_loss(x, items, labels, weights, rows=4))(
            scale * contexts
        )

    both = jax.jit(jax.vmap(one))(np.array([1, 2], np.float32))
    for scale, found in zip((1.0, 2.0), both, strict=True):
        np.testing.assert_allclose(found, one(np.float32(scale)), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("contexts", "candidates", "megabytes", "rows"),
    [
        (100, 2**18, 8, 8),  # 1 MiB a context: 8 fit, 13 blocks of 8 hold 100
        (10, 2**18, 8, 5),  # two blocks of 5 instead of 8 and 2
        (3, 2**22, 8, 1),  # never less than one
        (100, 10, 8, 100),
        (100, 2**22, 0, 50),  # without a bound, two blocks of what keeps a processor busy
    ],
)
def test_blocks_fit_into_the_bound(contexts, candidates, megabytes, rows):
    assert blockwise.rows_of_block(contexts, candidates, megabytes) == rows


def test_memory_of_a_step_with_100_000_items_is_bounded():
    """2,048 contexts: their scores alone would take 781 MiB, the blocks take 32."""
    candidates, contexts = 100_000, 2048
    rows = blockwise.rows_of_block(contexts, candidates, 32)

    def loss(x, items):
        zeros, ones = jnp.zeros(contexts, jnp.int32), jnp.ones(contexts)
        return blockwise.mean_loss(x, items, zeros, ones, rows=rows)

    shapes = (
        jax.ShapeDtypeStruct((contexts, 16), jnp.float32),
        jax.ShapeDtypeStruct((candidates, 16), jnp.float32),
    )
    compiled = jax.jit(jax.grad(loss, (0, 1))).lower(*shapes).compile()
    # Three arrays of a block's scores at most, and a few of the table's size (6 MiB).
    assert compiled.memory_analysis().temp_size_in_bytes < (3 * 32 + 4 * 6.2) * 2**20
