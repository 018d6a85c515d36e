"""The model once more, written for conversion: the same numbers from few TFLite operators.

One context, no batch axis, static shapes. A lookup is a product with a one-hot matrix, which the
converter recognises as one EMBEDDING_LOOKUP (a gather becomes eleven operators). Row 0 of every
table is zero, so that padding needs no mask where a group looks up one feature. Each encoder brings
its own form for one context (`models.encoders`). What depends on no input is computed once, before
the conversion (`fold`): scales of norms and products of kernels go into other kernels, the
temperature into the projection, vectors that are used at length 1 into their table.

Shape letters: L length, C channels, E embedding width, F width of an encoding, D width of the
context's encoding.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from flaxrec.data.spec import InputSpec, ModelSpec
from flaxrec.models.context_encoder import ContextEncoder, FeatureGroupEncoder
from flaxrec.models.dual_encoder import Params, Structure
from flaxrec.models.encoders import Serving
from flaxrec.models.features import clamp, unit


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Weights:
    """What the form for conversion reads.

    Attributes:
      params: the model's. Row 0 of inputs' tables, which no result depends on, is zero; with
        config.model.normalized the items' vectors have length 1.
      encoders: of each group, the serving form of its encoder; None where it has none.
      dense: kernel and bias of the hidden layers and the projection. They read encodings without
        their gains, and the projection has the temperature in it where it can.
    """

    params: Params
    encoders: tuple[Serving | None, ...]
    dense: tuple[tuple[jax.Array, jax.Array], ...]


# ---- before the conversion --------------------------------------------------------------------


def fold(structure: Structure, params: Params) -> Weights:
    """The weights of a model."""
    encoder = structure.merge(params).context_encoder
    encoders = tuple(group.encoder.serving(_length(group)) for group in encoder.groups)
    return Weights(_tables(encoder, params), encoders, _dense(encoder, encoders))


def _length(group: FeatureGroupEncoder) -> int:
    """L, the same for all features of a group."""
    return (*group.features.embedded, *group.features.numbers)[0].length


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
    encoder: ContextEncoder, encoders: tuple[Serving | None, ...]
) -> tuple[tuple[jax.Array, jax.Array], ...]:
    """Kernels and biases of the hidden layers and the projection."""
    dense = []
    for layer in (*encoder.hidden, encoder.projection):
        assert layer.bias is not None
        dense.append((layer.kernel.get_value(), layer.bias.get_value()))
    gains = [None if serving is None else serving.gain for serving in encoders]
    if any(gain is not None for gain in gains):
        factors = [
            jnp.ones(group.encoder.output_dim) if gain is None else gain
            for group, gain in zip(encoder.groups, gains, strict=True)
        ]
        dense[0] = (jnp.concatenate(factors)[:, None] * dense[0][0], dense[0][1])
    if encoder.scale != 1 and not encoder.normalized:
        dense[-1] = (dense[-1][0] * encoder.scale, dense[-1][1] * encoder.scale)
    return tuple(dense)


# ---- in the graph -----------------------------------------------------------------------------


def inside(inputs: dict[str, jax.Array], specs: tuple[InputSpec, ...]) -> dict[str, jax.Array]:
    """The inputs with their ids inside the tables."""
    rows = {spec.name: spec.rows for spec in specs if spec.rows}
    return {n: clamp(value, rows[n]) if n in rows else value for n, value in inputs.items()}


def logits(
    structure: Structure, params: Params, inputs: dict[str, jax.Array], spec: ModelSpec
) -> jax.Array:
    """[B, length] by input name -> float32 [B, C], context by context, to compare the forms."""
    weights = fold(structure, params)
    model = structure.merge(weights.params)
    contexts = jax.vmap(lambda one: encode_context(model.context_encoder, weights, one)[0])
    labels, first = model.label_rows()
    return model.score(contexts(inside(inputs, spec.inputs)), labels[first:][: spec.candidates])


def encode_context(
    encoder: ContextEncoder, weights: Weights, inputs: dict[str, jax.Array]
) -> jax.Array:
    """[length] by input name, ids inside the tables -> [1, D]."""
    encodings = [
        _encode(group, serving, inputs)
        for group, serving in zip(encoder.groups, weights.encoders, strict=True)
    ]
    x = encodings[0] if len(encodings) == 1 else jnp.concatenate(encodings, axis=-1)
    *hidden, (kernel, bias) = weights.dense
    for layer_kernel, layer_bias in hidden:
        x = nnx.relu(x @ layer_kernel + layer_bias)
    x = x @ kernel + bias
    x = nnx.relu(x) if encoder.relu_projection else x
    return _unit(x, encoder.scale) if encoder.normalized else x


def _unit(x: jax.Array, length: float) -> jax.Array:
    """Gives x [1, D] that length, as `features.unit` gives it 1."""
    # A factor after the norm, the converter would move into the label table: a second table then.
    square = jnp.maximum(jnp.sum(jnp.square(x), axis=-1, keepdims=True), 1e-12)
    return x * jax.lax.rsqrt(square if length == 1 else square / length**2)


def _encode(
    group: FeatureGroupEncoder, serving: Serving | None, inputs: dict[str, jax.Array]
) -> jax.Array:
    """[length] by input name -> [1, F]."""
    specs = (*group.features.embedded, *group.features.numbers)
    values = {spec.name: inputs[spec.name] for spec in specs}
    if serving is None:
        x_lc, present_l = _vectors(group, values)
        return group.encoder(x_lc[None], present_l[None])
    return serving(*_vectors(group, serving.arrange(values, _smallest(group, values))))


def _vectors(
    group: FeatureGroupEncoder, values: dict[str, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Vectors [L, C], zero at padding, and mask [L], 1 where there is none."""
    features = group.features
    parts = []
    for spec in features.embedded:
        table = features.tables[spec.name].get_value()
        parts.append(jax.nn.one_hot(values[spec.name], spec.rows, dtype=table.dtype) @ table)
    parts += [values[spec.name][:, None] for spec in features.numbers]
    x_lc = parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)
    smallest = _smallest(group, values)
    if smallest is None:  # rows before the context are no activities
        place_l = np.arange(len(x_lc)) - len(x_lc) + _length(group)
        return x_lc, jnp.array(place_l >= 0, x_lc.dtype)
    present_l = (smallest != 0).astype(x_lc.dtype)
    # The table's row 0 is zero; only with other features beside it can a vector be left over.
    return (x_lc if len(parts) == 1 else x_lc * present_l[:, None]), present_l


def _smallest(group: FeatureGroupEncoder, values: dict[str, jax.Array]) -> jax.Array | None:
    """[L], zero where an id of the group is padding; None without ids."""
    ids = [values[spec.name] for spec in group.features.embedded]
    return functools.reduce(jnp.minimum, ids) if ids else None
