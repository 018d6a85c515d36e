"""Neighbouring values of time share their vectors, so that a list does not jump between them.

A row of such a table is a mean over rows of a table that is trained: its own and its neighbours',
those that hardly occur with less weight. So a rare value reads what its neighbours learned.
Training keeps the parts; everything else sees one table, so an export takes no byte more.
Shapes: R rows, padding and 'unknown' included.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from flaxrec.data import moments
from flaxrec.data.timelines import Timelines
from flaxrec.models.dual_encoder import Params

_NEAR = 0.25  # weight of an event of the next value, beside one of the value itself
_PRIOR = 1.0  # events that every value is taken to have besides
_UNSURE = 1e-4  # variance of a sum beside that of a value, where sums are taken apart
_ENOUGH = 1000  # events from which on a value weighs as much as any other


def weights(timelines: Timelines, train: np.ndarray) -> dict[str, np.ndarray]:
    """The weights of the inputs of time, float32 [R, R] by input name; rows sum to 1.

    Args:
      timelines: the data.
      train: int32 [n], the training labels.
    """
    found = {}
    for spec in timelines.inputs:
        if spec.source in moments.OF_NOW and spec.rows:
            has_context = train > timelines.offsets[timelines.user[train]]
            at = train if spec.of_label else train[has_context] - 1
            counts = np.bincount(timelines.columns[spec.name].values[at], minlength=spec.rows)
            cyclic = spec.source in moments.OF_CALENDAR
            found[spec.name] = _kernel(counts[1:-1], cyclic=cyclic)
    return found


def _kernel(counts: np.ndarray, *, cyclic: bool) -> np.ndarray:
    """float32 [R, R] from the counts of the R - 2 values in their order."""
    place = np.arange(len(counts))
    apart = np.abs(place[:, None] - place)
    if cyclic:
        apart = np.minimum(apart, len(counts) - apart)
    near = _NEAR**apart * (np.minimum(counts, _ENOUGH) + _PRIOR)
    kernel = np.eye(len(counts) + 2, dtype=np.float32)
    kernel[1:-1, 1:-1] = near / near.sum(axis=1, keepdims=True)
    return kernel


def unsmoothed(params: Mapping[str, Any], kernels: Mapping[str, Any]) -> dict[str, Any]:
    """Tables that are trained, from those that `smoothed` makes of them, as near as it is sure.

    Values whose own weight is small are hardly told by the sums; they stay near their neighbours.
    """
    made = dict(params)
    for name in params:
        _, of_input, spec = name.rpartition("/tables/")
        if of_input and spec in kernels:
            table, kernel = np.asarray(params[name], np.float64), np.asarray(kernels[spec])
            spread = kernel @ kernel.T + _UNSURE * np.eye(len(kernel))
            made[name] = table + kernel.T @ np.linalg.solve(spread, table - kernel @ table)
    return made


def smoothed(params: Params, kernels: Mapping[str, jax.Array]) -> Params:
    """The model's parameters from those that are trained."""
    made = dict(params)
    for name in params:
        _, of_input, spec = name.rpartition("/tables/")
        if of_input and spec in kernels:
            made[name] = kernels[spec] @ params[name]
    return made
