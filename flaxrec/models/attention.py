"""Causal self-attention over a context.

After SASRec (Kang & McAuley 2018, 'Self-attentive sequential recommendation'), with what later work
found to serve: norms before the layers instead of after, root-mean-square norms without a mean, no
biases, scores by distance. Shapes: B batch, L context length, W width, H heads, C channels.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from flaxrec.models.features import dropout
from flaxrec.models.residual import Entrance, glorot, latest, rms_norm

OUT_OF_SIGHT = -1e9  # a score of attention that its softmax takes as zero


def ago(length: int) -> np.ndarray:
    """How many activities each key (second L) lies before each query: int [L, L], at least 0."""
    place = np.arange(length)
    return np.maximum(place[:, None] - place, 0)


class AttentionBlock(nnx.Module):
    """Self-attention, then a layer of ReLUs for each position; both are added to their input.

    Scores of attention depend on how long ago the key is as well: a learned number for each head
    and distance (Raffel et al. 2020, without their buckets). Windows that begin anywhere show a
    model few examples of a place, and many of a distance.
    """

    def __init__(
        self, width: int, *, length: int, heads: int, feedforward: int, rate: float, rngs: nnx.Rngs
    ) -> None:
        self.heads = heads
        self.rate = rate

        def kernel(rows: int, columns: int) -> nnx.Param:
            return nnx.Param(glorot(rngs.params(), (rows, columns)))

        self.distances = nnx.Param(jnp.zeros((heads, length)))
        self.attention_norm = nnx.Param(jnp.ones(width))
        self.query = kernel(width, width)
        self.key = kernel(width, width)
        self.value = kernel(width, width)
        self.output = kernel(width, width)
        self.feedforward_norm = nnx.Param(jnp.ones(width))
        self.widen = kernel(width, feedforward)
        self.widen_bias = nnx.Param(jnp.zeros(feedforward))
        self.narrow = kernel(feedforward, width)

    def __call__(self, x_blw: jax.Array, hidden_bll: jax.Array, key: jax.Array | None) -> jax.Array:
        """The block.

        Args:
          x_blw: [B, L, W].
          hidden_bll: [B, L, L], or anything of that shape by broadcasting; added to the scores of
            attention: `OUT_OF_SIGHT` where the query (first L) must not see the key.
          key: of dropout; None outside training.

        Returns:
          [B, L, W].
        """
        dtype = x_blw.dtype
        keys = (None, None) if key is None else jax.random.split(key)

        def weight(param: nnx.Param) -> jax.Array:
            return param.get_value().astype(dtype)

        def by_head(x: jax.Array) -> jax.Array:
            return x.reshape(*x.shape[:-1], self.heads, -1)

        x = rms_norm(x_blw, weight(self.attention_norm))
        q, k, v = (by_head(x @ weight(w)) for w in (self.query, self.key, self.value))
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / jnp.sqrt(q.shape[-1]).astype(dtype)
        scores += weight(self.distances)[:, ago(x_blw.shape[1])]
        seen = jax.nn.softmax(scores + hidden_bll[:, None], axis=-1)
        x = jnp.einsum("bhqk,bkhd->bqhd", seen, v).reshape(x_blw.shape) @ weight(self.output)
        x_blw = x_blw + dropout(x, self.rate, keys[0])
        x = rms_norm(x_blw, weight(self.feedforward_norm))
        x = nnx.relu(x @ weight(self.widen) + weight(self.widen_bias)) @ weight(self.narrow)
        return x_blw + dropout(x, self.rate, keys[1])


class AttentionEncoder(nnx.Module):
    """Blocks of causal self-attention; the encoding is that of the latest activity, normed.

    Padding is seen by nobody. Places in the context have no vectors: distances tell enough
    (docs/half_a_megabyte.md).
    """

    def __init__(
        self,
        channels: int,
        *,
        length: int,
        width: int,
        blocks: int,
        heads: int,
        feedforward: int,
        rate: float,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        self.output_dim = width
        self.dtype = dtype
        self.entrance = Entrance(channels, width, dtype=dtype, rngs=rngs)
        self.blocks = nnx.List(
            [
                AttentionBlock(
                    width,
                    length=length,
                    heads=heads,
                    feedforward=feedforward,
                    rate=rate,
                    rngs=rngs,
                )
                for _ in range(blocks)
            ]
        )
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
        length = x.shape[1]
        x = self.entrance(x) * mask[..., None]
        keys = [None] * len(self.blocks)
        if key is not None:
            keys = list(jax.random.split(key, len(keys)))
        later = jnp.triu(jnp.ones((length, length), self.dtype), 1)
        absent = 1 - mask[:, None, :]
        hidden = jnp.maximum(later, absent) * jnp.asarray(OUT_OF_SIGHT, self.dtype)
        for block, block_key in zip(self.blocks, keys, strict=True):
            x = block(x, hidden, block_key)
        if not every_position:
            x = latest(x, mask)
        return rms_norm(x, self.norm.get_value().astype(self.dtype))
