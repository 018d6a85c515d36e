"""Computes the losses and the eight metrics that the reference logs, by its names.

They serve comparison only: `global_mean_rank` is no rank of the labels (see
`scoring.metrics.all_pairs_rank`), and the batch metrics depend on the batch. The metrics that
flaxrec reports are in `flaxrec.scoring.metrics`.
"""

from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from flaxrec.scoring import losses, metrics


def running(
    batches: Iterable[tuple[np.ndarray, np.ndarray]], ks: Sequence[int]
) -> dict[str, float]:
    """Computes the metrics over some batches.

    Args:
      batches: (logits float32 [B, V], labels int [B]); global recall ignores labels outside the
        vocabulary.
      ks: cut-offs, at most the size of the vocabulary and of each batch.

    Returns:
      By name, in the reference's order: `Global_Recall/Recall_K` for each K, `global_mean_rank`,
      `Batch_Recall/Recall_K` for each K, `batch_mean_rank`.
    """
    found = [_per_example(logits, labels, ks) for logits, labels in batches]
    values = {name: np.concatenate([batch[name] for batch in found]) for name in found[0]}
    return {n: float(v.mean(dtype=np.float64)) if len(v) else 0.0 for n, v in values.items()}


def mean_loss(name: str, logits: np.ndarray, labels: np.ndarray) -> float:
    """Computes the reference's global_softmax or batch_softmax over a batch.

    Logits are float32 [B, V], labels int [B].
    """
    scores, own = jnp.asarray(logits), jnp.asarray(labels)
    if name == "global_softmax":
        loss = losses.global_softmax.cross_entropy(scores, own)
    else:
        loss = losses.batch_softmax.cross_entropy(
            scores[:, own], own, duplicates_are_negatives=True
        )
    return float(jnp.mean(loss))


def label_position(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """0-based rank of each label in its row of logits, int [B]; equal logits by index."""
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    before = (logits == own) & (np.arange(logits.shape[1]) < labels[:, None])
    return ((logits > own) | before).sum(axis=1)


def _per_example(
    logits: np.ndarray, labels: np.ndarray, ks: Sequence[int]
) -> dict[str, np.ndarray]:
    inside = (labels >= 0) & (labels < logits.shape[1])
    # Softmax first: scores that underflow to 0 are equal.
    probabilities = np.asarray(jax.nn.softmax(jnp.asarray(logits[inside]), axis=-1))
    position = label_position(probabilities, labels[inside])
    among_batch, all_pairs = jax.device_get(_ranks(logits, labels))
    return {
        **{f"Global_Recall/Recall_{k}": position < k for k in ks},
        "global_mean_rank": np.repeat(all_pairs, len(labels)),  # each row counts B times
        **{f"Batch_Recall/Recall_{k}": among_batch < k for k in ks},
        "batch_mean_rank": among_batch,
    }


@jax.jit
def _ranks(scores: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    return metrics.batch_rank(scores, labels), metrics.all_pairs_rank(scores, labels)
