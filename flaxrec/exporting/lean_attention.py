"""Self-attention written for conversion, see `lean`: the latest activity's encoding.

What training multiplies by one kernel after another is one constant here. With x the normed
vectors of the activities, a head's scores are x (Wq Wk') x' and its output is
softmax(scores) x (Wv Wo): with the products in brackets folded, keys and values are the vectors
themselves, the same for every head. The queries of all heads stand one below the other, which takes
no transposition. Of more than two heads the products are larger than their factors, and the heads
go apart as in training. The last block has the queries of the latest activity alone, which is in
the last row: `lean` moves contexts there.

The sum of the blocks is kept in units of the entrance's scale, which no norm notices.

Shapes: L context length, Q queries (L, in the last block 1), H heads, W width, C channels, N width
of a block's hidden layer.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from flaxrec.models.attention import AttentionBlock, AttentionEncoder, ago
from flaxrec.models.residual import NORM_EPSILON

# Beyond the range of scores; a power of two, so that its multiples are exact.
_OUT_OF_SIGHT = 2.0**30
_MOST_FOLDED = 2  # heads


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["query", "key", "value", "output", "distances", "widen", "widen_bias", "narrow"],
    meta_fields=["heads"],
)
@dataclasses.dataclass(frozen=True)
class Block:
    """Constants of a block.

    Attributes:
      query: folded [W, H * W], Wq Wk' of each head beside the other's; else Wq [W, W].
      key: Wk [W, W]; None if folded.
      value: Wv [W, W]; None if folded.
      output: folded [H * W, W], Wv Wo of each head below the other's; else Wo [W, W].
      distances: what is added to the scores, folded [Q * H, L], else [H, Q, L].
      widen: [W, N].
      widen_bias: [N].
      narrow: [N, W].
      heads: H.
    """

    query: jax.Array
    key: jax.Array | None
    value: jax.Array | None
    output: jax.Array
    distances: jax.Array
    widen: jax.Array
    widen_bias: jax.Array
    narrow: jax.Array
    heads: int


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["widen", "blocks", "gain"],
    meta_fields=["epsilon"],
)
@dataclasses.dataclass(frozen=True)
class Attention:
    """Constants of the encoder.

    Attributes:
      widen: [C, W], or None.
      blocks: in their order.
      gain: [W], that of the encoding, left to the layer that reads it.
      epsilon: what is added to a sum of squares.
    """

    widen: jax.Array | None
    blocks: tuple[Block, ...]
    gain: jax.Array
    epsilon: float


# ---- folding --------------------------------------------------------------------------------


def fold(encoder: AttentionEncoder) -> Attention:
    """The encoder's constants."""
    scale = encoder.entrance.scale
    root = encoder.output_dim**0.5  # `normed` leaves it out
    return Attention(
        None if encoder.entrance.widen is None else encoder.entrance.widen.get_value(),
        tuple(
            _fold(block, root, scale, last=place == len(encoder.blocks))
            for place, block in enumerate(encoder.blocks, 1)
        ),
        encoder.norm.get_value() * root,
        encoder.output_dim * NORM_EPSILON / scale**2,
    )


