"""The transitions head of a run: its table from the training labels, its weight from validation."""

from collections.abc import Callable

import numpy as np

from flaxrec.config import Config
from flaxrec.data import transitions
from flaxrec.data.dataset import Dataset
from flaxrec.data.timelines import ITEM
from flaxrec.errors import ConfigError
from flaxrec.models import transitions_head
from flaxrec.models.transitions_head import TransitionsHead

# Tried on validation labels; by the first of them epochs are compared.
WEIGHTS = (25.0, 0.0, 5.0, 10.0, 17.0, 35.0, 50.0, 70.0, 100.0, 200.0)
MOST_LABELS = 10_000  # that a weight is chosen by


def head_of(config: Config, dataset: Dataset) -> TransitionsHead | None:
    """The head that config.model.transitions asks for, on the host, with its first weight.

    Raises:
      ConfigError: the model reads no item ids of the items' whole vocabulary.
    """
    count, spec = config.model.transitions, dataset.spec
    if not count:
        return None
    inputs = [i for i in spec.inputs if i.source == "item.id" and i.vocabulary == ITEM]
    if not inputs:
        raise ConfigError(
            f"config.model.transitions is {count}, but the model reads no item ids; add a feature "
            "with the source item.id and vocab_size 0, or use 0."
        )
    table = transitions.normalized(
        dataset.timelines,
        dataset.split.train,
        spec,
        keep_self=config.model.transitions_to_self,
        most=count,
    )
    followers, weights = transitions.followers(table, min(count, spec.candidates))
    return transitions_head.make(
        followers,
        weights,
        first=spec.first_candidate,
        rows=inputs[0].rows,
        name=inputs[0].name,
        weight=config.model.transitions_weight or WEIGHTS[0],
    )


def best_weight(
    metric_of: Callable[[float, np.ndarray], float], labels: np.ndarray, *, lower_is_better: bool
) -> float:
    """The best of `WEIGHTS` on an even sample of the labels, int32 [n].

    `metric_of` takes a weight and labels. Of equal weights the smaller one is taken.
    """
    some = labels[np.linspace(0, len(labels) - 1, min(len(labels), MOST_LABELS)).astype(int)]
    sign = -1 if lower_is_better else 1
    return max(sorted(WEIGHTS), key=lambda weight: sign * metric_of(weight, some))
