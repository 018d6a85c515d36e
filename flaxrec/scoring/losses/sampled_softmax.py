"""The softmax over the label and candidates that are drawn once per step for all labels."""

import jax
import jax.numpy as jnp

from flaxrec.scoring.losses.step import Step


def mean_loss(step: Step) -> jax.Array:
    """Mean over the step; draws by label share to the power config.loss.negatives_power."""
    log_q = jax.nn.log_softmax(step.log_q * step.options.negatives_power)
    below = jnp.cumsum(jnp.exp(log_q))
    at = jax.random.uniform(step.key, (step.options.negatives,), maxval=below[-1])
    drawn = jnp.minimum(jnp.searchsorted(below, at, side="right"), len(log_q) - 1)
    own = jnp.sum(step.contexts * step.some_items(step.labels), axis=-1)
    scores = step.score(step.contexts, step.some_items(drawn))
    return step.mean(cross_entropy(own, scores, step.labels, drawn, log_q[drawn]))


def cross_entropy(
    own: jax.Array,
    scores: jax.Array,
    labels: jax.Array,
    drawn: jax.Array,
    log_q: jax.Array,
) -> jax.Array:
    """Cross-entropy of the softmax over the label and the drawn candidates.

    The log of a drawn candidate's expected count is subtracted from its score. So the sum over the
    drawn ones is an unbiased estimate of the sum over all candidates but the label (importance
    sampling; Bengio & Senecal 2008, 'Adaptive importance sampling to accelerate training of a
    neural probabilistic language model').

    Args:
      own: float32 [B], each context's score of its label.
      scores: float32 [B, S], each context's score of each drawn candidate.
      labels: int32 [B].
      drawn: int32 [S], candidates, drawn independently; ignored for contexts whose label they are.
      log_q: float32 [S], log of their probability in a draw.

    Returns:
      float32 [B].

    >>> scores = jnp.zeros((1, 2))  # one of two drawn stands for 2 of 4 others: ln(1 + 2 * 2)
    >>> drawn, log_q = jnp.array([1, 2]), jnp.log(jnp.array([0.25, 0.25]))
    >>> float(cross_entropy(jnp.zeros(1), scores, jnp.array([0]), drawn, log_q))
    1.6094379425048828
    """
    corrected = scores - log_q - jnp.log(float(len(drawn)))
    corrected = jnp.where(labels[:, None] == drawn[None, :], -jnp.inf, corrected)
    return jax.nn.logsumexp(jnp.concatenate([own[:, None], corrected], axis=1), axis=1) - own
