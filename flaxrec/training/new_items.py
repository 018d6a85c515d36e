"""The bias of new items, by which lists show as many of them as are wanted.

An item without an own vector fits its labels less well than one that training met, so that it is
scored lower; where items are followed by what is counted, much lower. A tenth of the known items
stand in for new ones: their vectors are those of their features alone, and nothing is counted of
them. The bias is the one with which their share of the lists for validation labels is their share
of these labels. Shapes: C candidates, D width, n labels.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flaxrec.config import Config
from flaxrec.data.dataset import Dataset
from flaxrec.data.splits import evenly
from flaxrec.evaluation import per_label
from flaxrec.evaluation.evaluator import Evaluator
from flaxrec.models import item_sums, rounded_tables
from flaxrec.models.dual_encoder import Params, Structure
from flaxrec.models.transitions_head import TransitionsHead

Put = Callable[[Any], jax.Array]
BIAS = "label_encoder/bias"
MOST_LABELS = 2_000  # that lists are made for
_EVERY = 10  # of the known items, in the order of their counts, one stands in for a new one
_WIDEST = 64.0  # added to the mean bias; with more than that nothing changes
_CLOSE = 0.05  # in the logits


def tower_shapes(config: Config, dataset: Dataset) -> dict[str, jax.ShapeDtypeStruct]:
    """The label tower's parameters, for `Checkpoints.restore_tower`."""
    return {
        item_sums.PREFIX + name: jax.ShapeDtypeStruct(
            (of.rows, config.model.embedding_dim), jnp.float32
        )
        for name, of in dataset.timelines.item_values.items()
    }


def bias(
    config: Config,
    dataset: Dataset,
    structure: Structure,
    rank: Evaluator,
    params: Params,
    tower: Params,
    put: Put = jax.device_put,
) -> float | None:
    """The bias, in the logits; None where no validation label is one of a stand-in.

    Args:
      config: of the run.
      dataset: its data.
      structure: its model's.
      rank: its evaluator, with the head that the run keeps; as before afterwards.
      params: of the whole model, with `BIAS`.
      tower: of `tower_shapes`.
      put: copies an array to every device.
    """
    split, spec = dataset.split, dataset.spec
    known = spec.candidates - split.cold_items
    stand_in = np.zeros(spec.candidates, bool)
    stand_in[_EVERY // 2 : known : _EVERY] = True
    labels = dataset.timelines.item[split.validation] - spec.first_candidate
    wanted = float(stand_in[labels].mean()) if len(labels) else 0.0
    if not wanted:
        return None
    some, head = evenly(split.validation, MOST_LABELS), rank.head
    without_ids = _without_ids(config, dataset, structure, params, tower, stand_in, put)
    mean = float(jax.device_get(_mean(params[BIAS], known)))

    def share(added: float) -> float:
        made = with_bias(without_ids, stand_in, mean + added, put)
        lists = rank(made, some, "bias of new items", per_label.TOP).top
        return float(stand_in[lists].mean())

    rank.head = head and _without_followers(head, stand_in, spec.first_candidate, put)
    try:
        return mean + _level(share, wanted)
    finally:
        rank.head = head


def with_bias(params: Params, rows: np.ndarray, value: float, put: Put = jax.device_put) -> Params:
    """The parameters with this bias of the candidates where `rows`, bool [C]."""
    return params | {BIAS: _replaced(params[BIAS], put(rows), put(np.float32(value)))}


@jax.jit
def _replaced(bias: jax.Array, rows: jax.Array, value: jax.Array) -> jax.Array:
    return jnp.where(rows, value, bias)


@functools.partial(jax.jit, static_argnums=1)
def _mean(bias: jax.Array, known: int) -> jax.Array:
    return bias[:known].mean()


def _level(share: Callable[[float], float], wanted: float) -> float:
    """Where a share that grows is the wanted one, from -`_WIDEST` to `_WIDEST`."""
    high = 1.0 if share(0.0) < wanted else 0.0
    while high and high < _WIDEST and share(high) < wanted:
        high *= 2
    low = high / 2 if high > 1 else high - 1
    while high <= 0 and low > -_WIDEST and share(low) > wanted:
        high, low = low, 2 * low
    while high - low > _CLOSE:
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) < wanted else (low, middle)
    return (low + high) / 2


def _without_ids(
    config: Config,
    dataset: Dataset,
    structure: Structure,
    params: Params,
    tower: Params,
    stand_in: np.ndarray,
    put: Put,
) -> Params:
    """The parameters in which the stand-ins' vectors are those of new items."""
    name, first = item_sums.label_table(structure, dataset.spec)
    rows = np.flatnonzero(stand_in)
    values = {n: put(of.values[rows]) for n, of in dataset.timelines.item_values.items()}

    @jax.jit
    def table(
        params: Params, tower: Params, values: dict[str, jax.Array], rows: jax.Array
    ) -> jax.Array:
        made = item_sums.of_features(tower, values)
        made += item_sums.without_id(structure, dataset.spec, params)
        made = rounded_tables.rounded({"": made}, [""], config.train.quantization)[""]
        return params[name].at[rows].set(made)

    return params | {name: table(params, tower, values, put(first + rows))}


def _without_followers(
    head: TransitionsHead, stand_in: np.ndarray, first: int, put: Put
) -> TransitionsHead:
    """The head in which nothing was counted of the stand-ins."""
    levels = np.array(jax.device_get(head.levels))
    levels[stand_in[jax.device_get(head.followers)]] = 0
    levels[first + np.flatnonzero(stand_in)] = 0
    return dataclasses.replace(head, levels=put(levels))
