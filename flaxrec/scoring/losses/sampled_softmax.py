"""The softmax over the label and candidates that are drawn once per step for all labels."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from flaxrec.config import LossConfig
from flaxrec.scoring.losses.step import Step


def mean_loss(step: Step) -> jax.Array:
    """Mean over the step; draws by label share to the power config.loss.negatives_power."""
    options = step.options
    drawn, log_q = draw(options, step.draw_ends, step.key)
    own = jnp.sum(step.contexts * step.some_items(step.labels), axis=-1)
    scores = step.score(step.contexts, step.some_items(drawn))
    left_out = step.labels[:, None] == drawn
    if step.seen is not None:
        left_out |= among(step.seen, drawn)
    smoothing = options.label_smoothing
    return step.mean(cross_entropy(own, scores, log_q, left_out, smoothing))


def draw_ends(counts: np.ndarray, power: float) -> np.ndarray:
    """Where each candidate's share of all numbers of 32 bits ends: what `draw` draws by.

    Whole numbers, since a running sum in float32 leaves out one of six of ten million equal items.
    Every candidate has at least one number.

    Args:
      counts: int64 [C], the candidates' training labels, at least 1.
      power: config.loss.negatives_power.

    Returns:
      uint32 [C], strictly ascending; the last is 2^32 - 1.
    """
    logs = power * np.log(counts)
    shares = np.cumsum(np.exp(logs - logs.max()))
    place = np.arange(len(counts))
    ends = np.rint(shares / shares[-1] * 2**32).astype(np.int64) - place
    ends = np.maximum.accumulate(np.maximum(ends, 1))
    return (np.minimum(ends, 2**32 - len(counts)) + place).astype(np.uint32)


def draw(
    options: LossConfig, ends: jax.Array | None, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """A step's candidates, int32 [S] ascending, and the log of their probability, float32 [S].

    `ends` is from `draw_ends`.
    """
    assert ends is not None
    at = jnp.sort(jax.random.bits(key, (options.negatives,), jnp.uint32))
    drawn = jnp.minimum(jnp.searchsorted(ends, at, side="right"), len(ends) - 1)
    begins = jnp.where(drawn > 0, ends[drawn - 1], 0)
    widths = (ends[drawn] - begins).astype(jnp.float32)
    return drawn, jnp.log(widths) - 32 * math.log(2)


def among(seen: jax.Array, drawn: jax.Array) -> jax.Array:
    """Which of the drawn candidates, int32 [S] ascending, each label has seen.

    `seen` is int32 [B, N], candidates, or padding above all of them. Returns bool [B, S].
    """
    seen = jnp.sort(seen, axis=1)  # an item that was seen twice counts once
    seen = jnp.where(jnp.diff(seen, axis=1, prepend=-1) == 0, jnp.iinfo(jnp.int32).max, seen)
    rows, ends = jnp.arange(len(seen))[:, None], jnp.zeros((len(seen), len(drawn) + 1), jnp.int8)
    for side, change in (("left", 1), ("right", -1)):
        ends = ends.at[rows, jnp.searchsorted(drawn, seen, side=side)].add(change)
    return jnp.cumsum(ends, axis=1, dtype=jnp.int8)[:, :-1] > 0


def cross_entropy(
    own: jax.Array,
    scores: jax.Array,
    log_q: jax.Array,
    left_out: jax.Array,
    label_smoothing: float = 0.0,
) -> jax.Array:
    """Cross-entropy of the softmax over the label and the drawn candidates.

    The log of a drawn candidate's expected count is subtracted from its score. So the sum over the
    drawn ones is an unbiased estimate of the sum over all candidates but the label (importance
    sampling; Bengio & Senecal 2008, 'Adaptive importance sampling to accelerate training of a
    neural probabilistic language model').

    Args:
      own: float32 [B], each context's score of its label.
      scores: float32 [B, S], each context's score of each drawn candidate.
      log_q: float32 [S], log of the drawn candidates' probability in a draw; they are drawn
        independently.
      left_out: bool [B, S], the drawn candidates that are not the context's: its label itself, and
        items that it leaves out.
      label_smoothing: share of the target spread evenly over the candidates that are not left out;
        their mean score is estimated by the drawn ones.

    Returns:
      float32 [B].

    >>> scores = jnp.zeros((1, 2))  # one of two drawn stands for 2 of 4 others: ln(1 + 2 * 2)
    >>> log_q, left_out = jnp.log(jnp.array([0.25, 0.25])), jnp.array([[False, True]])
    >>> float(cross_entropy(jnp.zeros(1), scores, log_q, left_out))
    1.6094379425048828
    """
    weights = -log_q - jnp.log(float(len(log_q)))
    corrected = jnp.where(left_out, -jnp.inf, scores + weights)
    total = jax.nn.logsumexp(jnp.concatenate([own[:, None], corrected], axis=1), axis=1)
    if label_smoothing:
        weights = jnp.where(left_out, 0.0, jnp.exp(weights))
        others = jnp.where(left_out, 0.0, scores)
        mean = (own + jnp.sum(weights * others, axis=1)) / (1 + jnp.sum(weights, axis=1))
        own = (1 - label_smoothing) * own + label_smoothing * mean
    return total - own
