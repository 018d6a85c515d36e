"""Contexts in which something is not known: the moment of asking, all times, or the ratings.

A model is asked again with such contexts, to measure what the knowledge is worth to it. What an
input holds when its value is unknown is `features.unknown`.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from flaxrec.data import moments
from flaxrec.data.spec import InputSpec
from flaxrec.models import features as features_lib

MOMENT, TIMES, RATINGS = "moment", "times", "ratings"
# In words, for tables.
TITLES = {MOMENT: "moment unknown", TIMES: "times absent", RATINGS: "ratings absent"}
_SOURCES = {
    MOMENT: frozenset(moments.OF_NOW),
    TIMES: frozenset({*moments.SOURCES, "event.time"}),
    RATINGS: frozenset({"event.rating"}),
}


def concerns(what: str, inputs: tuple[InputSpec, ...]) -> bool:
    """Whether some input tells of `what`: MOMENT, TIMES or RATINGS."""
    return any(spec.source in _SOURCES[what] for spec in inputs)


def without(
    what: str, context: Mapping[str, np.ndarray], inputs: tuple[InputSpec, ...]
) -> dict[str, np.ndarray]:
    """Contexts with `what` unknown; padding stays.

    MOMENT: of `event.gap_after` the latest activity's value alone, of other inputs that depend on
    the moment all. TIMES, RATINGS: all values of the inputs.

    Args:
      what: MOMENT, TIMES or RATINGS.
      context: [n, length] by input name, oldest value first.
      inputs: the model's inputs.

    Returns:
      A new dict; arrays of the same shapes and dtypes, those of other inputs the same ones.
    """
    changed = dict(context)
    for spec in inputs:
        if spec.source not in _SOURCES[what]:
            continue
        values = context[spec.name]
        gone = _present(spec, context, inputs)
        if what == MOMENT and spec.source == moments.GAP_AFTER:
            gone &= ~np.pad(gone[:, 1:], ((0, 0), (0, 1)))  # the last alone
        instead = np.asarray(features_lib.unknown(jnp.asarray(values), spec))
        changed[spec.name] = np.where(gone, instead, values)
    return changed


def _present(
    spec: InputSpec, context: Mapping[str, np.ndarray], inputs: tuple[InputSpec, ...]
) -> np.ndarray:
    """Where an input holds values and no padding, bool [n, length].

    Of inputs in which 0 is a value as well, an input of ids tells it; without one, everywhere.
    """
    values = context[spec.name]
    if spec.rows or not spec.of_activity:
        return values != 0 if spec.rows else np.ones(values.shape, bool)
    aligned = [
        context[other.name] != 0
        for other in inputs
        if other.rows and other.of_activity and not other.multi_valued
        if other.length >= spec.length
    ]
    if not aligned:
        return np.ones(values.shape, bool)
    lengths = aligned[0].sum(axis=1, keepdims=True)
    return np.arange(values.shape[1]) < lengths
