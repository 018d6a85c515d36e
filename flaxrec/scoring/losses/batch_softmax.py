"""The softmax over the batch's labels, the reference's loss."""

import jax
import jax.numpy as jnp
import optax

from flaxrec.scoring.losses.step import Step


def mean_loss(step: Step) -> jax.Array:
    """Mean over the step."""
    loss = cross_entropy(
        step.score(step.contexts, step.some_items(step.labels)),
        step.labels,
        log_q=step.log_q[step.labels] if step.options.logq_correction else None,
        duplicates_are_negatives=step.quirks.batch_duplicates_are_negatives,
        present=None if step.every_row_is_a_label else step.weights > 0,
    )
    return step.mean(loss)


def cross_entropy(
    scores: jax.Array,
    labels: jax.Array,
    *,
    log_q: jax.Array | None = None,
    duplicates_are_negatives: bool = False,
    present: jax.Array | None = None,
) -> jax.Array:
    """Cross-entropy of the softmax over the batch's own labels.

    Args:
      scores: float32 [B, B], scores[i, j] of context i and label j.
      labels: int32 [B], candidates.
      log_q: float32 [B], log of each label's probability to be drawn into a batch; subtracted from
        its column (Yi et al. 2019, 'Sampling-bias-corrected neural modeling'). None: no correction.
      duplicates_are_negatives: other contexts' equal labels are negatives, as in the reference; by
        default they are left out.
      present: bool [B]; labels that are not present are left out of the negatives. None: all are.

    Returns:
      float32 [B].

    >>> same = cross_entropy(jnp.zeros((2, 2)), jnp.array([1, 1]), duplicates_are_negatives=True)
    >>> float(same[0])  # ln 2
    0.6931471824645996
    """
    if log_q is not None:
        scores = scores - log_q[None, :]
    own = jnp.arange(scores.shape[0])
    if not duplicates_are_negatives:
        accidental = (labels[:, None] == labels[None, :]) & (own[:, None] != own[None, :])
        scores = jnp.where(accidental, -jnp.inf, scores)
    if present is not None:
        absent = ~present[None, :] & (own[:, None] != own[None, :])
        scores = jnp.where(absent, -jnp.inf, scores)
    return optax.softmax_cross_entropy_with_integer_labels(scores, own)
