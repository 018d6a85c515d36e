"""What encoders of residual blocks share: the way in, the norm, the latest activity.

Shapes: B batch, L context length, C channels, W width of the blocks.
"""

import jax
import jax.numpy as jnp
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
