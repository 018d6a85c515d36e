"""A head beside the encoders: adds to the logits what counts say follows the latest items.

Each item has a few best followers from a table of normalised transitions (`data.transitions`), with
weights in 8 bits. Shapes: R rows of the items' vocabulary, n followers of an item, C candidates,
B contexts, L context length.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from flaxrec.data.transitions import CONTEXT

LEVELS = 127  # of a follower's weight


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TransitionsHead:
    """The followers and how much they count.

    Attributes:
      followers: int32 [R, n], candidates, by vocabulary row; candidate 0 where there is none.
      levels: float32 [R, n], whole numbers from 0 to `LEVELS`, 0 where there is none.
      scale: float32 [], the value in the table of one level.
      weight: float32 [], of the table's values in the logits.
      input: name of the input with the context's items.
      candidates: C.
      power: of the weights 1, 1/2, ... 1/10 of the latest items, the latest first.
    """

    followers: jax.Array
    levels: jax.Array
    scale: jax.Array
    weight: jax.Array
    input: str = dataclasses.field(metadata={"static": True})
    candidates: int = dataclasses.field(metadata={"static": True})
    power: float = dataclasses.field(default=1.0, metadata={"static": True})

    def __call__(self, features: dict[str, jax.Array]) -> jax.Array:
        """What is added to the logits: [B, length] by input name -> float32 [B, C]."""
        ids = jnp.clip(features[self.input], 0, len(self.followers) - 1)
        numbers = jnp.arange(1, ids.shape[1] + 1)
        count = jnp.max(jnp.minimum(ids, 1) * numbers, axis=1, keepdims=True)
        ago = jnp.arange(min(CONTEXT, ids.shape[1]))
        latest = jnp.take_along_axis(ids, jnp.maximum(count - 1 - ago, 0), axis=1)
        levels = self.levels[jnp.where(ago < count, latest, 0)]  # row 0 has no followers
        values = levels * (self.weight * self.scale * (1.0 + ago) ** -self.power)[:, None]
        rows = jnp.arange(len(ids))[:, None, None]
        zeros = jnp.zeros((len(ids), self.candidates))
        return zeros.at[rows, self.followers[latest]].add(values)

    def weighing(self, weight: float) -> "TransitionsHead":
        """The head with another weight."""
        return dataclasses.replace(self, weight=np.float32(weight))  # type: ignore[arg-type]


def make(
    followers: np.ndarray,
    weights: np.ndarray,
    *,
    first: int,
    rows: int,
    name: str,
    weight: float,
    power: float = 1.0,
) -> TransitionsHead:
    """The head, on the host.

    Args:
      followers: int32 [C, n], candidates.
      weights: float32 [C, n], not negative, 0 where there is no follower.
      first: vocabulary row of candidate 0.
      rows: R, rows of the vocabulary with 'unknown'.
      name: of the input with the context's items.
      weight: of the table's values in the logits.
      power: of the weights of the latest items.
    """
    candidates = len(followers)
    scale = np.float32(max(float(weights.max(initial=0)), 1e-9) / LEVELS)
    around = ((first, rows - first - candidates), (0, 0))
    return TransitionsHead(
        np.pad(followers, around),  # type: ignore[arg-type]
        np.pad(np.rint(weights / scale).astype(np.float32), around),  # type: ignore[arg-type]
        scale,  # type: ignore[arg-type]
        np.float32(weight),  # type: ignore[arg-type]
        name,
        candidates,
        power,
    )
