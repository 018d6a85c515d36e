"""The softmax over all candidates, a block of contexts at a time: loss and gradients in one pass.

The logits of a step with many labels and items fit neither into memory nor into a cache. Here each
block of logits is computed, turned into losses and gradients, and discarded. The gradients equal
those of the plain loss: they are linear in the gradient of the result, so the forward pass computes
them.
Shapes: M contexts, C candidates, D width, R contexts of a block.
"""

import functools

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

_MIB = 2**20
# On a CPU a block fits into the caches; an accelerator needs larger ones to stay busy.
_MEGABYTES = {"cpu": 4}
_MEGABYTES_OF_OTHERS = 256
_FEWEST = 64  # smaller products do not use a processor fully


def rows_of_block(contexts: int, candidates: int, megabytes: int) -> int:
    """R, for equal blocks whose float32 logits fit into so many MiB.

    With `megabytes` 0 the limit is chosen for the default device, but never below 64 contexts.
    """
    suits = _MEGABYTES.get(jax.default_backend(), _MEGABYTES_OF_OTHERS)
    most = (megabytes or suits) * _MIB // (4 * candidates)
    most = max(most, 1 if megabytes else _FEWEST)
    blocks = -(-contexts // most)
    return -(-contexts // blocks)


def mean_loss(
    contexts: jax.Array,
    items: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    *,
    rows: int,
    left_out: jax.Array | None = None,
    label_smoothing: float = 0.0,
    teacher: tuple[jax.Array, jax.Array] | None = None,
    teacher_share: float = 0.0,
    dtype: DTypeLike = "float32",
) -> jax.Array:
    """Weighted mean of the cross-entropy of the softmax over all candidates.

    Args:
      contexts: [M, D] encodings.
      items: [C, D] encodings.
      labels: int32 [M], candidates.
      weights: float32 [M], not negative.
      rows: R, contexts per block.
      left_out: int32 [M, S], candidates left out of a context's softmax, except its label; values
        of C or more are ignored.
      label_smoothing: share of the target spread evenly over the candidates.
      teacher: another model's encodings, contexts [M, T] and items [C, T], which get no gradient.
      teacher_share: share of the target that is the softmax of the teacher's scores.
      dtype: of the products; they are summed in float32.

    Returns:
      float32 []; 0 if all weights are 0.

    >>> x, weights = jnp.zeros((3, 2)), jnp.array([1.0, 1.0, 0.0])
    >>> float(mean_loss(x, jnp.ones((4, 2)), jnp.array([2, 0, 1]), weights, rows=2))  # ln 4
    1.3862943649291992
    """
    missing = -len(contexts) % rows
    if left_out is None:
        left_out = jnp.zeros((len(contexts), 0), jnp.int32)
    told, told_items = teacher or (jnp.zeros((len(contexts), 0)), jnp.zeros((len(items), 0)))
    if missing:
        contexts, labels, left_out, weights, told = (
            jnp.pad(x, [(0, missing), *[(0, 0)] * (x.ndim - 1)])
            for x in (contexts, labels, left_out, weights, told)
        )
    weights = weights / jnp.maximum(jnp.sum(weights), 1e-9)
    return _sum(
        contexts.astype(dtype),
        items.astype(dtype),
        (labels, left_out, weights, told.astype(dtype)),
        told_items.astype(dtype),
        rows,
        (label_smoothing, teacher_share if teacher else 0.0),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _sum(contexts, items, what, told_items, rows, shares):
    """Sum of weights * losses, differentiable by `contexts` and `items`."""
    return _with_gradients(contexts, items, what, told_items, rows, shares)[0]


def _with_gradients(contexts, items, what, told_items, rows, shares):
    count, (smoothing, taught) = len(items), shares

    def in_blocks(x: jax.Array) -> jax.Array:
        # Context i goes to block i mod the number of blocks, so that contexts split over devices
        # along M are split evenly within every block.
        return jnp.swapaxes(x.reshape(rows, len(x) // rows, *x.shape[1:]), 0, 1)

    def block(carried, now):
        total, items_gradient = carried
        x, (label, left_out, weight, told) = now
        scores = jnp.matmul(x, items.T, preferred_element_type=jnp.float32)
        own = jnp.take_along_axis(scores, label[:, None], axis=1)[:, 0]
        is_label = jnp.arange(count) == label[:, None]
        counted, candidates = jnp.ones((), bool), jnp.full((1, 1), count)
        if left_out.shape[1]:
            places = jnp.arange(rows)[:, None], left_out
            out = jnp.zeros((rows, count), bool).at[places].set(True, mode="drop")
            counted = ~out | is_label
            scores = jnp.where(counted, scores, -jnp.inf)
            candidates = jnp.sum(counted, axis=1, keepdims=True)
        largest = jnp.max(scores, axis=1, keepdims=True)
        exponentials = jnp.exp(scores - largest)
        sums = jnp.sum(exponentials, axis=1, keepdims=True)
        of_label = 1 - smoothing - taught
        loss = jnp.log(sums[:, 0]) + largest[:, 0] - of_label * own
        target = jnp.where(is_label, of_label, 0.0)
        if smoothing:
            everywhere = jnp.where(counted, smoothing / candidates, 0.0)
            loss -= jnp.sum(jnp.where(counted, scores, 0.0) * everywhere, axis=1)
            target += everywhere
        if taught:
            thought = jnp.matmul(told, told_items.T, preferred_element_type=jnp.float32)
            thought = taught * jax.nn.softmax(jnp.where(counted, thought, -jnp.inf), axis=1)
            loss -= jnp.sum(jnp.where(counted, scores, 0.0) * thought, axis=1)
            target += thought
        gradient = (exponentials / sums - target) * weight[:, None]
        gradient = gradient.astype(items.dtype)
        items_gradient += jnp.matmul(gradient.T, x, preferred_element_type=jnp.float32)
        x_gradient = jnp.matmul(gradient, items, preferred_element_type=jnp.float32)
        return (total + jnp.sum(weight * loss), items_gradient), x_gradient.astype(x.dtype)

    zero = jnp.zeros(()), jnp.zeros(items.shape)
    blocks = in_blocks(contexts), jax.tree.map(in_blocks, what)
    (total, items_gradient), gradients = jax.lax.scan(block, zero, blocks)
    contexts_gradient = jnp.swapaxes(gradients, 0, 1).reshape(contexts.shape)
    return total, (contexts_gradient, items_gradient.astype(items.dtype))


def _backward(rows, shares, gradients, outer):
    del rows, shares
    contexts, items = (outer.astype(g.dtype) * g for g in gradients)
    return contexts, items, None, None


_sum.defvjp(_with_gradients, _backward)
