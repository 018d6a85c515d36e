"""Ranks labels by scores that come one context at a time, as from a file or from counts."""

from collections.abc import Iterable

import numpy as np

from flaxrec.data.dataset import Dataset
from flaxrec.evaluation.evaluator import PerLabel
from flaxrec.exporting import ranked_lists
from flaxrec.terminal.progress import progress


def rank(
    scores: Iterable[np.ndarray],
    dataset: Dataset,
    positions: np.ndarray,
    *,
    top: int = 0,
    what: str = "labels",
) -> PerLabel:
    """Ranks each label among all candidates, as `evaluation.Evaluator` does.

    Args:
      scores: [C] for each label's context, in the labels' order.
      dataset: the data.
      positions: int32 [n], the labels' events.
      top: length of the lists with seen items left out; 0: none.
      what: names the progress.

    Returns:
      Ranks without a loss; each equal score counts as half a place.
    """
    timelines, first = dataset.timelines, dataset.spec.first_candidate
    ranks = np.zeros(len(positions), np.float32)
    filtered = None if timelines.contexts_are_stored else np.zeros_like(ranks)
    lists = np.zeros((len(positions), min(top, dataset.spec.candidates)), np.int32)
    labels = timelines.item[positions] - first
    with progress(what, len(positions), "labels") as advance:
        for n, (own, label, position) in enumerate(zip(scores, labels, positions, strict=True)):
            ranks[n] = _places(own, own[label]) - 0.5  # the label is equal to itself
            if filtered is not None:
                earlier = slice(timelines.offsets[timelines.user[position]], position)
                seen = timelines.item[earlier][timelines.first_occurrence[earlier]] - first
                filtered[n] = ranks[n] - _places(own[seen[seen != label]], own[label])
                if top:
                    own = own.copy()
                    own[seen] = -np.inf
            if top:
                lists[n] = ranked_lists.top(own, top)
            advance(1)
    return PerLabel(positions, ranks, filtered, loss=None, top=lists if top else None)


def _places(scores: np.ndarray, own: np.number) -> float:
    """The number of these candidates ranked before a score of `own`; equal ones count half."""
    return float((scores > own).sum() + 0.5 * (scores == own).sum())
