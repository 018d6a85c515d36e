"""Strided convolutions over a context, as in the reference.

Shapes: B batch, L context length, C channels, k kernel size, W windows, F filters.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from flaxrec.config import GroupConfig
from flaxrec.errors import ConfigError
from flaxrec.models.encoders.encoder import Encoder, Serving, Setting
from flaxrec.models.encoders.residual import glorot


class CnnEncoder(Encoder):
    """Convolutions with stride = kernel size, ReLU after each, then the maximum over time.

    SAME padding as in TensorFlow: ceil(L / k) windows, the left side gets the smaller half. With
    stride = kernel the windows do not overlap, so that a convolution is a reshape and a product.
    """

    title = "convolutions"

    def __init__(self, setting: Setting, *, rngs: nnx.Rngs) -> None:
        filters = [setting.embedding_dim * ratio for ratio in setting.group.conv_filter_ratios]
        self.kernel_size = setting.group.conv_kernel_size
        self.sees_padding = setting.quirks.encoders_see_padding
        self.dtype = setting.dtype
        self.output_dim = filters[-1]
        self.kernels: nnx.List[nnx.Param] = nnx.List([])
        self.biases: nnx.List[nnx.Param] = nnx.List([])
        for channels, width in zip((setting.channels, *filters), filters, strict=False):
            shape = (self.kernel_size, channels, width)
            self.kernels.append(nnx.Param(glorot(rngs.params(), shape)))
            self.biases.append(nnx.Param(jnp.zeros(width)))

    @staticmethod
    def check(path: str, group: GroupConfig) -> None:
        """See `Encoder`."""
        if not (group.conv_filter_ratios and min(group.conv_filter_ratios) > 0):
            raise ConfigError(
                f"config.{path}.conv_filter_ratios is {group.conv_filter_ratios!r}; give one "
                "number above 0 for each layer."
            )

    def __call__(
        self, x: Array, mask: Array, *, every_position: bool = False, key: Array | None = None
    ) -> Array:
        """See `Encoder`."""
        del key
        if every_position:
            raise NotImplementedError("The strided CNN has no encoding for every position.")
        for kernel, bias in zip(self.kernels, self.biases, strict=True):
            w_kcf, b = kernel.get_value().astype(self.dtype), bias.get_value().astype(self.dtype)
            x = nnx.relu(self._windows(x) @ w_kcf.reshape(-1, w_kcf.shape[-1]) + b)
            if not self.sees_padding:
                # A window of padding only is zero: it cannot win the maximum of ReLU outputs.
                mask = self._windows(mask[..., None]).max(axis=-1)
                x = x * mask[..., None]
        return jnp.max(x, axis=1)

    def _windows(self, x_blc: Array) -> Array:
        """[B, L, C] -> [B, W, k * C]."""
        batch, length, channels = x_blc.shape
        padded = jnp.pad(x_blc, ((0, 0), _sides(length, self.kernel_size), (0, 0)))
        return padded.reshape(batch, -1, self.kernel_size * channels)

    def serving(self, length: int) -> Serving:
        """See `Encoder`."""
        return _Serving(
            tuple(kernel.get_value() for kernel in self.kernels),
            tuple(bias.get_value() for bias in self.biases),
            self.sees_padding,
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Serving(Serving):
    """Kernels [k, C, F] and biases [F] of the layers."""

    kernels: tuple[Array, ...]
    biases: tuple[Array, ...]
    sees_padding: bool = dataclasses.field(metadata={"static": True})

    def arrange(self, values: dict[str, Array], ids: Sequence[str]) -> dict[str, Array]:
        """Pads ids instead of vectors, whose padding would be one operator more."""
        del ids
        return {name: self._padded(value) for name, value in values.items()}

    def __call__(self, x: Array, present: Array) -> Array:
        size = len(self.kernels[0])
        present = present[:, None]
        for w_kcf, bias in zip(self.kernels, self.biases, strict=True):
            windows = self._padded(x).reshape(-1, size * x.shape[1])
            x = nnx.relu(windows @ w_kcf.reshape(-1, w_kcf.shape[-1]) + bias)
            if not self.sees_padding:
                present = self._padded(present).reshape(-1, size)
                present = jnp.max(present, axis=1, keepdims=True)
                x = x * present
        return x if len(x) == 1 else jnp.max(x, axis=0, keepdims=True)

    def _padded(self, x: Array) -> Array:
        """[L, ...] -> [W * k, ...]."""
        sides = _sides(len(x), len(self.kernels[0]))
        return jnp.pad(x, (sides, *[(0, 0)] * (x.ndim - 1))) if any(sides) else x


def _sides(length: int, kernel_size: int) -> tuple[int, int]:
    """Padding before and after a sequence that windows of the kernel then divide."""
    missing = -length % kernel_size
    return missing // 2, missing - missing // 2
