"""The transitions head in the graph: lookups of followers, one scatter, one sum.

JAX's scatter would convert to an operator that the runtime cannot run; TensorFlow's is SCATTER_ND.
Followers are stored in 16 bits where they fit, weights in 8.
"""

from typing import Any

import numpy as np

from flaxrec.data.transitions import CONTEXT
from flaxrec.exporting.converter import operators_of
from flaxrec.models.transitions_head import TransitionsHead


class Graph:
    """A head as constants of a graph.

    Args:
      head: the head, on any device.
      first: the place of candidate 0 among the scores.
      bias: float32, added to the scores as well; None: nothing. In a FULLY_CONNECTED a bias would
        stand in the way of cheaper scales for 8 bits (see `tflite.small_weights`).
    """

    def __init__(self, head: TransitionsHead, first: int, bias: np.ndarray | None = None):
        self._bias = None if bias is None else np.asarray(bias, np.float32)
        followers = np.asarray(head.followers) + first
        small = np.int16 if followers.max() <= np.iinfo(np.int16).max else np.int32
        self._followers = followers.astype(small)
        self._levels = np.asarray(head.levels).astype(np.int8)
        self._factor = np.float32(np.asarray(head.weight) * np.asarray(head.scale))
        self._input, self._power = head.input, head.power

    def added_to(self, scores: Any, inputs: dict[str, Any]) -> Any:
        """The scores, TensorFlow float32 [C] or [B, C], with the head's part.

        `inputs` are int32 [L] or [B, L] by name, ids inside the vocabulary.
        """
        ids = inputs[self._input]
        tf = operators_of(ids)
        length = ids.shape[-1]
        count = min(CONTEXT, length)
        numbers = np.arange(1, length + 1, dtype=np.int32)
        end = tf.reduce_max(tf.minimum(ids, 1) * numbers, axis=-1, keepdims=True)
        # The latest ones, oldest first; zeros come before the context.
        padding = [[0, 0]] * (ids.shape.rank - 1) + [[count, 0]]
        places = end + np.arange(count, dtype=np.int32)
        latest = tf.gather(tf.pad(ids, padding), places, axis=-1, batch_dims=ids.shape.rank - 1)
        followers = tf.cast(tf.gather(self._followers, latest), tf.int32)
        ago = np.arange(count, 0, -1, dtype=np.float32)
        weights = (self._factor * ago**-self._power)[:, None].astype(np.float32)
        values = tf.cast(tf.gather(self._levels, latest), tf.float32) * weights
        if scores.shape.rank == 1:
            places = tf.reshape(followers, [-1, 1])
            added = tf.scatter_nd(places, tf.reshape(values, [-1]), tf.shape(scores))
        else:
            rows = tf.range(tf.shape(ids)[0])[:, None, None]
            places = tf.stack([tf.broadcast_to(rows, tf.shape(followers)), followers], axis=-1)
            added = tf.scatter_nd(places, values, tf.shape(scores))
        return scores + (added if self._bias is None else added + self._bias)
