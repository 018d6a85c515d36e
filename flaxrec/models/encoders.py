"""Sequence encoders: from the vectors of a context to one encoding.

Every encoder is called as `encoder(x, mask)` with x [B, L, C], zero where
mask [B, L] is, and returns [B, F]. An encoder that can also encode every prefix at once takes
`every_position=True` and returns [B, L, F]: position l has seen activities 0..l. That is what a
training step with every label of a window in one pass builds on (labels and weights then are
[B, L]; losses and metrics take any leading axes).
"""

import jax
import jax.numpy as jnp
from flax import nnx

from flaxrec.quirks import Quirks

glorot = nnx.initializers.glorot_uniform()
orthogonal = nnx.initializers.orthogonal()


class BowEncoder(nnx.Module):
    """Bag of words: the mean of the vectors that are not padding; zero without any."""

    def __init__(self, channels: int, *, sums: bool = False):
        self.output_dim = channels
        self.sums = sums

    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array,
        *,
        every_position: bool = False,
    ) -> jax.Array:
        """See the module."""
        if every_position:
            total, count = jnp.cumsum(x, axis=1), jnp.cumsum(mask, axis=1)
        else:
            total, count = jnp.sum(x, axis=1), jnp.sum(mask, axis=1)
        # At least 1: no 0/0, forward or backward, in a context of padding only.
        return total if self.sums else total / jnp.maximum(count, 1.0)[..., None]


class CnnEncoder(nnx.Module):
    """Convolutions with stride = kernel size, ReLU after each, then the maximum over time.

    SAME padding as in TensorFlow: ceil(L / k) windows, the left side gets the smaller half. With
    stride = kernel the windows do not overlap, so that a convolution is a reshape and a product.
    """

    def __init__(
        self,
        channels: int,
        *,
        filters: tuple[int, ...],
        kernel_size: int,
        sees_padding: bool,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        self.kernel_size = kernel_size
        self.sees_padding = sees_padding
        self.dtype = dtype
        self.output_dim = filters[-1]
        self.kernels: nnx.List[nnx.Param] = nnx.List([])
        self.biases: nnx.List[nnx.Param] = nnx.List([])
        for width in filters:
            shape = (kernel_size, channels, width)
            self.kernels.append(nnx.Param(glorot(rngs.params(), shape)))
            self.biases.append(nnx.Param(jnp.zeros(width)))
            channels = width

    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array,
        *,
        every_position: bool = False,
    ) -> jax.Array:
        """See the module."""
        if every_position:
            raise NotImplementedError("The strided CNN has no encoding for every position.")
        for kernel, bias in zip(self.kernels, self.biases, strict=True):
            w_kcf, b = kernel.get_value().astype(self.dtype), bias.get_value().astype(self.dtype)
            windows = self._windows(x)
            x = nnx.relu(windows @ w_kcf.reshape(-1, w_kcf.shape[-1]) + b)
            if not self.sees_padding:
                # A window of padding only is zero: it cannot win the maximum of ReLU outputs.
                mask = self._windows(mask[..., None]).max(axis=-1)
                x = x * mask[..., None]
        return jnp.max(x, axis=1)

    def _windows(self, x_blc: jax.Array) -> jax.Array:
        """[B, L, C] -> [B, ceil(L / k), k * C]."""
        batch, length, channels = x_blc.shape
        count = -(-length // self.kernel_size)
        missing = count * self.kernel_size - length
        if missing:
            x_blc = jnp.pad(x_blc, ((0, 0), (missing // 2, missing - missing // 2), (0, 0)))
        return x_blc.reshape(batch, count, self.kernel_size * channels)


class LstmEncoder(nnx.Module):
    """LSTM, gates in the order input, forget, cell, output; the state after the last activity.

    Padding leaves the state as it is, unless `sees_padding` runs it as zero vectors.
    """

    def __init__(
        self,
        channels: int,
        *,
        units: int,
        sees_padding: bool,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        self.output_dim = units
        self.sees_padding = sees_padding
        self.dtype = dtype
        self.kernel = nnx.Param(glorot(rngs.params(), (channels, 4 * units)))
        self.recurrent_kernel = nnx.Param(orthogonal(rngs.params(), (units, 4 * units)))
        # The forget gate starts open.
        self.bias = nnx.Param(jnp.zeros(4 * units).at[units : 2 * units].set(1.0))

    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array,
        *,
        every_position: bool = False,
    ) -> jax.Array:
        """See the module."""
        kernel, recurrent, bias = (
            weight.get_value().astype(self.dtype)
            for weight in (self.kernel, self.recurrent_kernel, self.bias)
        )
        inputs = x @ kernel + bias
        zero = jnp.zeros((x.shape[0], self.output_dim), x.dtype)

        def step(
            state: tuple[jax.Array, jax.Array], now: tuple[jax.Array, jax.Array]
        ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
            hidden, cell = state
            z, present = now
            i, f, g, o = jnp.split(z + hidden @ recurrent, 4, axis=-1)
            new_cell = nnx.sigmoid(f) * cell + nnx.sigmoid(i) * jnp.tanh(g)
            new_hidden = nnx.sigmoid(o) * jnp.tanh(new_cell)
            if not self.sees_padding:
                new_cell = jnp.where(present[:, None] > 0, new_cell, cell)
                new_hidden = jnp.where(present[:, None] > 0, new_hidden, hidden)
            return (new_hidden, new_cell), new_hidden

        time_major = (jnp.swapaxes(inputs, 0, 1), jnp.swapaxes(mask, 0, 1))
        (hidden, _), states = jax.lax.scan(step, (zero, zero), time_major, unroll=2)
        return jnp.swapaxes(states, 0, 1) if every_position else hidden


Encoder = BowEncoder | CnnEncoder | LstmEncoder


def make_encoder(
    name: str,
    channels: int,
    *,
    filters: tuple[int, ...],
    kernel_size: int,
    lstm_units: int,
    numbers_only: bool,
    quirks: Quirks,
    dtype: jnp.dtype,
    rngs: nnx.Rngs,
) -> Encoder:
    """The encoder of that name for vectors of `channels` (`numbers_only`: none is embedded)."""
    if name == "bow":
        return BowEncoder(channels, sums=numbers_only and quirks.float_bow_sums)
    if name == "cnn":
        return CnnEncoder(
            channels,
            filters=filters,
            kernel_size=kernel_size,
            sees_padding=quirks.encoders_see_padding,
            dtype=dtype,
            rngs=rngs,
        )
    return LstmEncoder(
        channels,
        units=lstm_units,
        sees_padding=quirks.encoders_see_padding,
        dtype=dtype,
        rngs=rngs,
    )
