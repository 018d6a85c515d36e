"""The label tower: item vectors that are sums of an item's own vector and those of its features.

Training keeps the parts apart; everything else sees one table. So an export takes no byte more.
Shapes: C items, D width, m values of an item at most, V numbers of an item.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from flaxrec.data.spec import ModelSpec
from flaxrec.models.dual_encoder import Params, Structure

_FEW = 0.5  # of the candidates, up to which some are made instead of all
PREFIX = "item_features/"  # of the names of the features' tables and kernels
Values = Mapping[str, jax.Array]  # int32 [C, m] or float32 [C, V] by feature, as `ItemValues`


def summed(
    structure: Structure,
    spec: ModelSpec,
    params: Params,
    values: Values,
    kept: jax.Array | None = None,
    only: jax.Array | None = None,
    split: bool = False,
) -> Params:
    """The model's parameters: the features' vectors added to the table of labels.

    With config.model.tied_tables that is the contexts' table too.

    Args:
      structure: of the model.
      spec: tells the rows of candidates.
      params: of the model, and a table or kernel [rows, D] for each feature.
      values: of the candidates.
      kept: bool [C], the items whose own vector counts; None: all. With tied tables the others
        have that of 'unknown', so that it is learned.
      only: int32 [n], distinct candidates whose sums are made, those from C on stand for none;
        other rows of the table are undefined. None: all.
      split: devices hold parts of the table.
    """
    model = {name: value for name, value in params.items() if not name.startswith(PREFIX)}
    if not values:
        return model
    name, first = label_table(structure, spec)
    if only is not None:
        at = jnp.minimum(only, spec.candidates - 1)
        own = model[name][first + at]
        if kept is not None:
            own = jnp.where(kept[at, None], own, without_id(structure, spec, model))
        sums = own + of_features(params, {n: of[at] for n, of in values.items()})
        places = first + only + jnp.where(only < spec.candidates, 0, len(model[name]))
        model[name] = model[name].at[places].set(sums, mode="drop", unique_indices=True)
        return model
    rows = slice(first, first + spec.candidates)
    own = model[name][rows]
    if kept is not None:
        own = jnp.where(kept[:, None], own, without_id(structure, spec, model))
    sums = own + of_features(params, values)
    model[name] = _between(model[name], sums, first) if split else model[name].at[rows].set(sums)
    return model


def without_id(structure: Structure, spec: ModelSpec, params: Params) -> jax.Array:
    """What stands for the own vector of items without one, [D]: that of 'unknown', or 0 untied."""
    name, first = label_table(structure, spec)
    return params[name][-1] if first else jnp.zeros(params[name].shape[1])


def some(candidates: int, *ids: jax.Array) -> jax.Array | None:
    """Distinct candidates among these, as `only` of `summed`; None where all are as quick.

    Args:
      candidates: C.
      *ids: int [...], candidates and what is none.
    """
    flat = jnp.concatenate([of.reshape(-1) for of in ids])
    if len(flat) > _FEW * candidates:
        return None
    places = candidates + jnp.arange(len(flat))  # of those that are none, distinct too
    inside = jnp.where((flat >= 0) & (flat < candidates), flat, candidates)
    found = jnp.unique(inside, size=len(flat), fill_value=candidates)
    return jnp.where(found < candidates, found, places)


def label_table(structure: Structure, spec: ModelSpec) -> tuple[str, int]:
    """The name of the labels' table, which may be the contexts', and its row of candidate 0."""
    if "label_encoder/table" in structure.shapes:
        return "label_encoder/table", 0
    (name,) = structure.item_tables(spec)
    return name, spec.first_candidate


def of_features(params: Params, values: Values) -> jax.Array:
    """The sum of the features' vectors, [C, D]."""
    return sum(_vectors(params[PREFIX + name], of) for name, of in values.items())  # type: ignore[return-value]


def parts(params: Params) -> Params:
    """The features' tables and kernels alone."""
    return {name: value for name, value in params.items() if name.startswith(PREFIX)}


def _between(table: jax.Array, rows: jax.Array, first: int) -> jax.Array:
    """The table with these rows from `first` on, in which no device needs more than a neighbour's.

    For `table.at[...].set(rows)` the compiler lets every device gather the whole table.
    """
    end = first + len(rows)
    place = jnp.arange(len(table))[:, None]
    padded = jnp.pad(rows, [(first, len(table) - end), (0, 0)])
    return jnp.where((place >= first) & (place < end), padded, table)


def _vectors(weights: jax.Array, values: jax.Array) -> jax.Array:
    if jnp.issubdtype(values.dtype, jnp.floating):
        return values @ weights
    return jnp.einsum("cmd,cm->cd", weights[values], (values > 0).astype(jnp.float32))
