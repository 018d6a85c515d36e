"""What encoders of residual blocks share: the way in, the norm, the latest activity.

Shapes: B batch, L context length, C channels, W width of the blocks, R rows that are served.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

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

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, L, C] -> [B, L, W]."""
        if self.widen is not None:
            x = x @ self.widen.get_value().astype(self.dtype)
        return x * jnp.asarray(self.scale, self.dtype)


def rms_norm(x: jax.Array, scale: jax.Array) -> jax.Array:
    """Brings x [..., W] to a root mean square of 1, times scale [W] (Zhang & Sennrich 2019)."""
    mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(mean_square + NORM_EPSILON) * scale


def latest(x: jax.Array, mask: jax.Array) -> jax.Array:
    """The latest activity's vector, x [B, L, W] -> [B, W]; zero without any in mask [B, L]."""
    later = jnp.cumsum(mask[:, ::-1], axis=1)[:, ::-1] - mask
    return jnp.einsum("bl,blw->bw", mask * (later == 0), x)


# ---- serving form -----------------------------------------------------------------------------


def normed(x: jax.Array, epsilon: float) -> jax.Array:
    """Vectors x [..., W] at length 1, zero where they are: a norm without its scale.

    Args:
      x: the vectors.
      epsilon: what is added to a sum of squares.
    """
    # The epsilon after the sum would put a RESHAPE between the two.
    squares = jnp.square(x) + epsilon / x.shape[-1]
    return x * jax.lax.rsqrt(jnp.sum(squares, axis=-1, keepdims=True))


def move_to_end(
    values: dict[str, jax.Array], smallest: jax.Array | None, rows: int
) -> dict[str, jax.Array]:
    """The latest activity and those before it, [R] by input name; zeros come first.

    Args:
      values: [L] by input name.
      smallest: int [L], 0 at padding; None: every value is an activity.
      rows: R.
    """
    padded = {name: jnp.pad(value, (rows, 0)) for name, value in values.items()}
    if smallest is None:
        return {name: value[-rows:] for name, value in padded.items()}
    numbers = np.arange(1, len(smallest) + 1, dtype=np.int32)
    places = jnp.max(jnp.minimum(smallest, 1) * numbers) + np.arange(rows, dtype=np.int32)
    return {name: jnp.take(value, places, mode="clip") for name, value in padded.items()}
