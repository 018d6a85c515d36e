"""Causal convolutions over a context.

After NextItNet (Yuan et al. 2019, 'A simple convolutional generative network for next item
recommendation'): residual blocks whose dilation grows, so that few layers see a long context.
Shapes: B batch, L context length, W width, C channels, k kernel size.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from flaxrec.models.features import dropout
from flaxrec.models.residual import Entrance, glorot, latest, rms_norm


class CausalCnnEncoder(nnx.Module):
    """Residual blocks of norm, convolution and ReLU; the encoding is that of the latest activity.

    Block i has the dilation k^i: after n blocks a position has seen the k^n activities up to it.
    Padding is zero before and after every block.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int,
        blocks: int,
        kernel_size: int,
        rate: float,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        self.output_dim = width
        self.kernel_size = kernel_size
        self.rate = rate
        self.dtype = dtype
        convolve, mix = (kernel_size, width, width), (width, width)
        self.entrance = Entrance(channels, width, dtype=dtype, rngs=rngs)
        self.norms = nnx.List([nnx.Param(jnp.ones(width)) for _ in range(blocks)])
        self.kernels = nnx.List([nnx.Param(glorot(rngs.params(), convolve)) for _ in range(blocks)])
        self.biases = nnx.List([nnx.Param(jnp.zeros(width)) for _ in range(blocks)])
        self.mixers = nnx.List([nnx.Param(glorot(rngs.params(), mix)) for _ in range(blocks)])
        self.norm = nnx.Param(jnp.ones(width))

    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array,
        *,
        every_position: bool = False,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """See `encoders`."""

        def weight(param: nnx.Param) -> jax.Array:
            return param.get_value().astype(self.dtype)

        keys = [None] * len(self.kernels)
        if key is not None:
            keys = list(jax.random.split(key, len(keys)))
        x = self.entrance(x)
        for i, (norm, kernel, bias, mixer) in enumerate(
            zip(self.norms, self.kernels, self.biases, self.mixers, strict=True)
        ):
            h = rms_norm(x, weight(norm)) * mask[..., None]
            h = self._windows(h, self.kernel_size**i) @ weight(kernel).reshape(-1, self.output_dim)
            h = nnx.relu(h + weight(bias)) @ weight(mixer)
            x = (x + dropout(h, self.rate, keys[i])) * mask[..., None]
        if not every_position:
            x = latest(x, mask)
        return rms_norm(x, weight(self.norm))

    def _windows(self, x_blw: jax.Array, dilation: int) -> jax.Array:
        """[B, L, W] -> [B, L, k * W]: each position beside the k - 1 before it, oldest first."""
        length = x_blw.shape[1]
        reach = (self.kernel_size - 1) * dilation
        padded = jnp.pad(x_blw, ((0, 0), (reach, 0), (0, 0)))
        starts = range(0, reach + 1, dilation)
        return jnp.concatenate([padded[:, s : s + length] for s in starts], axis=-1)
