"""Item vectors that are sums: an item's own vector and those of its features' values.

Training keeps the parts apart; everything else sees one table. So an export takes no byte more.
Shapes: C candidates, D width, m values of an item at most.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from flaxrec.data.spec import ModelSpec
from flaxrec.models.dual_encoder import Params, Structure

PREFIX = "item_features/"  # of the names of the features' tables


def summed(
    structure: Structure, spec: ModelSpec, params: Params, values: Mapping[str, jax.Array]
) -> Params:
    """The model's parameters: the features' tables added to the table of items.

    Args:
      structure: of the model; its item table is tied (config.model.tied_tables).
      spec: tells the rows of candidates.
      params: of the model, and a table [rows, D] for each feature.
      values: int32 [C, m] by feature, 0 where an item has fewer values.
    """
    model = {name: value for name, value in params.items() if not name.startswith(PREFIX)}
    if not values:
        return model
    (name,) = structure.item_tables(spec)
    total = sum(
        jnp.einsum("cmd,cm->cd", params[PREFIX + key][rows], (rows > 0).astype(jnp.float32))
        for key, rows in values.items()
    )
    first = spec.first_candidate
    model[name] = model[name].at[first : first + spec.candidates].add(total)
    return model
