"""The serving form of the model: the same numbers from few TFLite operators.

It takes one context, without a batch axis, in static shapes. A lookup is a product with a one-hot
matrix: the converter turns it into one EMBEDDING_LOOKUP (a gather becomes eleven operators). Row 0
of every table is zero, so a group that looks up one feature needs no mask for padding. Each encoder
brings its own serving form (`models.encoders`). `fold` computes what depends on no input before the
conversion: scales of norms and products of kernels go into other kernels, the temperature into the
projection, normalisation to length 1 into the table.

Shape letters: L length, C channels, F width of an encoding, D width of the context's encoding.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from flaxrec.data.spec import InputSpec, ModelSpec
from flaxrec.models.context_encoder import ContextEncoder, FeatureGroupEncoder, modulated
from flaxrec.models.dual_encoder import Params, Structure
from flaxrec.models.encoders.encoder import Serving, smallest
from flaxrec.models.features import clamp, unit

Layer = tuple[jax.Array, jax.Array]  # kernel and bias


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Weights:
    """The weights that the serving form reads.

    Attributes:
      params: the model's. Row 0 of the inputs' tables, which affects no result, is zero; with
        config.model.normalized the items' vectors have length 1.
      encoders: for each group, the serving form of its encoder; None if it has none.
      hidden: kernel and bias of each hidden layer. The encodings' gains are folded into the first
        kernel of all.
      modulations: kernel and bias of each; `gain` is then applied before them.
      gain: of the encodings that stand beside each other; None: it is folded, or 1.
      projection: kernel and bias, with the temperature unless normalized; None: no projection.
      factor: what the last layer's output is multiplied by, if there is nothing to fold it into.
      bias: of the label table's rows, float32 [N]; None: none.
    """

    params: Params
    encoders: tuple[Serving | None, ...]
    hidden: tuple[tuple[jax.Array, jax.Array], ...]
    modulations: tuple[tuple[jax.Array, jax.Array], ...]
    gain: jax.Array | None
    projection: tuple[jax.Array, jax.Array] | None
    factor: jax.Array | None
    bias: jax.Array | None


# ---- before the conversion --------------------------------------------------------------------


def fold(structure: Structure, params: Params) -> Weights:
    """Computes the serving form's weights from a model's parameters."""
    model = structure.merge(params)
    encoder = model.context_encoder
    encoders = tuple(group.encoder.serving(_length(group)) for group in encoder.groups)
    layers, modulations, gain, factor = _dense(encoder, encoders)
    projection = layers.pop() if encoder.projection is not None else None
    bias = None
    if model.label_encoder.bias is not None:
        table, first = model.label_rows()
        of_items = model.label_encoder.bias.get_value()
        bias = jnp.pad(of_items, (first, len(table) - first - len(of_items)))
    tables = _tables(encoder, params)
    return Weights(tables, encoders, tuple(layers), modulations, gain, projection, factor, bias)


def _length(group: FeatureGroupEncoder) -> int:
    """L, which all features of a group share."""
    return (*group.features.embedded, *group.features.numbers)[0].length


def _tables(encoder: ContextEncoder, params: Params) -> Params:
    """The parameters, with tables as the serving form reads them."""
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
) -> tuple[list[Layer], tuple[Layer, ...], jax.Array | None, jax.Array | None]:
    """Kernels and biases of the layers after the encoders, those of modulations, and two factors.

    The first factor is of the encodings before they are modulated, the second is left over.
    """
    layers = [*encoder.hidden, *([] if encoder.projection is None else [encoder.projection])]
    dense, factor = [_weights_of(layer) for layer in layers], None
    gains = [None if serving is None else serving.gain for serving in encoders]
    if any(gain is not None for gain in gains):
        factors = [
            jnp.ones(group.encoder.output_dim) if gain is None else gain
            for group, gain in zip(encoder.groups, gains, strict=True)
        ]
        factor = encoder.joined(factors)
    modulations, gain = [_weights_of(layer) for layer in encoder.modulations], None
    if modulations:
        for i, of_group in enumerate(encoder.modulating(gains)):
            if of_group is not None:
                modulations[i] = (of_group[:, None] * modulations[i][0], modulations[i][1])
        gain, factor = factor, None
    if factor is not None and dense:
        dense[0], factor = (factor[:, None] * dense[0][0], dense[0][1]), None
    if encoder.scale != 1 and not encoder.normalized:
        if encoder.projection is not None:
            dense[-1] = (dense[-1][0] * encoder.scale, dense[-1][1] * encoder.scale)
        else:
            factor = jnp.asarray(encoder.scale) * (1.0 if factor is None else factor)
    return dense, tuple(modulations), gain, factor


def _weights_of(layer: nnx.Linear) -> Layer:
    assert layer.bias is not None
    return layer.kernel.get_value(), layer.bias.get_value()


# ---- in the graph -----------------------------------------------------------------------------


def inside(inputs: dict[str, jax.Array], specs: tuple[InputSpec, ...]) -> dict[str, jax.Array]:
    """Clamps the inputs' ids to their tables."""
    rows = {spec.name: spec.rows for spec in specs if spec.rows}
    return {n: clamp(value, rows[n]) if n in rows else value for n, value in inputs.items()}


