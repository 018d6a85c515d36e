"""The label encoder: one vector a candidate.

The dual encoder asks it for all candidates or for some. Vectors computed from item features would
be a further class with the same two methods.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from flaxrec.models.features import embedding_init, unit


class LabelEncoder(nnx.Module):
    """Rows of a table, one after another: candidate c is row `first` + c.

    A table of the labels' own has a row for each candidate and no other: padding and 'unknown'
    have none, so they cannot win. A table tied to the context's has theirs as well, and the
    candidates lie between them. `normalized` encodings have length 1. With `bias` an encoding has
    one number more, the candidate's bias, which meets a 1 in the context's encoding.
    """

    def __init__(
        self,
        table: nnx.Param,
        first: int,
        candidates: int,
        *,
        normalized: bool = False,
        bias: bool = False,
    ):
        self.table = table
        self.normalized = normalized
        self.first = first
        self.candidates = candidates
        self.bias = nnx.Param(jnp.zeros(candidates)) if bias else None

    def all(self) -> jax.Array:
        """Encodings of all candidates, float32 [C, D], or [C, D + 1] with a bias."""
        rows = self.table.get_value()[self.first : self.first + self.candidates]
        return self._finished(rows, None if self.bias is None else self.bias.get_value())

    def some(self, candidates: jax.Array) -> jax.Array:
        """Encodings of int [...] candidates, float32 [..., D], or [..., D + 1] with a bias."""
        rows = self.table.get_value()[self.first + candidates]
        return self._finished(
            rows, None if self.bias is None else self.bias.get_value()[candidates]
        )

    def _finished(self, rows: jax.Array, bias: jax.Array | None) -> jax.Array:
        rows = unit(rows) if self.normalized else rows
        return rows if bias is None else jnp.concatenate([rows, bias[..., None]], axis=-1)


def own_table(
    candidates: int, embedding_dim: int, deviation: float = 0.0, *, rngs: nnx.Rngs
) -> nnx.Param:
    """A table of the labels' own, float32 [C, D]; see `embedding_init` for the deviation."""
    init = embedding_init(False, deviation)
    return nnx.Param(init(rngs.params(), (candidates, embedding_dim)))
