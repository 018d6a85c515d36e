"""Judges a file by the lists that it returns for labels that a run kept, against another file.

Results come per label and are averaged later. A file runs as on a phone, one context a call.
Shapes: n labels, K items of a list, k items that count (k <= K).
"""

import dataclasses

import numpy as np

from flaxrec.errors import ExportError
from flaxrec.exporting import ranked_lists
from flaxrec.tflite.metadata import IDS, SCORES
from flaxrec.tflite.runtime import TfliteModel

_RESAMPLES = 10_000
_COVERAGE = 0.95


@dataclasses.dataclass(frozen=True)
class Lists:
    """A file's lists, best first: ids (vocabulary rows) int32 [n, K], scores float32 [n, K]."""

    ids: np.ndarray
    scores: np.ndarray


# ---- running a file -------------------------------------------------------------------------


def run(content: bytes, contexts: dict[str, np.ndarray], candidates: range) -> Lists:
    """Runs a .tflite on every context, [n, length] by input name.

    Raises:
      ExportError: it does not run, or returns no lists of distinct candidates.
    """
    lists = run_model(TfliteModel(content), contexts)
    ids = np.sort(lists.ids, axis=1)
    outside = (ids[:, 0] < candidates.start) | (ids[:, -1] >= candidates.stop)
    wrong = outside | (np.diff(ids, axis=1) == 0).any(axis=1) | np.isnan(lists.scores).any(axis=1)
    if wrong.any():
        raise ExportError(
            f"The file returns what is no list of {ids.shape[1]} items for {int(wrong.sum())} of "
            f"{len(ids)} contexts; use another --quantization."
        )
    return lists


def run_model(model: TfliteModel, contexts: dict[str, np.ndarray]) -> Lists:
    """Runs a loaded file on every context, [n, length] by input name."""
    ids, scores = zip(*ranked_lists.one_by_one(model_lists(model), contexts), strict=True)
    return Lists(np.stack(ids), np.stack(scores))


def model_lists(model: TfliteModel) -> ranked_lists.Runner:
    """A loaded file as a function from a context to its list."""

    def run(context: dict[str, np.ndarray]) -> ranked_lists.RankedList:
        out = model(context)
        return out[IDS], out[SCORES]

    return run


# ---- per label ------------------------------------------------------------------------------


def hits(ids: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Recall of single labels, bool [n]: whether the label is among the first k of ids [n, K]."""
    return (ids[:, :k] == labels[:, None]).any(axis=1)


def ndcg(ids: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """NDCG of single labels, float64 [n]: 1 / log2(2 + place) among the first k, else 0."""
    found = ids[:, :k] == labels[:, None]
    return found @ (1.0 / np.log2(np.arange(2, found.shape[1] + 2)))


def overlap(ids: np.ndarray, others: np.ndarray, k: int) -> np.ndarray:
    """The share of the first k items that two lists [n, K] have in common, float64 [n]."""
    both = np.sort(np.concatenate([ids[:, :k], others[:, :k]], axis=1), axis=1)
    return (np.diff(both, axis=1) == 0).sum(axis=1) / k


# ---- the loss and its interval --------------------------------------------------------------


def relative_loss(before: np.ndarray, after: np.ndarray) -> float:
    """The share of the hits [n] before that is lost after; negative: a gain; 0 without hits."""
    had, has = int(before.sum()), int(after.sum())
    return (had - has) / had if had else 0.0


def loss_interval(
    before: np.ndarray, after: np.ndarray, *, resamples: int = _RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """A 95% interval of the relative loss: paired bootstrap over labels (percentiles).

    Only four counts of a resample matter: hits before, after, both and neither. They are drawn
    together, from the same distribution as labels drawn one by one.

    Args:
      before: bool [n], hits of the first file.
      after: bool [n], hits of the second on the same labels.
      resamples: number of resamples.
      seed: of the draw.
    """
    n = len(before)
    shares = np.array([(before & after).sum(), (before & ~after).sum(), (~before & after).sum()])
    shares = np.append(shares, n - shares.sum()) / n
    drawn = np.random.default_rng(seed).multinomial(n, shares, size=resamples)
    both, only_before, only_after, _ = drawn.T
    had = both + only_before
    losses = np.where(had > 0, (only_before - only_after) / np.maximum(had, 1), 0.0)
    tail = 100 * (1 - _COVERAGE) / 2
    low, high = np.percentile(losses, [tail, 100 - tail])
    return float(low), float(high)
