"""The model once more, written for conversion: the same numbers from few TFLite operators.

One context, no batch axis, static shapes. A lookup is a product with a one-hot matrix, which the
converter recognises as one EMBEDDING_LOOKUP (a gather becomes eleven operators). Row 0 of every
table is zero, so that padding needs no mask where a group looks up one feature. An LSTM is
unrolled: no state outlives the call, and no WHILE is left. Encoders of the latest activity
(`lean_attention`, `lean_causal_cnn`) compute what it sees. What depends on no input is computed
once, before the conversion (`folding`).

Shape letters: L length, C channels, E embedding width, F width of an encoding, U LSTM units,
W windows, k kernel size, D width of the context's encoding.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from flaxrec.data.spec import InputSpec, ModelSpec
from flaxrec.exporting import folding, lean_attention, lean_causal_cnn
from flaxrec.exporting.folding import Weights
from flaxrec.exporting.lean_attention import Attention
from flaxrec.exporting.lean_causal_cnn import CausalCnn
from flaxrec.models.context_encoder import ContextEncoder, FeatureGroupEncoder
from flaxrec.models.dual_encoder import Params, Structure
from flaxrec.models.encoders import BowEncoder, CnnEncoder, LstmEncoder
from flaxrec.models.features import clamp

# Beyond it a sigmoid is 0 or 1 to the bit.
_SATURATING = 1e4


def inside(inputs: dict[str, jax.Array], specs: tuple[InputSpec, ...]) -> dict[str, jax.Array]:
    """The inputs with their ids inside the tables."""
    rows = {spec.name: spec.rows for spec in specs if spec.rows}
    return {n: clamp(value, rows[n]) if n in rows else value for n, value in inputs.items()}


def logits(
    structure: Structure, params: Params, inputs: dict[str, jax.Array], spec: ModelSpec
) -> jax.Array:
    """[B, length] by input name -> float32 [B, C], context by context, to compare the forms."""
    weights = folding.fold(structure, params)
    model = structure.merge(weights.params)
    contexts = jax.vmap(lambda one: encode_context(model.context_encoder, weights, one)[0])
    labels, first = model.label_rows()
    return model.score(contexts(inside(inputs, spec.inputs)), labels[first:][: spec.candidates])


def encode_context(
    encoder: ContextEncoder, weights: Weights, inputs: dict[str, jax.Array]
) -> jax.Array:
    """[length] by input name, ids inside the tables -> [1, D]."""
    encodings = [
        _encode(group, folded, inputs)
        for group, folded in zip(encoder.groups, weights.encoders, strict=True)
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
    group: FeatureGroupEncoder,
    folded: Attention | CausalCnn | None,
    inputs: dict[str, jax.Array],
) -> jax.Array:
    """[length] by input name -> [1, F]."""
    specs = (*group.features.embedded, *group.features.numbers)
    values = {spec.name: inputs[spec.name] for spec in specs}
    encoder = group.encoder
    if isinstance(folded, Attention):
        moved = _moved(group, values, folding.length(group))
        return lean_attention.encode(folded, *_vectors(group, moved))
    if isinstance(folded, CausalCnn):
        moved = _moved(group, values, folded.rows)
        return lean_causal_cnn.encode(folded, *_vectors(group, moved))
    if isinstance(encoder, CnnEncoder):
        values = {name: _padded(value, encoder.kernel_size) for name, value in values.items()}
        return _cnn(encoder, *_vectors(group, values))
    x_lc, present_l = _vectors(group, values)
    if isinstance(encoder, LstmEncoder):
        return _lstm(encoder, x_lc, present_l)
    assert isinstance(encoder, BowEncoder)
    return _bow(encoder, x_lc, present_l)


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
        place_l = np.arange(len(x_lc)) - len(x_lc) + folding.length(group)
        return x_lc, jnp.array(place_l >= 0, x_lc.dtype)
    present_l = (smallest != 0).astype(x_lc.dtype)
    # The table's row 0 is zero; only with other features beside it can a vector be left over.
    return (x_lc if len(parts) == 1 else x_lc * present_l[:, None]), present_l


def _smallest(group: FeatureGroupEncoder, values: dict[str, jax.Array]) -> jax.Array | None:
    """[L], zero where an id of the group is padding; None without ids."""
    ids = [values[spec.name] for spec in group.features.embedded]
    return functools.reduce(jnp.minimum, ids) if ids else None


def _moved(
    group: FeatureGroupEncoder, values: dict[str, jax.Array], rows: int
) -> dict[str, jax.Array]:
    """The latest activity and what is before it, [rows] by input name: [length] moved to the end.

    Zeros come first. In a group without ids every value is an activity.
    """
    padded = {name: jnp.pad(value, (rows, 0)) for name, value in values.items()}
    smallest = _smallest(group, values)
    if smallest is None:
        return {name: value[-rows:] for name, value in padded.items()}
    numbers = np.arange(1, len(smallest) + 1, dtype=np.int32)
    places = jnp.max(jnp.minimum(smallest, 1) * numbers) + np.arange(rows, dtype=np.int32)
    return {name: jnp.take(value, places, mode="clip") for name, value in padded.items()}


def _bow(encoder: BowEncoder, x_lc: jax.Array, present_l: jax.Array) -> jax.Array:
    total = jnp.sum(x_lc, axis=0, keepdims=True)
    return total if encoder.sums else total / jnp.maximum(jnp.sum(present_l), 1.0)


def _padded(x: jax.Array, kernel_size: int) -> jax.Array:
    """[L, ...] -> [W * k, ...]: SAME padding, the left side gets the smaller half."""
    missing = -len(x) % kernel_size
    if not missing:
        return x
    sides = (missing // 2, missing - missing // 2)
    return jnp.pad(x, (sides, *[(0, 0)] * (x.ndim - 1)))


def _cnn(encoder: CnnEncoder, x_lc: jax.Array, present_l: jax.Array) -> jax.Array:
    present = present_l[:, None]
    for kernel, bias in zip(encoder.kernels, encoder.biases, strict=True):
        w_kcf, k = kernel.get_value(), encoder.kernel_size
        windows = _padded(x_lc, k).reshape(-1, k * x_lc.shape[1])
        x_lc = nnx.relu(windows @ w_kcf.reshape(-1, w_kcf.shape[-1]) + bias.get_value())
        if not encoder.sees_padding:
            present = jnp.max(_padded(present, k).reshape(-1, k), axis=1, keepdims=True)
            x_lc = x_lc * present
    return x_lc if len(x_lc) == 1 else jnp.max(x_lc, axis=0, keepdims=True)


def _lstm(encoder: LstmEncoder, x_lc: jax.Array, present_l: jax.Array) -> jax.Array:
    """Padding closes the input and output gates and opens the forget gate.

    So the cell stays as it is and the new state is zero, and the old one is put in its place.
    """
    units, recurrent = encoder.output_dim, encoder.recurrent_kernel.get_value()
    z_lg = x_lc @ encoder.kernel.get_value() + encoder.bias.get_value()
    absent = None
    if not encoder.sees_padding:
        absent = 1.0 - present_l[:, None]
        gates = np.array([-_SATURATING, _SATURATING, 0.0, -_SATURATING], np.float32)
        z_lg = z_lg + absent * np.repeat(gates, units)
    hidden = cell = jnp.zeros(())
    for t in range(len(x_lc)):
        z = z_lg[t : t + 1]
        if t:
            z = z + hidden @ recurrent
        opened = nnx.sigmoid(z)
        i, f, o = (opened[:, part * units : (part + 1) * units] for part in (0, 1, 3))
        new = i * jnp.tanh(z[:, 2 * units : 3 * units])
        cell = new + f * cell if t else new
        last, hidden = hidden, o * jnp.tanh(cell)
        if t and absent is not None:
            hidden = hidden + absent[t : t + 1] * last
    return hidden
