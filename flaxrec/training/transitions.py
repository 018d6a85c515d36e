"""The transitions head of a run: its table from the training labels, its weight from validation."""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy import sparse

from flaxrec.config import Config
from flaxrec.data import transitions
from flaxrec.data.dataset import Dataset
from flaxrec.data.splits import evenly
from flaxrec.data.timelines import ITEM
from flaxrec.errors import ConfigError
from flaxrec.evaluation import baselines
from flaxrec.models import transitions_head
from flaxrec.models.transitions_head import TransitionsHead

# Tried on validation labels; by the first of them epochs are compared.
WEIGHTS = (25.0, 0.0, 5.0, 10.0, 17.0, 35.0, 50.0, 70.0, 100.0, 200.0)
MOST_LABELS = 10_000  # that a weight is chosen by
_MOST_EVENTS = 3_000_000  # with more, the table is made once, in its usual form


@dataclasses.dataclass(frozen=True)
class Form:
    """How transitions are counted and read.

    Attributes:
      distance_power: a pair d events apart counts d to this power.
      row_power, column_power: see `data.transitions.normalized`.
      context_power: the k-th latest item counts k to the power -context_power.
    """

    distance_power: float = -0.5
    row_power: float = -0.5
    column_power: float = -0.25
    context_power: float = 1.0


# Tried one after the other; the better one goes on.
_OTHER_FORMS: tuple[dict[str, float], ...] = (
    {"context_power": 2.0},
    {"distance_power": -1.0},
    {"distance_power": -2.0},
    {"row_power": -0.7, "column_power": -0.3},
)


def head_of(config: Config, dataset: Dataset) -> TransitionsHead | None:
    """The head that config.model.transitions asks for, on the host, with its first weight.

    Of a few forms the one is taken whose table, alone, has the best NDCG on validation labels.

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
    best, table = Form(), _table(Form(), config, dataset)
    labels = evenly(dataset.split.validation, MOST_LABELS)
    if len(labels) and len(dataset.timelines.item) <= _MOST_EVENTS:
        reached = _ndcg(best, table, config, dataset, labels)
        for changes in _OTHER_FORMS:
            form = dataclasses.replace(best, **changes)
            other = _table(form, config, dataset)
            ndcg = _ndcg(form, other, config, dataset, labels)
            if ndcg > reached:
                best, table, reached = form, other, ndcg
    followers, weights = transitions.followers(table, min(count, spec.candidates))
    return transitions_head.make(
        followers,
        weights,
        first=spec.first_candidate,
        rows=inputs[0].rows,
        name=inputs[0].name,
        weight=config.model.transitions_weight or WEIGHTS[0],
        power=best.context_power,
    )


def _table(form: Form, config: Config, dataset: Dataset) -> sparse.csr_array:
    return transitions.normalized(
        dataset.timelines,
        dataset.split.train,
        dataset.spec,
        distance_power=form.distance_power,
        row_power=form.row_power,
        column_power=form.column_power,
        keep_self=config.model.transitions_to_self,
        most=config.model.transitions,
    )


def _ndcg(
    form: Form, table: sparse.csr_array, config: Config, dataset: Dataset, labels: np.ndarray
) -> float:
    counts = baselines.from_context(dataset, table, transitions.CONTEXT, form.context_power)
    is_filtered = config.train.select_metric.startswith("filtered/")
    ranked = baselines.ranks(counts, labels, what="transitions")
    return ranked.means((10,))[f"{'filtered/' * is_filtered}ndcg@10"]


def best_weight(
    metric_of: Callable[[float, np.ndarray], float], labels: np.ndarray, *, lower_is_better: bool
) -> float:
    """The best of `WEIGHTS` on an even sample of the labels, int32 [n].

    `metric_of` takes a weight and labels. Of equal weights the smaller one is taken.
    """
    some = evenly(labels, MOST_LABELS)
    sign = -1 if lower_is_better else 1
    return max(sorted(WEIGHTS), key=lambda weight: sign * metric_of(weight, some))
