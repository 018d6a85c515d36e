"""The softmax over all candidates, the default loss."""

import jax
import optax

from flaxrec.scoring import blockwise
from flaxrec.scoring.losses.step import Step


def mean_loss(step: Step) -> jax.Array:
    """Mean over the step, computed in blocks of contexts."""
    items = step.all_items()
    rows = blockwise.rows_of_block(len(step.contexts), len(items), step.options.max_megabytes)
    return blockwise.mean_loss(
        step.contexts,
        items,
        step.labels,
        step.weights,
        rows=rows,
        left_out=step.seen,
        label_smoothing=step.options.label_smoothing,
        teacher=step.teacher,
        teacher_share=step.teacher_share,
        dtype=step.dtype,
    )


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy of the softmax over all candidates.

    Args:
      logits: float32 [..., C].
      labels: int32 [...], candidates.

    Returns:
      float32 [...].

    >>> float(cross_entropy(jnp.zeros((1, 4)), jnp.array([2]))[0])  # ln 4
    1.3862943649291992
    """
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)
