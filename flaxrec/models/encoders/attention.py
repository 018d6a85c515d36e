"""Causal self-attention over a context.

After SASRec (Kang & McAuley 2018, 'Self-attentive sequential recommendation'), with what later work
found to serve: norms before the layers instead of after, root-mean-square norms without a mean, no
biases, scores by distance. Shapes: B batch, L context length, W width, H heads, C channels, N width
of a block's hidden layer, Q queries of the serving form (L, in its last block 1).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from flaxrec.config import GroupConfig
from flaxrec.data.moments import SECONDS_AGO
from flaxrec.errors import ConfigError
from flaxrec.models.encoders.encoder import Encoder, Serving, Setting, elapsed, visible
from flaxrec.models.encoders.residual import (
    Entrance,
    LatestServing,
    glorot,
    latest,
    make_serving,
    normed,
    rms_norm,
)
from flaxrec.models.features import dropout, lookup

OUT_OF_SIGHT = -1e9  # a score of attention that its softmax takes as zero
# The same in the serving form: beyond the range of scores; a power of two, so that its multiples
# are exact.
_SERVED_OUT_OF_SIGHT = 2.0**30
_MOST_FOLDED = 2  # heads
# The shortest time of each step: floor(log2(1 + time)) counts those that a time has reached.
_STEPS = (2 ** np.arange(32, dtype=np.int64) - 1).astype(np.int32)


def behind(length: int) -> np.ndarray:
    """How many activities each key (second L) lies before each query: int [L, L], at least 0."""
    place = np.arange(length)
    return np.maximum(place[:, None] - place, 0)


class AttentionBlock(nnx.Module):
    """Self-attention, then a layer of ReLUs for each position; both are added to their input.

    Scores of attention depend on how long ago the key is as well: a learned number for each head
    and distance (Raffel et al. 2020, without their buckets). Windows that begin anywhere show a
    model few examples of a place, and many of a distance.

    With `times` they depend on the time from the key to the query's moment of asking too: a learned
    number for each head and step of the time's logarithm, added up to the step that the time
    reaches. So neighbouring steps share what they learn. An unknown time reaches none.
    """

    def __init__(
        self,
        width: int,
        *,
        length: int,
        heads: int,
        feedforward: int,
        rate: float,
        times: bool,
        rngs: nnx.Rngs,
    ) -> None:
        self.heads = heads
        self.rate = rate

        def kernel(rows: int, columns: int) -> nnx.Param:
            return nnx.Param(glorot(rngs.params(), (rows, columns)))

        self.distances = nnx.Param(jnp.zeros((heads, length)))
        self.times = nnx.Param(jnp.zeros((heads, len(_STEPS)))) if times else None
        self.attention_norm = nnx.Param(jnp.ones(width))
        self.query = kernel(width, width)
        self.key = kernel(width, width)
        self.value = kernel(width, width)
        self.output = kernel(width, width)
        self.feedforward_norm = nnx.Param(jnp.ones(width))
        self.widen = kernel(width, feedforward)
        self.widen_bias = nnx.Param(jnp.zeros(feedforward))
        self.narrow = kernel(feedforward, width)

    def __call__(
        self, x_blw: Array, hidden_bll: Array, key: Array | None, elapsed_bll: Array | None = None
    ) -> Array:
        """The block.

        Args:
          x_blw: [B, L, W].
          hidden_bll: [B, L, L], or anything of that shape by broadcasting; added to the scores of
            attention: `OUT_OF_SIGHT` where the query (first L) must not see the key.
          key: of dropout; None outside training.
          elapsed_bll: int32 [B, L, L], see `encoder.elapsed`; for a block with `times`.

        Returns:
          [B, L, W].
        """
        dtype = x_blw.dtype
        keys = (None, None) if key is None else jax.random.split(key)

        def weight(param: nnx.Param) -> Array:
            return param.get_value().astype(dtype)

        def by_head(x: Array) -> Array:
            return x.reshape(*x.shape[:-1], self.heads, -1)

        x = rms_norm(x_blw, weight(self.attention_norm))
        q, k, v = (by_head(x @ weight(w)) for w in (self.query, self.key, self.value))
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / jnp.sqrt(q.shape[-1]).astype(dtype)
        scores += weight(self.distances)[:, behind(x_blw.shape[1])]
        if self.times is not None and elapsed_bll is not None:
            # The row of a time is the number of steps that it has reached.
            summed_th = jnp.cumsum(jnp.pad(weight(self.times), ((0, 0), (1, 0))), axis=1).T
            scores += jnp.moveaxis(lookup(summed_th, 32 - jax.lax.clz(elapsed_bll + 1)), -1, 1)
        seen = jax.nn.softmax(scores + hidden_bll[:, None], axis=-1)
        x = jnp.einsum("bhqk,bkhd->bqhd", seen, v).reshape(x_blw.shape) @ weight(self.output)
        x_blw = x_blw + dropout(x, self.rate, keys[0])
        x = rms_norm(x_blw, weight(self.feedforward_norm))
        x = nnx.relu(x @ weight(self.widen) + weight(self.widen_bias)) @ weight(self.narrow)
        return x_blw + dropout(x, self.rate, keys[1])


class AttentionEncoder(Encoder):
    """Blocks of causal self-attention; the encoding is that of the latest activity, normed.

    Padding is seen by nobody. Places in the context have no vectors: distances tell enough
    (docs/half_a_megabyte.md). Times count in the last block alone: there the graph has the latest
    activity's query only, and they cost it little.
    """

    title = "causal self-attention"
    encodes_prefixes = True
    encodes_packed = True
    reads_times = True

    def __init__(self, setting: Setting, *, rngs: nnx.Rngs) -> None:
        group, width = setting.group, setting.width
        self.output_dim = width
        self.dtype = setting.dtype
        self.entrance = Entrance(setting.channels, width, dtype=self.dtype, rngs=rngs)
        blocks = [
            AttentionBlock(
                width,
                length=setting.length,
                heads=group.heads,
                feedforward=group.feedforward_ratio * width,
                rate=setting.dropout,
                times=setting.has_times and block == group.blocks - 1,
                rngs=rngs,
            )
            for block in range(group.blocks)
        ]
        self.blocks = nnx.List(blocks)
        self.norm = nnx.Param(jnp.ones(width))

    @staticmethod
    def check(path: str, group: GroupConfig) -> None:
        """See `Encoder`."""
        width = group.width or sum(
            f.embedding_dim if f.type != "FLOAT" else 1
            for f in group.features
            if f.source != SECONDS_AGO
        )
        if width % group.heads:
            raise ConfigError(
                f"config.{path}.heads is {group.heads}, which does not divide the width {width}; "
                f"change config.{path}.heads or config.{path}.width."
            )

    def __call__(
        self,
        x: Array,
        mask: Array,
        *,
        every_position: bool = False,
        users: Array | None = None,
        ago: Array | None = None,
        key: Array | None = None,
    ) -> Array:
        """See `Encoder`."""
        x = self.entrance(x) * mask[..., None]
        keys: list[Array | None] = [None] * len(self.blocks)
        if key is not None:
            keys = list(jax.random.split(key, len(keys)))
        hidden = jnp.where(visible(mask, users), 0, jnp.asarray(OUT_OF_SIGHT, self.dtype))
        for block, block_key in zip(self.blocks, keys, strict=True):
            times = None if ago is None or block.times is None else elapsed(ago, mask)
            x = block(x, hidden, block_key, times)
        if not every_position:
            x = latest(x, mask)
        return rms_norm(x, self.norm.get_value().astype(self.dtype))

    def serving(self, length: int) -> Serving:
        """See `Encoder`."""
        scale = self.entrance.scale
        root = self.output_dim**0.5  # `normed` leaves it out
        blocks = tuple(
            _fold(block, root, scale, last=place == len(self.blocks))
            for place, block in enumerate(self.blocks, 1)
        )
        return make_serving(_Serving, self.entrance, blocks, length, self.norm)


# ---- serving form -----------------------------------------------------------------------------
#
# What training multiplies by one kernel after another is one constant here. With x the normed
# vectors of the activities, a head's scores are x (Wq Wk') x' and its output is
# softmax(scores) x (Wv Wo): with the products in brackets folded, keys and values are the vectors
# themselves, the same for every head. The queries of all heads stand one below the other, which
# takes no transposition. Of more than two heads the products are larger than their factors, and the
# heads go apart as in training. The last block has the query of the latest activity alone, which is
# moved to the last row. The sum of the blocks is kept in units of the entrance's scale, which no
# norm notices.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Block:
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
      times: [1, H, T], what each step of time adds to the scores; None: nothing.
      heads: H.
    """

    query: Array
    key: Array | None
    value: Array | None
    output: Array
    distances: Array
    widen: Array
    widen_bias: Array
    narrow: Array
    times: Array | None
    heads: int = dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Serving(LatestServing):
    def __call__(self, x: Array, present: Array, ago: Array | None = None) -> Array:
        """See `Serving`; x may be anything at padding."""
        # The axis in front makes a BATCH_MATMUL of each product of two computed matrices. Otherwise
        # some become a FULLY_CONNECTED, which packs what it takes for weights in every call.
        x = self.enter(x)[None]
        *earlier, last = self.blocks
        norm = functools.partial(normed, epsilon=self.epsilon)
        hidden, hidden_from_latest = _hidden(present, last.heads if last.key is None else 1)
        for block in earlier:
            keys = norm(x)
            x = x + _attend(block, keys, keys, hidden - block.distances)
            x = x + _feed(block, norm(x))
        keys = norm(x)
        below = hidden_from_latest - last.distances
        if ago is not None and last.times is not None:
            reached_tl = (ago >= _STEPS[:, None]).astype(x.dtype)
            below = below - (last.times @ reached_tl[None]).reshape(last.distances.shape)
        x = x[:, -1:] + _attend(last, keys[:, -1:], keys, below)
        x = x + _feed(last, norm(x))
        return norm(x)[0] * present[-1]  # zero without any activity