def _fold(block: AttentionBlock, root: float, scale: float, *, last: bool) -> Block:
    gain_w1 = block.attention_norm.get_value()[:, None] * root
    query, key, value, output, distances_hl = (
        param.get_value()
        for param in (block.query, block.key, block.value, block.output, block.distances)
    )
    width, heads, length = len(query), block.heads, distances_hl.shape[1]
    query, key, value = (gain_w1 * kernel for kernel in (query, key, value))
    query, output = query / (width // heads) ** 0.5, output / scale
    distances = distances_hl[:, ago(length)][:, -1:] if last else distances_hl[:, ago(length)]
    folded = heads <= _MOST_FOLDED
    if folded:
        query = jnp.einsum("whd,hdv->whv", *_by_head(query, key.T, heads)).reshape(width, -1)
        output = jnp.einsum("whd,hdv->hwv", *_by_head(value, output, heads)).reshape(-1, width)
        distances = jnp.moveaxis(distances, 0, 1).reshape(-1, length)
    return Block(
        query,
        None if folded else key,
        None if folded else value,
        output,
        distances,
        block.feedforward_norm.get_value()[:, None] * root * block.widen.get_value(),
        block.widen_bias.get_value(),
        block.narrow.get_value() / scale,
        heads,
    )


def _by_head(left: jax.Array, right: jax.Array, heads: int) -> tuple[jax.Array, jax.Array]:
    """[W, H * d] and [H * d, W], the heads on an axis of their own."""
    return left.reshape(len(left), heads, -1), right.reshape(heads, -1, right.shape[-1])


# ---- running --------------------------------------------------------------------------------


def encode(constants: Attention, x_lc: jax.Array, present_l: jax.Array) -> jax.Array:
    """The encoding [1, W] but for its gain.

    Args:
      constants: of `fold`.
      x_lc: [L, C], anything at padding; the latest activity in the last row.
      present_l: [L], 1 where there is no padding.
    """
    if constants.widen is not None:
        x_lc = x_lc @ constants.widen
    # The axis in front makes a BATCH_MATMUL of each product of two computed matrices. Otherwise
    # some become a FULLY_CONNECTED, which packs what it takes for weights in every call.
    x = x_lc[None]
    *earlier, last = constants.blocks
    norm = functools.partial(normed, epsilon=constants.epsilon)
    hidden, hidden_from_latest = _hidden(present_l, last.heads if last.key is None else 1)
    for block in earlier:
        keys = norm(x)
        x = x + _attend(block, keys, keys, hidden - block.distances)
        x = x + _feed(block, norm(x))
    keys = norm(x)
    x = x[:, -1:] + _attend(last, keys[:, -1:], keys, hidden_from_latest - last.distances)
    x = x + _feed(last, norm(x))
    return norm(x)[0] * present_l[-1]  # zero without any activity


def normed(x: jax.Array, epsilon: float) -> jax.Array:
    """Vectors x [..., W] at length 1, zero where they are: a norm without its gain."""
    # The epsilon after the sum would put a RESHAPE between the two.
    squares = jnp.square(x) + epsilon / x.shape[-1]
    return x * jax.lax.rsqrt(jnp.sum(squares, axis=-1, keepdims=True))


def _hidden(present_l: jax.Array, rows: int) -> tuple[jax.Array, jax.Array]:
    """What is subtracted from the scores of keys out of sight.

    [L * rows, L], so many rows for each query, and [L] for the latest query.

    By arithmetic on places: keys come after a query or, at padding, after all queries. A constant
    of that shape would cost as much time and many bytes.
    """
    length = len(present_l)
    place_l = _OUT_OF_SIGHT * np.arange(length, dtype=np.float32)
    beyond = _OUT_OF_SIGHT * 2 * length
    key_l = (place_l + beyond) - present_l * beyond
    return (
        nnx.relu(key_l - np.repeat(place_l, rows)[:, None]),
        nnx.relu(key_l - place_l[-1]),
    )


def _attend(block: Block, x_1qw: jax.Array, keys_1lw: jax.Array, hidden: jax.Array) -> jax.Array:
    """[1, Q, W] from normed vectors; `hidden` is subtracted from the scores."""
    queries, width = x_1qw.shape[1:]
    query = x_1qw @ block.query
    if block.key is None or block.value is None:
        query, key, value = query.reshape(1, -1, width), keys_1lw, keys_1lw
    else:
        parts = (query, keys_1lw @ block.key, keys_1lw @ block.value)
        query, key, value = (
            jnp.swapaxes(part.reshape(part.shape[1], block.heads, -1), 0, 1) for part in parts
        )
    scores = jnp.einsum("bqw,blw->bql", query, key)
    # Of `@` the converter would make a RESHAPE as well.
    seen = jnp.einsum("bql,blw->bqw", jax.nn.softmax(scores - hidden, axis=-1), value)
    if block.key is not None:
        seen = jnp.swapaxes(seen, 0, 1)
    return seen.reshape(1, queries, -1) @ block.output


def _feed(block: Block, x: jax.Array) -> jax.Array:
    return nnx.relu(x @ block.widen + block.widen_bias) @ block.narrow
