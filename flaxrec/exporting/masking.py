"""Leaves out of the ranking, inside the graph, what the caller's mask leaves out.

The mask is one more input, float32 [R], a number for each row of the label vocabulary: 0, or
`LEFT_OUT` for what must not be shown, or a number that is added to the logit. Every caller must
fill it: LiteRT gives an input that is not filled no values of its own.
"""

from typing import Any

import numpy as np

from flaxrec.config import ExportConfig
from flaxrec.data.spec import InputSpec
from flaxrec.errors import ExportError
from flaxrec.exporting import exclusion
from flaxrec.exporting.converter import operators_of
from flaxrec.exporting.serving import ServingModel
from flaxrec.tflite.metadata import CANDIDATE_MASK, LEFT_OUT

_SHARES = (0, 0.5, 0.95, 0.99)  # of the candidates that a mask of the comparison leaves out


def input_of(model: ServingModel) -> InputSpec:
    """The mask as an input."""
    return InputSpec(CANDIDATE_MASK, CANDIDATE_MASK, "FLOAT", rows_of(model))


def rows_of(model: ServingModel) -> int:
    """R, rows of the label vocabulary; 'unknown' is one of them where padding is none."""
    spec = model.spec
    end = spec.first_candidate + spec.candidates
    return model.rows or max(exclusion.rows_of(spec), end + bool(spec.first_candidate))


def check(model: ServingModel, options: ExportConfig) -> None:
    """Raises ExportError if the model has an input of the mask's name already."""
    if options.candidate_mask and any(i.name == CANDIDATE_MASK for i in model.spec.inputs):
        raise ExportError(
            f"The model has a feature of the name {CANDIDATE_MASK}, which is the mask's; train "
            "with another name, or export without the mask."
        )


def of_rows(mask: Any, first: int, count: int) -> Any:
    """What to add to the scores of so many rows from `first` on, of the mask, TensorFlow [R].

    Minus infinity becomes `LEFT_OUT`: the search for the K-th score computes with the sum.
    """
    own = mask if count == mask.shape[0] else mask[first : first + count]
    return operators_of(own).maximum(own, LEFT_OUT)


# ---- to compare files with ----------------------------------------------------------------------


def draw(model: ServingModel, top_k: int, seed: int = 0) -> np.ndarray:
    """Masks, float32 [6, R]: nothing left out, then more and more, in the end all but K // 2.

    The last one leaves out every second row, and adds to the others' logits.
    """
    random, first = np.random.default_rng(seed), model.spec.first_candidate
    count, rows = model.spec.candidates, rows_of(model)
    shown = [*(max(1, round(count * (1 - share))) for share in _SHARES), max(1, top_k // 2)]
    masks = np.zeros((len(shown) + 1, rows), np.float32)
    for mask, number in zip(masks, shown, strict=False):
        mask[first + random.permutation(count)[number:]] = LEFT_OUT
    masks[-1] = np.where(random.random(rows) < 0.5, LEFT_OUT, random.normal(size=rows))
    return masks


def masked(logits: np.ndarray, mask: np.ndarray, model: ServingModel) -> np.ndarray:
    """The logits, float32 [n, C], with the mask [R]; minus infinity for what it leaves out."""
    first = model.spec.first_candidate
    own = mask[first : first + model.spec.candidates]
    return np.where(own > LEFT_OUT / 2, logits + own, np.float32(-np.inf))