def _fold(block: AttentionBlock, root: float, scale: float, *, last: bool) -> _Block:
    gain_w1 = block.attention_norm.get_value()[:, None] * root
    query, key, value, output, distances_hl = (
        param.get_value()
        for param in (block.query, block.key, block.value, block.output, block.distances)
    )
    width, heads, length = len(query), block.heads, distances_hl.shape[1]
    query, key, value = (gain_w1 * kernel for kernel in (query, key, value))
    query, output = query / (width // heads) ** 0.5, output / scale
    distances = distances_hl[:, behind(length)][:, -1:] if last else distances_hl[:, behind(length)]
    folded = heads <= _MOST_FOLDED
    if folded:
        query = jnp.einsum("whd,hdv->whv", *_by_head(query, key.T, heads)).reshape(width, -1)
        output = jnp.einsum("whd,hdv->hwv", *_by_head(value, output, heads)).reshape(-1, width)
        distances = jnp.moveaxis(distances, 0, 1).reshape(-1, length)
    return _Block(
        query,
        None if folded else key,
        None if folded else value,
        output,
        distances,
        block.feedforward_norm.get_value()[:, None] * root * block.widen.get_value(),
        block.widen_bias.get_value(),
        block.narrow.get_value() / scale,
        None if block.times is None else block.times.get_value()[None],
        heads,
    )


def _by_head(left: Array, right: Array, heads: int) -> tuple[Array, Array]:
    """[W, H * d] and [H * d, W], the heads on an axis of their own."""
    return left.reshape(len(left), heads, -1), right.reshape(heads, -1, right.shape[-1])


def _hidden(present_l: Array, rows: int) -> tuple[Array, Array]:
    """What is subtracted from the scores of keys out of sight.

    [L * rows, L], so many rows for each query, and [L] for the latest query.

    By arithmetic on places: keys come after a query or, at padding, after all queries. A constant
    of that shape would cost as much time and many bytes.
    """
    length = len(present_l)
    place_l = _SERVED_OUT_OF_SIGHT * np.arange(length, dtype=np.float32)
    beyond = _SERVED_OUT_OF_SIGHT * 2 * length
    key_l = (place_l + beyond) - present_l * beyond
    return (
        nnx.relu(key_l - np.repeat(place_l, rows)[:, None]),
        nnx.relu(key_l - place_l[-1]),
    )


def _attend(block: _Block, x_1qw: Array, keys_1lw: Array, hidden: Array) -> Array:
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


def _feed(block: _Block, x: Array) -> Array:
    return nnx.relu(x @ block.widen + block.widen_bias) @ block.narrow
