"""Sequence encoders: from the vectors of a context to one encoding.

Every encoder is called as `encoder(x, mask)` with x [B, L, C], zero where mask [B, L] is, and
returns [B, F]. With `every_position=True` it returns [B, L, F], the encoding of every prefix:
position l has seen activities 0..l. Where l is padding it means nothing. That is what training with
every label of a window in one pass stands on. `key` is that of dropout, None outside training; an
encoder without layers of its own takes none out.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from flaxrec.config import GroupConfig
from flaxrec.config.quirks import Quirks
from flaxrec.models.attention import AttentionEncoder
from flaxrec.models.causal_cnn import CausalCnnEncoder

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
        key: jax.Array | None = None,
    ) -> jax.Array:
        """See the module."""
        del key
        if every_position:
            total, count = jnp.cumsum(x, axis=1), jnp.cumsum(mask, axis=1)
        else:
            total, count = jnp.sum(x, axis=1), jnp.sum(mask, axis=1)
        return self._finished(total, count)

    def ranges(self, x: jax.Array, mask: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
        """Encodings of parts of a context: int [B, n] first values and ends -> [B, n, F]."""

        def between(sums: jax.Array) -> jax.Array:
            sums = jnp.pad(jnp.cumsum(sums, axis=1), ((0, 0), (1, 0), (0, 0)))
            before, after = (jnp.take_along_axis(sums, i[..., None], axis=1) for i in (low, high))
            return after - before

        return self._finished(between(x), between(mask[..., None])[..., 0])

    def _finished(self, total: jax.Array, count: jax.Array) -> jax.Array:
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
        key: jax.Array | None = None,
    ) -> jax.Array:
        """See the module."""
        del key
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
        key: jax.Array | None = None,
    ) -> jax.Array:
        """See the module."""
        del key
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


Encoder = BowEncoder | CnnEncoder | LstmEncoder | CausalCnnEncoder | AttentionEncoder


def make_encoder(
    config: GroupConfig,
    channels: int,
    *,
    length: int,
    embedding_dim: int,
    rate: float,
    numbers_only: bool,
    quirks: Quirks,
    dtype: jnp.dtype,
    rngs: nnx.Rngs,
) -> Encoder:
    """The group's encoder.

    Args:
      config: the group's.
      channels: C.
      length: L.
      embedding_dim: config.model.embedding_dim.
      rate: of dropout.
      numbers_only: no feature of the group is embedded.
      quirks: of the reference.
      dtype: of the computation.
      rngs: stream 'params'.
    """
    width = config.width or channels
    if config.encoder == "bow":
        return BowEncoder(channels, sums=numbers_only and quirks.float_bow_sums)
    if config.encoder == "cnn":
        return CnnEncoder(
            channels,
            filters=tuple(embedding_dim * ratio for ratio in config.conv_filter_ratios),
            kernel_size=config.conv_kernel_size,
            sees_padding=quirks.encoders_see_padding,
            dtype=dtype,
            rngs=rngs,
        )
    if config.encoder == "lstm":
        return LstmEncoder(
            channels,
            units=config.lstm_units,
            sees_padding=quirks.encoders_see_padding,
            dtype=dtype,
            rngs=rngs,
        )
    if config.encoder == "causal_cnn":
        return CausalCnnEncoder(
            channels,
            width=width,
            blocks=config.blocks,
            kernel_size=config.conv_kernel_size,
            rate=rate,
            dtype=dtype,
            rngs=rngs,
        )
    return AttentionEncoder(
        channels,
        length=length,
        width=width,
        blocks=config.blocks,
        heads=config.heads,
        feedforward=config.feedforward_ratio * width,
        rate=rate,
        dtype=dtype,
        rngs=rngs,
    )
