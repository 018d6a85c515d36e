"""A model's weights for conversion: what depends on no input is computed once, beforehand.

Gains of norms, scales and products of kernels go into other kernels (`lean_attention`,
`lean_causal_cnn`), the temperature into the projection, vectors that are used at length 1 into
their table.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from flaxrec.exporting import lean_attention, lean_causal_cnn
from flaxrec.exporting.lean_attention import Attention
from flaxrec.exporting.lean_causal_cnn import CausalCnn
from flaxrec.models.attention import AttentionEncoder
from flaxrec.models.causal_cnn import CausalCnnEncoder
from flaxrec.models.context_encoder import ContextEncoder, FeatureGroupEncoder
from flaxrec.models.dual_encoder import Params, Structure
from flaxrec.models.features import unit


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["params", "encoders", "dense"], meta_fields=[]
)
@dataclasses.dataclass(frozen=True)
class Weights:
    """What the form for conversion reads.

    Attributes:
      params: the model's. Row 0 of inputs' tables, which no result depends on, is zero; with
        config.model.normalized the items' vectors have length 1.
      encoders: of each group, what is folded of its encoder; None where nothing is.
      dense: kernel and bias of the hidden layers and the projection. They read encodings without
        their gains, and the projection has the temperature in it where it can.
    """

    params: Params
    encoders: tuple[Attention | CausalCnn | None, ...]
    dense: tuple[tuple[jax.Array, jax.Array], ...]


def fold(structure: Structure, params: Params) -> Weights:
    """The weights of a model."""
    encoder = structure.merge(params).context_encoder
    encoders = tuple(map(_fold, encoder.groups))
    return Weights(
        _tables(encoder, params),
        encoders,
        _dense(encoder, encoders),
    )


def length(group: FeatureGroupEncoder) -> int:
    """L, the same for all features of a group."""
    return (*group.features.embedded, *group.features.numbers)[0].length


def _fold(group: FeatureGroupEncoder) -> Attention | CausalCnn | None:
    if isinstance(group.encoder, AttentionEncoder):
        return lean_attention.fold(group.encoder)
    if isinstance(group.encoder, CausalCnnEncoder):
        return lean_causal_cnn.fold(group.encoder, length(group))
    return None


def _tables(encoder: ContextEncoder, params: Params) -> Params:
    """The parameters with the tables as they are read."""
    tables = {
        f"context_encoder/groups/{index}/features/tables/{spec.name}": group.features.unit_items
        and spec.source == "item.id"
        for index, group in enumerate(encoder.groups)
        for spec in group.features.embedded
    }
    read = {name: params[name].at[0].set(0.0) for name in tables}
    if "label_encoder/table" in params:
        read["label_encoder/table"] = params["label_encoder/table"]
        tables["label_encoder/table"] = encoder.normalized
    return params | {n: unit(value) if tables[n] else value for n, value in read.items()}


def _dense(
    encoder: ContextEncoder, encoders: tuple[Attention | CausalCnn | None, ...]
) -> tuple[tuple[jax.Array, jax.Array], ...]:
    """Kernels and biases of the hidden layers and the projection."""
    dense = []
    for layer in (*encoder.hidden, encoder.projection):
        assert layer.bias is not None
        dense.append((layer.kernel.get_value(), layer.bias.get_value()))
    if any(encoders):
        gains = [
            jnp.ones(group.encoder.output_dim) if folded is None else folded.gain
            for group, folded in zip(encoder.groups, encoders, strict=True)
        ]
        dense[0] = (jnp.concatenate(gains)[:, None] * dense[0][0], dense[0][1])
    if encoder.scale != 1 and not encoder.normalized:
        dense[-1] = (dense[-1][0] * encoder.scale, dense[-1][1] * encoder.scale)
    return tuple(dense)
