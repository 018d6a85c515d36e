"""Bag of words: the mean of a context's vectors.

Shapes: B batch, L context length, C channels, n ranges of a context.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from flaxrec.models.encoders.encoder import Encoder, Serving, Setting, visible


class BowEncoder(Encoder):
    """The mean of the vectors that are not padding; zero without any."""

    title = "bag of words"
    encodes_prefixes = True
    encodes_packed = True
    encodes_ranges = True

    def __init__(self, setting: Setting, *, rngs: nnx.Rngs) -> None:
        del rngs
        self.output_dim = setting.channels
        self.sums = setting.numbers_only and setting.quirks.float_bow_sums

    def __call__(
        self,
        x: Array,
        mask: Array,
        *,
        every_position: bool = False,
        users: Array | None = None,
        key: Array | None = None,
    ) -> Array:
        """See `Encoder`."""
        del key
        if users is not None:
            seen = visible(mask, users).astype(x.dtype)
            return self._mean(seen @ x, jnp.sum(seen, axis=-1))
        if every_position:
            return self._mean(jnp.cumsum(x, axis=1), jnp.cumsum(mask, axis=1))
        return self._mean(jnp.sum(x, axis=1), jnp.sum(mask, axis=1))

    def ranges(self, x: Array, mask: Array, low: Array, high: Array) -> Array:
        """Encodings of parts of a context: int [B, n] first values and ends -> [B, n, C]."""

        def between(values: Array) -> Array:
            sums = jnp.pad(jnp.cumsum(values, axis=1), ((0, 0), (1, 0), (0, 0)))
            before, after = (jnp.take_along_axis(sums, i[..., None], axis=1) for i in (low, high))
            return after - before

        return self._mean(between(x), between(mask[..., None])[..., 0])

    def _mean(self, total: Array, count: Array) -> Array:
        # At least 1: no 0/0, forward or backward, in a context of padding only.
        return total if self.sums else total / jnp.maximum(count, 1.0)[..., None]

    def serving(self, length: int) -> Serving:
        """See `Encoder`."""
        return _Serving(self.sums)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Serving(Serving):
    sums: bool = dataclasses.field(metadata={"static": True})

    def __call__(self, x: Array, present: Array) -> Array:
        total = jnp.sum(x, axis=0, keepdims=True)
        return total if self.sums else total / jnp.maximum(jnp.sum(present), 1.0)
