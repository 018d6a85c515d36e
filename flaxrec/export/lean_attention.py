"""Self-attention written for conversion, see `lean`: the latest activity's encoding.

What training multiplies by one kernel after another is one constant here. With x the normed
vectors of the activities, a head's scores are x (Wq Wk') x' and its output is
softmax(scores) x (Wv Wo): with the products in brackets folded, keys and values are the vectors
themselves, the same for every head. The queries of all heads stand one below the other, which takes
no transposition. The last block has the queries of the latest activity alone, which is in the last
row: `lean` moves contexts there.

The sum of the blocks is kept in units of `input_scale`, which no norm notices.

Shapes: L context length, Q queries (L, in the last block 1), H heads, W width, C channels, N width
of a block's hidden layer.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from flaxrec.models.attention import NORM_EPSILON, AttentionBlock, AttentionEncoder, ago

# Beyond the range of scores; a power of two, so that its multiples are exact.
_OUT_OF_SIGHT = 2.0**30
# With more heads the folded products are larger than their factors.
_MOST_HEADS = 2


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["query", "key", "value", "output", "distances", "widen", "widen_bias", "narrow"],
    meta_fields=["heads"],
)
@dataclasses.dataclass(frozen=True)
class Block:
    """Constants of a block.

    Attributes:
      query: [W, H * W], Wq Wk' of each head beside the other's; with a key: Wq [W, W].
      key: Wk' [W, W], or None.
      value: Wv [W, W], or None.
      output: [H * W, W], Wv Wo of each head below the other's; with a value: Wo [W, W].
      distances: [Q * H, L], what is added to the scores.
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
    scale = encoder.input_scale
    root = encoder.output_dim**0.5  # `normed` leaves it out
    return Attention(
        None if encoder.widen is None else encoder.widen.get_value(),
        tuple(
            _fold(block, root, scale, last=place == len(encoder.blocks))
            for place, block in enumerate(encoder.blocks, 1)
        ),
        encoder.norm.get_value() * root,
        encoder.output_dim * NORM_EPSILON / scale**2,
    )


def _fold(block: AttentionBlock, root: float, scale: float, *, last: bool) -> Block:
    gain_w1 = block.attention_norm.get_value()[:, None] * root
    query, key, value, output = (
        param.get_value() for param in (block.query, block.key, block.value, block.output)
    )
    width, heads = len(query), block.heads
    query, key = gain_w1 * query / (width // heads) ** 0.5, (gain_w1 * key).T
    value, output = gain_w1 * value, output / scale
    folded = heads <= _MOST_HEADS
    if folded:
        query = jnp.einsum("whd,hdv->whv", *_by_head(query, key, heads)).reshape(width, -1)
        output = jnp.einsum("whd,hdv->hwv", *_by_head(value, output, heads)).reshape(-1, width)
    distances_hl = block.distances.get_value()
    distances = jnp.moveaxis(distances_hl[:, ago(distances_hl.shape[1])], 0, 1)
    distances = distances.reshape(-1, distances_hl.shape[1])
    return Block(
        query,
        None if folded else key,
        None if folded else value,
        output,
        distances[-heads:] if last else distances,
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
    hidden, hidden_from_latest = _hidden(present_l, last.heads)
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


def _hidden(present_l: jax.Array, heads: int) -> tuple[jax.Array, jax.Array]:
    """What is subtracted from the scores of keys out of sight, [L * H, L] and, latest query, [L].

    By arithmetic on places: keys come after a query or, at padding, after all queries. A constant
    of that shape would cost as much time and many bytes.
    """
    length = len(present_l)
    place_l = _OUT_OF_SIGHT * np.arange(length, dtype=np.float32)
    beyond = _OUT_OF_SIGHT * 2 * length
    key_l = (place_l + beyond) - present_l * beyond
    return (
        nnx.relu(key_l - np.repeat(place_l, heads)[:, None]),
        nnx.relu(key_l - place_l[-1]),
    )


def _attend(block: Block, x_1qw: jax.Array, keys_1lw: jax.Array, hidden: jax.Array) -> jax.Array:
    """[1, Q, W] from normed vectors; `hidden` [Q * H, L] is subtracted from the scores."""
    _, queries, width = x_1qw.shape
    own_hw = np.repeat(np.eye(block.heads, dtype=np.float32), width // block.heads, axis=1)
    query = x_1qw @ block.query
    if block.key is not None:
        query = (query.reshape(1, queries, 1, width) * own_hw).reshape(1, -1, width) @ block.key
    query = query.reshape(1, queries * block.heads, width)
    scores = jnp.einsum("bqw,blw->bql", query, keys_1lw)
    # Of `@` the converter would make a RESHAPE as well.
    seen = jnp.einsum("bql,blw->bqw", jax.nn.softmax(scores - hidden, axis=-1), keys_1lw)
    if block.value is not None:
        seen = (seen @ block.value).reshape(1, queries, block.heads, width) * own_hw
        return jnp.sum(seen, axis=2) @ block.output
    return seen.reshape(1, queries, -1) @ block.output


def _feed(block: Block, x: jax.Array) -> jax.Array:
    return nnx.relu(x @ block.widen + block.widen_bias) @ block.narrow
