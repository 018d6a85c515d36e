"""The input of a loss.

Shapes: M labels of a step, D width of the encodings, C candidates, S items before a label.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from flaxrec.config import LossConfig
from flaxrec.config.quirks import Quirks

Loss = Callable[["Step"], jax.Array]


@dataclasses.dataclass(frozen=True)
class Step:
    """Encoded contexts, the labels after them, and the candidates.

    Attributes:
      options: config.loss.
      contexts: [M, D].
      labels: int32 [M], candidates.
      weights: float32 [M], 0 where there is no label.
      every_row_is_a_label: no weight is 0.
      seen: int32 [M, S], candidates of the context's items, padded with C or more; None unless
        config.loss.exclude_seen is on.
      log_q: float32 [C], log of each candidate's share of the training labels.
      key: the step's random key.
      all_items: the encodings of all candidates, [C, D].
      some_items: the encodings of int [...] candidates, [..., D].
      score: contexts [..., D] and items [N, D] -> scores float32 [..., N].
      dtype: of the model's computation.
      quirks: config.quirks.
      teacher: a teacher's encodings, contexts [M, T] and candidates [C, T]; None: there is none.
      teacher_share: its share of the target.
      draw_ends: uint32 [C], what negatives are drawn by, see `sampled_softmax.draw_ends`.
    """

    options: LossConfig
    contexts: jax.Array
    labels: jax.Array
    weights: jax.Array
    every_row_is_a_label: bool
    seen: jax.Array | None
    log_q: jax.Array
    key: jax.Array
    all_items: Callable[[], jax.Array]
    some_items: Callable[[jax.Array], jax.Array]
    score: Callable[[jax.Array, jax.Array], jax.Array]
    dtype: jnp.dtype
    quirks: Quirks
    teacher: tuple[jax.Array, jax.Array] | None = None
    teacher_share: float = 0.0
    draw_ends: jax.Array | None = None

    def mean(self, loss: jax.Array) -> jax.Array:
        """Weighted mean of the labels' losses, float32 [M] -> []; 0 if all weights are 0."""
        # Losses with weight 0 may be infinite or NaN.
        loss = jnp.where(self.weights > 0, loss, 0.0)
        return jnp.sum(loss * self.weights) / jnp.maximum(jnp.sum(self.weights), 1e-9)
