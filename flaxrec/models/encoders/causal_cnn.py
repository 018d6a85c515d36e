"""Causal convolutions over a context.

After NextItNet (Yuan et al. 2019, 'A simple convolutional generative network for next item
recommendation'): residual blocks whose dilation grows, so that few layers see a long context.
Shapes: B batch, L context length, W width, C channels, k kernel size, R rows that are served.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from flaxrec.models.encoders.encoder import Encoder, Serving, Setting
from flaxrec.models.encoders.residual import (
    Entrance,
    LatestServing,
    glorot,
    latest,
    make_serving,
    normed,
    rms_norm,
)
from flaxrec.models.features import dropout


class CausalCnnEncoder(Encoder):
    """Residual blocks of norm, convolution and ReLU; the encoding is that of the latest activity.

    Block i has the dilation k^i: after n blocks a position has seen the k^n activities up to it.
    Padding is zero before and after every block.
    """

    title = "causal convolutions"
    encodes_prefixes = True

    def __init__(self, setting: Setting, *, rngs: nnx.Rngs) -> None:
        width, blocks = setting.width, setting.group.blocks
        self.output_dim = width
        self.kernel_size = setting.group.conv_kernel_size
        self.rate = setting.dropout
        self.dtype = setting.dtype
        convolve, mix = (self.kernel_size, width, width), (width, width)
        self.entrance = Entrance(setting.channels, width, dtype=self.dtype, rngs=rngs)
        self.norms = nnx.List([nnx.Param(jnp.ones(width)) for _ in range(blocks)])
        self.kernels = nnx.List([nnx.Param(glorot(rngs.params(), convolve)) for _ in range(blocks)])
        self.biases = nnx.List([nnx.Param(jnp.zeros(width)) for _ in range(blocks)])
        self.mixers = nnx.List([nnx.Param(glorot(rngs.params(), mix)) for _ in range(blocks)])
        self.norm = nnx.Param(jnp.ones(width))

    def __call__(
        self, x: Array, mask: Array, *, every_position: bool = False, key: Array | None = None
    ) -> Array:
        """See `Encoder`."""

        def weight(param: nnx.Param) -> Array:
            return param.get_value().astype(self.dtype)

        keys: list[Array | None] = [None] * len(self.kernels)
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

    def _windows(self, x_blw: Array, dilation: int) -> Array:
        """[B, L, W] -> [B, L, k * W]: each position beside the k - 1 before it, oldest first."""
        length = x_blw.shape[1]
        reach = (self.kernel_size - 1) * dilation
        padded = jnp.pad(x_blw, ((0, 0), (reach, 0), (0, 0)))
        starts = range(0, reach + 1, dilation)
        return jnp.concatenate([padded[:, s : s + length] for s in starts], axis=-1)

    def serving(self, length: int) -> Serving:
        """See `Encoder`."""
        scale, width, k = self.entrance.scale, self.output_dim, self.kernel_size
        root = width**0.5  # `normed` leaves it out
        before_last = k ** (len(self.kernels) - 1)
        taps = min(k, -(-length // before_last))  # of the last block, that see the context
        blocks: list[_Block] = []
        for norm, kernel, bias, mixer in zip(
            self.norms, self.kernels, self.biases, self.mixers, strict=True
        ):
            is_last = len(blocks) == len(self.kernels) - 1
            kernel_kww = kernel.get_value()[-taps if is_last else 0 :]
            kernel_kww = norm.get_value()[:, None] * root * kernel_kww
            blocks.append(
                _Block(kernel_kww.reshape(-1, width), bias.get_value(), mixer.get_value() / scale)
            )
        return make_serving(_Serving, self.entrance, tuple(blocks), taps * before_last, self.norm)


# ---- serving form -----------------------------------------------------------------------------
#
# Through dilations that grow by the kernel size, the latest activity sees windows side by side: the
# last k^n positions in windows of k, what comes of them again in windows of k, and so on up to one.
# Nothing else is computed.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Block:
    """Constants of a block.

    Attributes:
      kernel: [k * W, W]; in the last block only what reads the context.
      bias: [W].
      mixer: [W, W].
    """

    kernel: Array
    bias: Array
    mixer: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Serving(LatestServing):
    def __call__(self, x: Array, present: Array) -> Array:
        x = self.enter(x)
        for block in self.blocks:
            size, width = block.kernel.shape
            windows = normed(x, self.epsilon).reshape(-1, size)
            x = x.reshape(-1, size)[:, -width:]
            present = present.reshape(-1, size // width)[:, -1:]
            x = (x + nnx.relu(windows @ block.kernel + block.bias) @ block.mixer) * present
        return normed(x, self.epsilon)
