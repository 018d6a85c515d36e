"""Ranking metrics: pure functions, one value per label, averaged by the caller.

A rank is 0-based: the number of better candidates plus half the number of other equal ones.
"""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np


def label_rank(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Rank of each label among all candidates.

    Args:
      scores: float32 [B, C].
      labels: int32 [B], candidates.

    Returns:
      float32 [B]; C if the label's score is NaN.

    >>> scores = jnp.array([[3.0, 1.0, 2.0, 2.0]])
    >>> label_rank(scores, jnp.array([2])).tolist()  # one better, one of two equal
    [1.5]
    """
    own = jnp.take_along_axis(scores, labels[:, None], axis=1)
    better = jnp.sum(scores > own, axis=1)
    equal = jnp.sum(scores == own, axis=1) - 1
    rank = better + 0.5 * equal
    return jnp.where(jnp.isnan(own[:, 0]), float(scores.shape[1]), rank)


def recall(rank: np.ndarray, k: int) -> np.ndarray:
    """1 where the label is among the first k (with one label also called hit rate).

    >>> recall(np.array([0.0, 9.5, 10.0]), 10).tolist()
    [1.0, 1.0, 0.0]
    """
    return (rank < k).astype(np.float64)


def ndcg(rank: np.ndarray, k: int) -> np.ndarray:
    """1 / log2(rank + 2) for labels among the first k, else 0 (one relevant item: the ideal is 1).

    >>> ndcg(np.array([0.0, 2.0, 10.0]), 10).tolist()  # 1 / log2(2), 1 / log2(4)
    [1.0, 0.5, 0.0]
    """
    return np.where(rank < k, 1 / np.log2(rank + 2), 0.0)


def mrr(rank: np.ndarray, k: int) -> np.ndarray:
    """1 / (rank + 1) for labels among the first k, else 0.

    >>> mrr(np.array([0.0, 3.0, 10.0]), 10).tolist()
    [1.0, 0.25, 0.0]
    """
    return np.where(rank < k, 1 / (rank + 1), 0.0)


def from_ranks(
    rank: np.ndarray, ks: Iterable[int], prefix: str = "", weights: np.ndarray | None = None
) -> dict[str, float]:
    """Means over the labels: recall@K, ndcg@K, mrr@K and mean_rank (0-based), names prefixed.

    With `weights`, one a label, weighted ones.
    """
    rank = np.asarray(rank, np.float64)
    means = {
        f"{prefix}{name}@{k}": float(np.average(metric(rank, k), weights=weights))
        for name, metric in (("recall", recall), ("ndcg", ndcg), ("mrr", mrr))
        for k in ks
    }
    return means | {f"{prefix}mean_rank": float(np.average(rank, weights=weights))}


def top(logits: np.ndarray, k: int) -> np.ndarray:
    """The k best candidates, int [k]; equal logits in ascending order, NaN last."""
    if k < len(logits):  # sorting all of a million logits is slow
        worst_of_them = np.partition(-logits, k - 1)[k - 1]
        among = np.flatnonzero(-logits <= worst_of_them)
        if len(among) >= k:
            return among[np.argsort(-logits[among], kind="stable")[:k]]
    return np.argsort(-logits, kind="stable")[:k]


def batch_rank(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """The reference's rank among the batch's own labels.

    Args:
      scores: float32 [B, C].
      labels: int32 [B].

    Returns:
      int32 [B], the 0-based position of column i when row i of scores[:, labels] is sorted in
      descending order; equal columns keep their order.
    """
    among = scores[:, labels]
    own = jnp.diagonal(among)[:, None]
    index = jnp.arange(len(labels))
    ties_before = (among == own) & (index[None, :] < index[:, None])
    return jnp.sum((among > own) | ties_before, axis=1)


def all_pairs_rank(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """The reference's global mean rank: every label's rank in every context.

    A context's own label is only one of the B labels averaged, so the value says little about the
    model; it is correct only for B = 1.

    Args:
      scores: float32 [B, C].
      labels: int32 [B].

    Returns:
      float32 [B], for each row the mean 0-based position of all B labels when it is sorted in
      descending order; equal scores keep their order.
    """
    order = jnp.argsort(-scores, axis=1, stable=True)
    rows = jnp.arange(len(scores))[:, None]
    places = jnp.zeros_like(order).at[rows, order].set(jnp.arange(scores.shape[1]))
    return jnp.mean(places[:, labels].astype(jnp.float32), axis=1)
