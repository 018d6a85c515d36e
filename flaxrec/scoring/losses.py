"""Losses: pure functions from scores and labels to one loss an example.

Leading axes are free ([B], or [B, L] with every label of a window); the mean is taken outside.
"""

import jax
import jax.numpy as jnp
import optax


def global_softmax(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy of the softmax over all candidates.

    Args:
      logits: float32 [..., C].
      labels: int32 [...], the label's candidate.

    Returns:
      float32 [...].

    >>> float(global_softmax(jnp.zeros((1, 4)), jnp.array([2]))[0])  # ln 4
    1.3862943649291992
    """
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def batch_softmax(
    scores: jax.Array,
    labels: jax.Array,
    *,
    log_q: jax.Array | None = None,
    duplicates_are_negatives: bool = False,
    present: jax.Array | None = None,
) -> jax.Array:
    """Cross-entropy of the softmax over the batch's own labels.

    Args:
      scores: float32 [B, B], scores[i, j] of example i's context with example j's label.
      labels: int32 [B], the labels' candidates.
      log_q: float32 [B], log of the probability with which each label is drawn into a batch; it
        is subtracted from its column (Yi et al. 2019, 'Sampling-bias-corrected neural modeling').
        None: no correction.
      duplicates_are_negatives: keep other examples' equal labels among the negatives, as the
        reference does; by default they are left out.
      present: bool [B]; labels that are not are nobody's negatives. None: all are.

    Returns:
      float32 [B].

    >>> same = batch_softmax(jnp.zeros((2, 2)), jnp.array([1, 1]), duplicates_are_negatives=True)
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


def sampled_softmax(
    own: jax.Array,
    scores: jax.Array,
    labels: jax.Array,
    drawn: jax.Array,
    log_q: jax.Array,
) -> jax.Array:
    """Cross-entropy of the softmax over the label and some candidates that were drawn for all.

    Each drawn candidate stands for as many as its probability says: its score is less by the log
    of its expected count, so that the sum over the drawn ones is an unbiased estimate of the sum
    over all candidates but the label (importance sampling; Bengio & Senecal 2008, 'Adaptive
    importance sampling to accelerate training of a neural probabilistic language model').

    Args:
      own: float32 [B], each context's score of its label.
      scores: float32 [B, S], each context's score of each drawn candidate.
      labels: int32 [B].
      drawn: int32 [S], candidates, drawn independently. Where one is a context's label it does not
        count for that context.
      log_q: float32 [S], log of the probability of each of them in a draw.

    Returns:
      float32 [B].

    >>> scores = jnp.zeros((1, 2))  # one of two drawn stands for 2 of 4 others: ln(1 + 2 * 2)
    >>> drawn, log_q = jnp.array([1, 2]), jnp.log(jnp.array([0.25, 0.25]))
    >>> float(sampled_softmax(jnp.zeros(1), scores, jnp.array([0]), drawn, log_q))
    1.6094379425048828
    """
    corrected = scores - log_q - jnp.log(float(len(drawn)))
    corrected = jnp.where(labels[:, None] == drawn[None, :], -jnp.inf, corrected)
    return jax.nn.logsumexp(jnp.concatenate([own[:, None], corrected], axis=1), axis=1) - own
