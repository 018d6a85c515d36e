"""Causal convolutions written for conversion, see `lean`: the latest activity's encoding.

Through dilations that grow by the kernel size, the latest activity sees windows side by side: the
last k^n positions in windows of k, what comes of them again in windows of k, and so on up to one.
Nothing else is computed. The latest activity is in the last row: `lean` moves contexts there.

Shapes: L context length, R rows that are read, W width, C channels, k kernel size, n blocks.
"""

import dataclasses
import functools

import jax
from flax import nnx

from flaxrec.exporting.lean_attention import normed
from flaxrec.models.causal_cnn import CausalCnnEncoder
from flaxrec.models.residual import NORM_EPSILON


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["kernel", "bias", "mixer"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class Block:
    """Constants of a block.

    Attributes:
      kernel: [k * W, W]; in the last block only what reads the context.
      bias: [W].
      mixer: [W, W].
    """

    kernel: jax.Array
    bias: jax.Array
    mixer: jax.Array


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["widen", "blocks", "gain"],
    meta_fields=["rows", "epsilon"],
)
@dataclasses.dataclass(frozen=True)
class CausalCnn:
    """Constants of the encoder.

    Attributes:
      widen: [C, W], or None.
      blocks: in their order.
      gain: [W], that of the encoding, left to the layer that reads it.
      rows: R.
      epsilon: what is added to a sum of squares.
    """

    widen: jax.Array | None
    blocks: tuple[Block, ...]
    gain: jax.Array
    rows: int
    epsilon: float


def fold(encoder: CausalCnnEncoder, length: int) -> CausalCnn:
    """The encoder's constants for contexts of L activities."""
    scale, width, k = encoder.entrance.scale, encoder.output_dim, encoder.kernel_size
    root = width**0.5  # `normed` leaves it out
    before_last = k ** (len(encoder.kernels) - 1)
    taps = min(k, -(-length // before_last))  # of the last block, that see the context
    blocks: list[Block] = []
    for norm, kernel, bias, mixer in zip(
        encoder.norms, encoder.kernels, encoder.biases, encoder.mixers, strict=True
    ):
        is_last = len(blocks) == len(encoder.kernels) - 1
        kernel_kww = kernel.get_value()[-taps if is_last else 0 :]
        kernel_kww = norm.get_value()[:, None] * root * kernel_kww
        blocks.append(
            Block(kernel_kww.reshape(-1, width), bias.get_value(), mixer.get_value() / scale)
        )
    return CausalCnn(
        None if encoder.entrance.widen is None else encoder.entrance.widen.get_value(),
        tuple(blocks),
        encoder.norm.get_value() * root,
        taps * before_last,
        width * NORM_EPSILON / scale**2,
    )


def encode(constants: CausalCnn, x_rc: jax.Array, present_r: jax.Array) -> jax.Array:
    """The encoding [1, W] but for its gain.

    Args:
      constants: of `fold`.
      x_rc: [R, C], zero at padding; the latest activity in the last row.
      present_r: [R], 1 where there is no padding.
    """
    x = x_rc if constants.widen is None else x_rc @ constants.widen
    present = present_r
    for block in constants.blocks:
        size, width = block.kernel.shape
        windows = normed(x, constants.epsilon).reshape(-1, size)
        x = x.reshape(-1, size)[:, -width:]
        present = present.reshape(-1, size // width)[:, -1:]
        x = (x + nnx.relu(windows @ block.kernel + block.bias) @ block.mixer) * present
    return normed(x, constants.epsilon)