def logits(
    structure: Structure, params: Params, inputs: dict[str, jax.Array], spec: ModelSpec
) -> jax.Array:
    """[B, length] by input name -> float32 [B, C] by the serving form, to compare the forms."""
    weights = fold(structure, params)
    model = structure.merge(weights.params)
    contexts = jax.vmap(lambda one: encode_context(model.context_encoder, weights, one)[0])
    labels, first = model.label_rows()
    scores = model.score(contexts(inside(inputs, spec.inputs)), labels)
    scores = scores if weights.bias is None else scores + weights.bias
    return scores[:, first:][:, : spec.candidates]


def encode_context(
    encoder: ContextEncoder, weights: Weights, inputs: dict[str, jax.Array]
) -> jax.Array:
    """[length] by input name, ids inside the tables -> [1, D]."""
    encodings = [
        _encode(group, serving, inputs)
        for group, serving in zip(encoder.groups, weights.encoders, strict=True)
    ]
    x = encoder.joined(encodings)
    x = x if weights.gain is None else x * weights.gain
    for (kernel, bias), encoding in zip(
        weights.modulations, encoder.modulating(encodings), strict=True
    ):
        x = modulated(x, encoding @ kernel + bias)
    for kernel, bias in weights.hidden:
        x = nnx.relu(x @ kernel + bias)
    if weights.projection is not None:
        kernel, bias = weights.projection
        x = x @ kernel + bias
        x = nnx.relu(x) if encoder.relu_projection else x
    x = x if weights.factor is None else x * weights.factor
    return _unit(x, encoder.scale) if encoder.normalized else x


def _unit(x: jax.Array, length: float) -> jax.Array:
    """Scales x [1, D] to that length, as `features.unit` does to length 1."""
    # The converter would move a factor after the norm into the label table, and store two tables.
    square = jnp.maximum(jnp.sum(jnp.square(x), axis=-1, keepdims=True), 1e-12)
    return x * jax.lax.rsqrt(square if length == 1 else square / length**2)


def _encode(
    group: FeatureGroupEncoder, serving: Serving | None, inputs: dict[str, jax.Array]
) -> jax.Array:
    """[length] by input name -> [1, F]."""
    features = group.features
    ago = [] if features.ago is None else [features.ago]
    values = {
        spec.name: inputs[spec.name] for spec in (*features.embedded, *features.numbers, *ago)
    }
    if serving is None:
        x_lc, present_l = _vectors(group, values)
        times = {name: of_l[None] for name, of_l in group.times(values).items()}
        return group.encoder(x_lc[None], present_l[None], **times)
    values = serving.arrange(values, _ids(group))
    return serving(*_vectors(group, values), **group.times(values))


def _vectors(
    group: FeatureGroupEncoder, values: dict[str, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Vectors [L, C], zero at padding, and mask [L], 0 at padding and 1 elsewhere."""
    features = group.features
    parts = []
    for spec in features.embedded:
        table = features.tables[spec.name].get_value()
        parts.append(jax.nn.one_hot(values[spec.name], spec.rows, dtype=table.dtype) @ table)
    parts += [values[spec.name][:, None] for spec in features.numbers]
    x_lc = parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)
    id_l = smallest(values, _ids(group))
    if id_l is None:  # rows before the context are no activities
        place_l = np.arange(len(x_lc)) - len(x_lc) + _length(group)
        return x_lc, jnp.array(place_l >= 0, x_lc.dtype)
    present_l = (id_l != 0).astype(x_lc.dtype)
    # Row 0 of a table is zero, so a single feature's vectors are zero at padding already.
    return (x_lc if len(parts) == 1 else x_lc * present_l[:, None]), present_l


def _ids(group: FeatureGroupEncoder) -> list[str]:
    """The names of the inputs that are ids."""
    return [spec.name for spec in group.features.embedded]
