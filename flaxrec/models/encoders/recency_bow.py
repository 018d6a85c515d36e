"""Bag of words that weighs activities by how long ago they were, and one residual layer.

Shapes: B batch, L context length, C channels, W width, N width of the hidden layer, R rows served.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from flaxrec.models.encoders.encoder import Encoder, Serving, Setting, visible
from flaxrec.models.encoders.residual import (
    Entrance,
    LatestServing,
    glorot,
    make_serving,
    normed,
    rms_norm,
)
from flaxrec.models.features import dropout


class RecencyBowEncoder(Encoder):
    """The weighted mean of the context's vectors, plus a layer of ReLUs of it, normed.

    An activity's weight is a softmax over the context of a learned number for each distance: the
    latest activity has distance 0. Zero without any activity.
    """

    title = "bag of words by recency"
    encodes_prefixes = True
    encodes_packed = True

    def __init__(self, setting: Setting, *, rngs: nnx.Rngs) -> None:
        self.output_dim = width = setting.width
        self.rate, self.dtype = setting.dropout, setting.dtype
        hidden = setting.group.feedforward_ratio * width
        self.entrance = Entrance(setting.channels, width, dtype=self.dtype, rngs=rngs)
        self.distances = nnx.Param(-jnp.log1p(jnp.arange(setting.length, dtype=jnp.float32)))
        self.widen = nnx.Param(glorot(rngs.params(), (width, hidden)))
        self.widen_bias = nnx.Param(jnp.zeros(hidden))
        self.narrow = nnx.Param(glorot(rngs.params(), (hidden, width)))
        self.norm = nnx.Param(jnp.ones(width))

    def __call__(
        self,
        x: Array,
        mask: Array,
        *,
        every_position: bool = False,
        users: Array | None = None,
        key: Array | None = None,
    ) -> Array:
        """See `Encoder`."""
        length = x.shape[1]
        x = self.entrance(x) * mask[..., None]
        size = jnp.exp(self.distances.get_value()).astype(self.dtype)
        if every_position:
            ago = np.maximum(np.subtract.outer(np.arange(length), np.arange(length)), 0)
            weights = size[ago] * visible(mask, users)  # [B, L, L]
        else:
            place = np.arange(length)
            end = jnp.max((mask > 0) * place, axis=1, keepdims=True)
            weights = (size[jnp.maximum(end - place, 0)] * mask)[:, None]
        total = jnp.sum(weights, axis=-1, keepdims=True)
        x = weights / jnp.maximum(total, 1e-9) @ x
        hidden = nnx.relu(x @ self._weight(self.widen) + self._weight(self.widen_bias))
        # ReLUs of a zero vector are not zero: without any activity the encoding is.
        narrowed = hidden @ self._weight(self.narrow) * (total > 0)
        x = rms_norm(x + dropout(narrowed, self.rate, key), self._weight(self.norm))
        return x if every_position else x[:, 0]

    def _weight(self, param: nnx.Param) -> Array:
        return param.get_value().astype(self.dtype)

    def serving(self, length: int) -> Serving:
        """See `Encoder`."""
        size = jnp.exp(self.distances.get_value()[:length])[::-1]
        scale = self.entrance.scale
        block = _Block(
            size,
            self.widen.get_value() * scale,
            self.widen_bias.get_value(),
            self.narrow.get_value() / scale,
        )
        return make_serving(_Serving, self.entrance, (block,), length, self.norm)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Block:
    """Constants.

    Attributes:
      size: [R], the activities' weights before they are divided by their sum, oldest first.
      widen: [W, N].
      widen_bias: [N].
      narrow: [N, W].
    """

    size: Array
    widen: Array
    widen_bias: Array
    narrow: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Serving(LatestServing):
    def __call__(self, x: Array, present: Array) -> Array:
        """See `Serving`."""
        (block,) = self.blocks
        weights = (block.size * present)[None]
        total = jnp.maximum(jnp.sum(weights, axis=1, keepdims=True), 1e-9)
        x = (weights / total) @ self.enter(x)
        hidden = nnx.relu(x @ block.widen + block.widen_bias) @ block.narrow
        return normed(x + hidden, self.epsilon) * present[-1]  # zero without any activity
