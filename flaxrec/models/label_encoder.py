"""The label encoder: one vector a candidate.

The dual encoder asks it for all candidates or for some. A table tied to the context's, or vectors
computed from item features, would be further classes with the same two methods.
"""

import jax
from flax import nnx

from flaxrec.models.features import embedding_init


class LabelEncoder(nnx.Module):
    """A table with one row a candidate: padding and 'unknown' have none, so they cannot win."""

    def __init__(self, candidates: int, embedding_dim: int, *, rngs: nnx.Rngs):
        init = embedding_init(special_rows=False)
        self.table = nnx.Param(init(rngs.params(), (candidates, embedding_dim)))

    def all(self) -> jax.Array:
        """Encodings of all candidates, float32 [C, D]."""
        return self.table.get_value()

    def some(self, candidates: jax.Array) -> jax.Array:
        """Encodings of int [...] candidates, float32 [..., D]."""
        return self.table.get_value()[candidates]
