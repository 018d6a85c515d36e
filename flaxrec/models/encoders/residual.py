"""What encoders of residual blocks share: the way in, the norm, the latest activity.

Shapes: B batch, L context length, C channels, W width of the blocks, R rows that are served.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from flaxrec.models.encoders.encoder import Serving, smallest

NORM_EPSILON = 1e-6
glorot = nnx.initializers.glorot_uniform()


class Entrance(nnx.Module):
    """Vectors of a context at the blocks' width, and at a size beside that of a block's output.

    Rows of tables are short: `scale` is what they are multiplied by.
    """

    def __init__(self, channels: int, width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        self.dtype = dtype
        self.scale = float(width) ** 0.5
        shape = (channels, width)
        self.widen = None if channels == width else nnx.Param(glorot(rngs.params(), shape))

    def __call__(self, x: Array) -> Array:
        """[B, L, C] -> [B, L, W]."""
        if self.widen is not None:
            x = x @ self.widen.get_value().astype(self.dtype)
        return x * jnp.asarray(self.scale, self.dtype)


def rms_norm(x: Array, scale: Array) -> Array:
    """Brings x [..., W] to a root mean square of 1, times scale [W] (Zhang & Sennrich 2019)."""
    mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(mean_square + NORM_EPSILON) * scale


def latest(x: Array, mask: Array) -> Array:
    """The latest activity's vector, x [B, L, W] -> [B, W]; zero without any in mask [B, L]."""
    later = jnp.cumsum(mask[:, ::-1], axis=1)[:, ::-1] - mask
    return jnp.einsum("bl,blw->bw", mask * (later == 0), x)


# ---- serving form -----------------------------------------------------------------------------


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LatestServing(Serving):
    """Constants of an encoder whose encoding is that of the latest activity, in the last row.

    Attributes:
      widen: [C, W], or None.
      blocks: of constants, in their order.
      rows: R.
      epsilon: what `normed` adds to a sum of squares.
      gain: [W].
    """

    widen: Array | None
    blocks: tuple[Any, ...]
    rows: int = dataclasses.field(metadata={"static": True})
    epsilon: float = dataclasses.field(metadata={"static": True})
    gain: Array | None = None

    def arrange(self, values: dict[str, Array], ids: Sequence[str]) -> dict[str, Array]:
        """Moves the latest activity to the last row; zeros come first."""
        padded = {name: jnp.pad(value, (self.rows, 0)) for name, value in values.items()}
        id_l = smallest(values, ids)  # after the padding: the order of operators is recorded
        if id_l is None:
            return {name: value[-self.rows :] for name, value in padded.items()}
        numbers = np.arange(1, len(id_l) + 1, dtype=np.int32)
        places = jnp.max(jnp.minimum(id_l, 1) * numbers) + np.arange(self.rows, dtype=np.int32)
        return {name: jnp.take(value, places, mode="clip") for name, value in padded.items()}

    def enter(self, x: Array) -> Array:
        """[R, C] -> [R, W]; what scales it is left to the constants of the blocks."""
        return x if self.widen is None else x @ self.widen


def make_serving(
    kind: type[LatestServing],
    entrance: Entrance,
    blocks: tuple[Any, ...],
    rows: int,
    norm: nnx.Param,
) -> LatestServing:
    """The constants of an encoder that ends in a norm."""
    width = len(norm.get_value())
    return kind(
        None if entrance.widen is None else entrance.widen.get_value(),
        blocks,
        rows,
        width * NORM_EPSILON / entrance.scale**2,
        norm.get_value() * width**0.5,  # `normed` leaves the root out
    )


def normed(x: Array, epsilon: float) -> Array:
    """Vectors x [..., W] at length 1, zero where they are: a norm without its scale.

    Args:
      x: the vectors.
      epsilon: what is added to a sum of squares.
    """
    # The epsilon after the sum would put a RESHAPE between the two.
    squares = jnp.square(x) + epsilon / x.shape[-1]
    return x * jax.lax.rsqrt(jnp.sum(squares, axis=-1, keepdims=True))
