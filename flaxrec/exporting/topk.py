"""Exact top-K for a graph of TFLite's builtin operators, faster than TOPK_V2 on all scores.

TOPK_V2 walks over the scores with a heap of K, and every score that enters the heap takes time. A
lower bound of the K-th score leaves few candidates. Maxima of blocks of scores are scores
themselves, so a bound that K maxima exceed is exceeded by K scores. The search tries a handful of
bounds at once, with arithmetic that the CPU delegate runs. Only scores above the bound are ranked.
The result is the same as TOPK_V2's, including the order of equal scores.
"""

import math
from typing import Any

import numpy as np

from flaxrec.exporting.converter import operators_of

# About K log(C / K) scores enter TOPK_V2's heap. With fewer than this, the search for a bound takes
# longer than it saves.
_WORTH_A_BOUND = 80
# From this number of scores on, whole blocks are compared with the bound first: a pass over single
# scores would take longer than the blocks' maxima.
_BLOCKS_FROM = 25_000
_BLOCK = 32
# Maxima for each of the K: more of them tighten the bound but take longer to count.
_MAXIMA = 3
# Two rounds of eight values find the bound to a 64th of the maxima's range.
_ROUNDS, _VALUES = 2, 8
# A power of two scales without rounding. Scaled differences of unequal scores exceed 6.
_SCALE = 2.0**66
_OUT_OF_REACH = 1e34  # above every scaled score
# How far below the largest the search begins among scores of which a mask left out some.
_NEAR = 64.0


def top_k(scores: Any, k: int, *, masked: bool = False) -> tuple[Any, Any]:
    """The K largest scores, descending; equal scores in ascending order of the index.

    `scores` are TensorFlow float32 [C], C static, absolute values below 1e14, and K is at most C.
    With `masked`, scores far below all others do not slow the search down.
    Returns scores float32 [K], indices int32 [K].
    """
    tf = operators_of(scores)
    count = scores.shape[0]
    if count < _MAXIMA * k or k * math.log(count / k) < _WORTH_A_BOUND:
        return tf.math.top_k(scores, k)
    values, places = beyond_bound(scores, k, masked=masked)
    values, order = tf.math.top_k(values, k)
    return values, tf.gather(places, order)


def beyond_bound(scores: Any, k: int, slack: Any = 0.0, *, masked: bool = False) -> tuple[Any, Any]:
    """Returns the scores above a bound that at least K exceed, minus the slack.

    `scores` are TensorFlow float32 [C], C at least `_MAXIMA` times K; `slack` is float32 [], not
    negative; `masked` as in `top_k`. Returns scores float32 [n], K <= n, and their indices int32
    [n], ascending.
    """
    tf = operators_of(scores)
    count = scores.shape[0]
    if count < _BLOCKS_FROM or count // _BLOCK < _MAXIMA * k:
        chosen = _where(scores > _bound(scores, k, masked) - slack)
        return tf.gather(scores, chosen), chosen
    blocks = count // _BLOCK
    whole = blocks * _BLOCK
    in_blocks = tf.reshape(tf.slice(scores, [0], [whole]), [blocks, _BLOCK])
    maxima = tf.reduce_max(in_blocks, axis=1)
    bound = _bound(maxima, k, masked) - slack
    chosen = _where(maxima > bound)
    values = tf.reshape(tf.gather(in_blocks, chosen), [-1])
    places = tf.reshape(chosen * _BLOCK, [-1, 1]) + np.arange(_BLOCK, dtype=np.int32)
    places = tf.reshape(places, [-1])
    if whole < count:  # the rest fills no block
        values = tf.concat([values, tf.slice(scores, [whole], [count - whole])], axis=0)
        places = tf.concat([places, np.arange(whole, count, dtype=np.int32)], axis=0)
    chosen = _where(values > bound)
    return tf.gather(values, chosen), tf.gather(places, chosen)


def _where(condition: Any) -> Any:
    """Indices int32 [n], ascending, where bool [N] is true."""
    tf = operators_of(condition)
    return tf.cast(tf.reshape(tf.where(condition), [-1]), tf.int32)


def _bound(scores: Any, k: int, masked: bool = False) -> Any:
    """A bound, float32 [], that at least K of the scores [N] exceed."""
    tf = operators_of(scores)
    width = scores.shape[0] // (_MAXIMA * k)
    blocks = scores.shape[0] // width
    # Block b holds the scores b, b + blocks, ...: with items ordered by count, each block gets its
    # share of the popular ones.
    # SLICE copies at once what STRIDED_SLICE, which TensorFlow makes of [:n], copies one by one.
    whole = tf.slice(scores, [0], [width * blocks]) if width * blocks < scores.shape[0] else scores
    maxima = tf.reduce_max(tf.reshape(whole, [width, blocks]), 0, keepdims=True)
    scaled = maxima * _SCALE
    low, high = tf.reduce_min(scaled, keepdims=True), tf.reduce_max(scaled, keepdims=True)
    if masked:
        low = tf.maximum(low, high - _NEAR * _SCALE)
    span = high - low
    parts = np.arange(_VALUES, dtype=np.float32)[:, None] / _VALUES
    for _ in range(_ROUNDS):
        values = low + span * parts
        # Each maximum above the value adds 6; less only if it is almost equal to the value.
        beyond = tf.reduce_sum(tf.nn.relu6(scaled - values), axis=1, keepdims=True)
        # Take the largest value that K maxima exceed; without one, a number below all scores.
        missing = tf.nn.relu(6.0 * k - beyond)
        low = tf.reduce_max(values - missing * _OUT_OF_REACH, keepdims=True)
        parts = parts / _VALUES
    return tf.reshape(low * (1 / _SCALE), [])
