"""The label encoder: one vector a candidate.

The dual encoder asks it for all candidates or for some. Vectors computed from item features would
be a further class with the same two methods.
"""

import jax
from flax import nnx

from flaxrec.models.features import embedding_init, unit


class LabelEncoder(nnx.Module):
    """Rows of a table, one after another: candidate c is row `first` + c.

    A table of the labels' own has a row for each candidate and no other: padding and 'unknown'
    have none, so they cannot win. A table tied to the context's has theirs as well, and the
    candidates lie between them. `normalized` encodings have length 1.
    """

    def __init__(self, table: nnx.Param, first: int, candidates: int, *, normalized: bool = False):
        self.table = table
        self.normalized = normalized
        self.first = first
        self.candidates = candidates

    def all(self) -> jax.Array:
        """Encodings of all candidates, float32 [C, D]."""
        return self._finished(self.table.get_value()[self.first : self.first + self.candidates])

    def some(self, candidates: jax.Array) -> jax.Array:
        """Encodings of int [...] candidates, float32 [..., D]."""
        return self._finished(self.table.get_value()[self.first + candidates])

    def _finished(self, rows: jax.Array) -> jax.Array:
        return unit(rows) if self.normalized else rows


def own_table(candidates: int, embedding_dim: int, *, rngs: nnx.Rngs) -> nnx.Param:
    """A table of the labels' own, float32 [C, D]."""
    init = embedding_init(special_rows=False)
    return nnx.Param(init(rngs.params(), (candidates, embedding_dim)))
