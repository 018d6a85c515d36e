"""What a loss is computed from.

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
      weights: float32 [M], 0 for what is no label.
      every_row_is_a_label: no weight is 0.
      seen: int32 [M, S], candidates that the context holds, C or more where there are fewer; None
        unless config.loss.exclude_seen is on.
      log_q: float32 [C], log of each candidate's share of the training labels.
      key: the step's own randomness.
      all_items: gives the encodings of all candidates, [C, D].
      some_items: the encodings of int [...] candidates, [..., D].
      score: contexts [..., D] and items [N, D] -> scores float32 [..., N].
      dtype: of the model's computation.
      quirks: of the reference.
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

    def mean(self, loss: jax.Array) -> jax.Array:
        """Weighted mean of a loss a label, float32 [M] -> []; 0 if all weights are."""
        # A label without weight may have a loss that is not finite.
        loss = jnp.where(self.weights > 0, loss, 0.0)
        return jnp.sum(loss * self.weights) / jnp.maximum(jnp.sum(self.weights), 1e-9)
