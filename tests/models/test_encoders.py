"""Sequence encoders against second implementations in NumPy, and what padding does to them.

Shapes: B batch, L context length, C channels, F filters, U LSTM units, k kernel size.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flaxrec.config import Config, GroupConfig
from flaxrec.models.encoders import ENCODERS as CLASSES
from flaxrec.models.encoders import Setting

CHANNELS = 3
ENCODERS = ["bow", "cnn", "lstm"]
MODES = pytest.mark.parametrize("reference", [False, True], ids=["default", "reference"])


def make(
    name,
    *,
    filters=(4,),
    kernel_size=2,
    units=5,
    numbers_only=False,
    reference=False,
    length=10,
    dtype=jnp.float32,
    seed=0,
):
    """An encoder for CHANNELS channels."""
    group = GroupConfig(
        encoder=name, conv_filter_ratios=filters, conv_kernel_size=kernel_size, lstm_units=units
    )
    setting = Setting(
        group,
        CHANNELS,
        length,
        embedding_dim=1,
        numbers_only=numbers_only,
        quirks=Config(reference_mode=reference).quirks,
        dtype=jnp.dtype(dtype),
    )
    return CLASSES[name](setting, rngs=nnx.Rngs(seed))


def filled(name, **options):
    """An encoder whose weights, biases included, are random numbers; and these, by name."""
    graphdef, state = nnx.split(nnx.eval_shape(lambda: make(name, **options)))
    random = np.random.default_rng(1)
    state = jax.tree.map(lambda s: jnp.asarray(random.normal(0, 0.7, s.shape), s.dtype), state)
    return nnx.merge(graphdef, state), by_name(state)


def by_name(state):
    """The arrays of a state."""
    flat = {"/".join(map(str, path)): v for path, v in nnx.to_flat_state(state)}
    return {name: np.asarray(v.get_value()) for name, v in flat.items()}


def sequence(*histories, length):
    """Random vectors [B, length, C] and masks [B, length] with so many activities, then padding."""
    random = np.random.default_rng(2)
    mask = (np.arange(length) < np.array(histories)[:, None]).astype("float32")
    x = random.normal(size=(*mask.shape, CHANNELS)).astype("float32")
    return x * mask[..., None], mask


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# ---- second implementations -----------------------------------------------------------------


def numpy_bow(x, mask, sums):
    out = np.zeros((len(x), x.shape[2]))
    for b, (vectors, present) in enumerate(zip(x, mask, strict=True)):
        if sums:
            out[b] = vectors.sum(axis=0)
        elif present.any():
            out[b] = vectors[present > 0].mean(axis=0)
    return out


def numpy_cnn(x, mask, weights, kernel_size, *, sees_padding):
    """Slides a window; SAME padding as TensorFlow documents it, for stride = kernel size."""
    for layer in range(sum(name.startswith("kernels/") for name in weights)):
        kernel, bias = weights[f"kernels/{layer}"], weights[f"biases/{layer}"]
        length, count = x.shape[1], -(-x.shape[1] // kernel_size)
        left = max((count - 1) * kernel_size + kernel_size - length, 0) // 2
        out, out_mask = np.zeros((len(x), count, len(bias))), np.zeros((len(x), count))
        for b, window in np.ndindex(len(x), count):
            total = bias.astype(np.float64)
            for tap in range(kernel_size):
                position = window * kernel_size + tap - left
                if 0 <= position < length:
                    total = total + x[b, position] @ kernel[tap]
                    out_mask[b, window] = max(out_mask[b, window], mask[b, position])
            out[b, window] = np.maximum(total, 0)
        x, mask = out, out_mask
        if not sees_padding:
            x = x * mask[..., None]
    return x.max(axis=1)


def numpy_lstm(x, mask, weights, *, sees_padding):
    """Hidden states [B, L, U]; gates input, forget, cell, output."""
    kernel, recurrent, bias = (weights[k] for k in ("kernel", "recurrent_kernel", "bias"))
    units = len(recurrent)
    states = np.zeros((len(x), x.shape[1], units))
    for b in range(len(x)):
        hidden, cell = np.zeros(units), np.zeros(units)
        for t, vector in enumerate(x[b]):
            if mask[b, t] or sees_padding:
                z = vector @ kernel + hidden @ recurrent + bias
                gate_i, gate_f = sigmoid(z[:units]), sigmoid(z[units : 2 * units])
                new, gate_o = np.tanh(z[2 * units : 3 * units]), sigmoid(z[3 * units :])
                cell = gate_f * cell + gate_i * new
                hidden = gate_o * np.tanh(cell)
            states[b, t] = hidden
    return states


# ---- bag of words ---------------------------------------------------------------------------


@MODES
@pytest.mark.parametrize("numbers_only", [False, True])
def test_bow(reference, numbers_only):
    encoder, _ = filled("bow", numbers_only=numbers_only, reference=reference)
    x, mask = sequence(6, 2, 1, 0, length=6)
    mask[0, 2] = 0  # an activity with an unknown id between others
    x[0, 2] = 0
    # The mean, except that the reference sums numbers that have no id beside them.
    expected = numpy_bow(x, mask, sums=numbers_only and reference)
    np.testing.assert_allclose(jax.jit(encoder)(x, mask), expected, atol=1e-6)
    assert encoder.output_dim == CHANNELS


def test_bow_by_hand():
    x = np.array([[[2.0, 4.0, 0.0], [4.0, 0.0, 1.0], [0.0, 0.0, 0.0]]], np.float32)
    mask = np.array([[1.0, 1.0, 0.0]], np.float32)
    ones = np.ones_like(mask)

    @jax.jit
    def encodings():
        reference = make("bow", numbers_only=True, reference=True)
        return make("bow")(x, mask), reference(x, ones), make("bow", numbers_only=True)(x, ones)

    mean, total, of_numbers = encodings()
    assert mean.tolist() == [[(2 + 4) / 2, 4 / 2, 1 / 2]]
    assert total.tolist() == [[2 + 4, 4, 1]]
    assert np.asarray(of_numbers)[0, 0] == (2 + 4 + 0) / 3


# ---- convolutions ---------------------------------------------------------------------------


@MODES
@pytest.mark.parametrize(
    ("length", "kernel_size", "filters"),
    [
        (10, 4, (2, 3)),  # the sample config's: 10 -> 3 windows -> 1
        (3, 4, (4,)),  # shorter than the kernel
        (1, 4, (2, 3)),  # one activity
        (8, 4, (3,)),  # no padding at all
        (11, 3, (2, 3, 4)),  # 11 -> 4 -> 2 -> 1
        (5, 2, (3, 2)),  # the odd position is padded on the right
        (4, 1, (3, 2)),  # a kernel of one activity
    ],
)
def test_cnn(length, kernel_size, filters, reference):
    options = {"kernel_size": kernel_size, "filters": filters, "reference": reference}
    encoder, weights = filled("cnn", **options)
    x, mask = sequence(length, (length + 1) // 2, 1, 0, length=length)
    expected = numpy_cnn(x, mask, weights, kernel_size, sees_padding=reference)
    np.testing.assert_allclose(jax.jit(encoder)(x, mask), expected, atol=2e-6)
    assert encoder.output_dim == filters[-1]


def with_kernel_of_ones(kernel_size, bias, **options):
    """A CNN of one filter that adds up its window."""
    encoder, _ = filled("cnn", filters=(1,), kernel_size=kernel_size, **options)
    encoder.kernels[0].set_value(jnp.asarray(np.ones((kernel_size, CHANNELS, 1), np.float32)))
    encoder.biases[0].set_value(jnp.asarray(np.full(1, bias, np.float32)))
    return encoder


def numbers(*values):
    """The values in the first of the channels, [1, L, C], and where they are not 0."""
    x = np.zeros((1, len(values), CHANNELS), np.float32)
    x[0, :, 0] = values
    return x, (x[..., 0] != 0).astype("float32")


@pytest.mark.parametrize(
    ("values", "largest"),
    [
        # L=10, k=4 lacks two positions, one at each end: [_ 1 2 3] [4 5 6 7] [8 9 10 _].
        (range(1, 11), 8 + 9 + 10),
        # L=3, k=4 lacks one, at the right.
        (range(1, 4), 1 + 2 + 3),
        # L=5, k=4 lacks three, one at the left: [_ 5 4 3] [2 1 _ _].
        ((5, 4, 3, 2, 1), 5 + 4 + 3),
    ],
)
def test_same_padding_by_hand(values, largest):
    x, mask = numbers(*values)
    assert jax.jit(with_kernel_of_ones(4, 0.5))(x, mask).tolist() == [[largest + 0.5]]


def test_cnn_padding_never_wins_the_maximum():
    # Windows [_ -2 -1 -1] and [0 0 0 _]: relu(1 - 4) = 0 with activities, relu(1) without any.
    x, mask = numbers(-2, -1, -1, 0, 0, 0)
    assert jax.jit(with_kernel_of_ones(4, 1.0))(x, mask).tolist() == [[0.0]]
    assert jax.jit(with_kernel_of_ones(4, 1.0, reference=True))(x, mask).tolist() == [[1.0]]


def test_cnn_padding_never_wins_in_a_deeper_layer():
    encoder, _ = filled("cnn", filters=(1, 1), kernel_size=2)
    for layer, channels in enumerate((CHANNELS, 1)):
        kernel = np.full((2, channels, 1), 1 if not layer else -1, np.float32)
        encoder.kernels[layer].set_value(jnp.asarray(kernel))
        encoder.biases[layer].set_value(jnp.asarray(np.full(1, 2, np.float32)))
    encode = jax.jit(encoder)
    # First layer: [1 + 2 + 2, 0, 0, 0] (2 is the bias); second: relu(2 - 5), and padding only.
    x, mask = numbers(1, 2, 0, 0, 0, 0, 0, 0)
    assert encode(x, mask).tolist() == [[0.0]]
    x, mask = numbers(1, 2, 0, 0, -4, 3, 0, 0)
    assert encode(x, mask).tolist() == [[2.0 - (-4 + 3 + 2)]]


# ---- LSTM -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("reference", "length"), [(False, 6), (True, 3)])
def test_lstm(reference, length):
    encoder, weights = filled("lstm", reference=reference)
    x, mask = sequence(length, 2, 1, 0, length=length)
    mask[0, 1] = 0
    x[0, 1] = 0

    @jax.jit
    def forms(x, mask):
        every = encoder(x, mask, every_position=True)
        return every, encoder(x, mask)

    every, last = forms(x, mask)
    states = numpy_lstm(x, mask, weights, sees_padding=reference)
    np.testing.assert_allclose(every, states, atol=2e-6)
    np.testing.assert_allclose(last, states[:, -1], atol=2e-6)
    assert encoder.output_dim == 5


def test_lstm_by_hand():
    encoder, _ = filled("lstm", units=1)
    # No input reaches the gates: input 1/2, forget 1/5, cell tanh(z) = 3/5, output 1/3.
    z = np.log([1, 1 / 4, 2, 1 / 2])
    encoder.kernel.set_value(jnp.asarray(np.zeros((CHANNELS, 4), np.float32)))
    encoder.recurrent_kernel.set_value(jnp.asarray(np.zeros((1, 4), np.float32)))
    encoder.bias.set_value(jnp.asarray(z, jnp.float32))
    x, mask = sequence(2, length=2)
    first = 1 / 2 * 3 / 5
    second = 1 / 5 * first + 1 / 2 * 3 / 5
    assert float(np.asarray(jax.jit(encoder)(x, mask))[0, 0]) == pytest.approx(
        1 / 3 * np.tanh(second), rel=1e-6
    )


# ---- padding --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bow", "lstm"])
@MODES
def test_encoding_of_a_padded_window(name, reference):
    encoder, _ = filled(name, reference=reference)
    x, mask = sequence(2, length=3)

    @jax.jit
    def both(x, mask):
        return encoder(x, mask), encoder(x[:, :2], mask[:, :2])

    padded, short = jax.device_get(both(x, mask))
    difference = np.abs(padded - short).max()
    if name == "lstm" and reference:
        assert difference > 1e-2  # the quirk: padding moves the state
    else:
        assert difference < 1e-6


@pytest.mark.parametrize("name", ENCODERS)
@MODES
def test_padding_alone(name, reference):
    encoder, _ = filled(name, reference=reference, filters=(4, 3))
    graphdef, state = nnx.split(encoder)
    x, mask = sequence(0, 2, length=3)

    def squares(state, x):
        encoding = nnx.merge(graphdef, state)(x, mask)
        return jnp.sum(encoding**2), encoding

    grad = jax.jit(jax.value_and_grad(squares, argnums=(0, 1), has_aux=True))
    (_, encoding), gradients = jax.device_get(grad(state, x))
    assert np.isfinite(encoding).all()
    assert all(np.isfinite(gradient).all() for gradient in jax.tree.leaves(gradients))
    # The first example has no activity: no encoding, unless the encoder sees padding.
    assert encoding[0].any() == (reference and name != "bow")
    assert encoding[1].any()


# ---- every position at once -----------------------------------------------------------------


@partial(jax.jit, static_argnums=0)
def prefixes(encoder, x, mask):
    """Encodings [B, L, F] of every prefix: all at once, and one prefix after the other."""
    lengths = range(1, x.shape[1] + 1)
    one_by_one = [encoder(x[:, :n], mask[:, :n]) for n in lengths]
    return encoder(x, mask, every_position=True), jnp.stack(one_by_one, axis=1)


@pytest.mark.parametrize("numbers_only", [False, True])
@MODES
def test_bow_of_every_prefix(numbers_only, reference):
    encoder, _ = filled("bow", numbers_only=numbers_only, reference=reference)
    x, mask = sequence(5, 3, 0, length=5)
    mask[0, 0] = 0  # a prefix without any activity
    x[0, 0] = 0
    every, one_by_one = prefixes(encoder, x, mask)
    assert every.shape == (3, 5, CHANNELS)
    np.testing.assert_allclose(every, one_by_one, atol=1e-6)


@MODES
def test_lstm_of_every_prefix(reference):
    encoder, _ = filled("lstm", reference=reference)
    x, mask = sequence(3, 2, 0, length=3)
    every, one_by_one = prefixes(encoder, x, mask)
    assert every.shape == (3, 3, 5)
    np.testing.assert_allclose(every, one_by_one, atol=1e-6)


def test_cnn_refuses_every_position():
    encoder, _ = filled("cnn")
    with pytest.raises(NotImplementedError, match="every position"):
        encoder(*sequence(4, length=4), every_position=True)


# ---- precision and initial values -----------------------------------------------------------


@pytest.mark.parametrize("name", ENCODERS)
def test_bfloat16(name):
    x, mask = sequence(3, 2, 0, length=3)
    exact, _ = filled(name)
    encoder, weights = filled(name, dtype=jnp.bfloat16)
    encoding = jax.jit(encoder)(x.astype(jnp.bfloat16), mask.astype(jnp.bfloat16))
    assert encoding.dtype == jnp.bfloat16
    assert {w.dtype for w in weights.values()} <= {np.dtype("float32")}
    encoding = np.asarray(encoding).astype("float32")
    np.testing.assert_allclose(encoding, jax.jit(exact)(x, mask), atol=0.05)


def initial(name, **options):
    """The weights of a new encoder by name."""
    state = jax.jit(lambda: nnx.split(make(name, **options))[1])()
    return by_name(state)


def test_initial_cnn():
    weights = initial("cnn", kernel_size=4, filters=(96,))
    assert set(weights) == {"kernels/0", "biases/0"}
    assert weights["kernels/0"].shape == (4, CHANNELS, 96)
    assert_glorot(weights["kernels/0"], 4 * CHANNELS, 4 * 96)
    np.testing.assert_array_equal(weights["biases/0"], np.zeros(96))


def test_initial_lstm():
    units = 24
    weights = initial("lstm", units=units)
    assert_glorot(weights["kernel"], CHANNELS, 4 * units)
    recurrent = weights["recurrent_kernel"]
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(units), atol=1e-5)
    # The forget gate, second of the four, starts open.
    expected = np.repeat([0, 1, 0, 0], units)
    np.testing.assert_array_equal(weights["bias"], expected)


def assert_glorot(values, fan_in, fan_out):
    """Uniform between -limit and limit, whose deviation is limit / sqrt(3)."""
    limit = np.sqrt(6 / (fan_in + fan_out))
    assert 0.95 * limit < np.abs(values).max() <= limit
    assert values.std() == pytest.approx(limit / np.sqrt(3), rel=0.1)


# ---- bag of words by recency ----------------------------------------------------------------


def numpy_recency_bow(x, mask, weights, width):
    """Encodings of whole contexts; the distance counts places, also those without an activity."""
    out = np.zeros((len(x), width))
    for b, (vectors, present) in enumerate(zip(x, mask, strict=True)):
        places = np.flatnonzero(present)
        if not len(places):
            continue
        vectors = vectors[places] @ weights.get("entrance/widen", np.eye(CHANNELS)) * width**0.5
        sizes = np.exp(weights["distances"][places[-1] - places])
        mean = sizes / sizes.sum() @ vectors
        hidden = np.maximum(mean @ weights["widen"] + weights["widen_bias"], 0)
        total = mean + hidden @ weights["narrow"]
        out[b] = total / np.sqrt((total**2).mean() + 1e-6) * weights["norm"]
    return out


@pytest.mark.parametrize("width", [CHANNELS, 8])
def test_recency_bow(width):
    group = GroupConfig(encoder="recency_bow", width=width, feedforward_ratio=2)
    setting = Setting(group, CHANNELS, 6, embedding_dim=1)
    abstract = nnx.eval_shape(lambda: CLASSES["recency_bow"](setting, rngs=nnx.Rngs(0)))
    graphdef, state = nnx.split(abstract)
    random = np.random.default_rng(1)
    state = jax.tree.map(lambda s: jnp.asarray(random.normal(0, 0.7, s.shape), s.dtype), state)
    encoder, weights = nnx.merge(graphdef, state), by_name(state)
    x, mask = sequence(6, 4, 1, 0, length=6)
    mask[0, 2] = x[0, 2] = 0  # a place without an activity
    expected = numpy_recency_bow(x, mask, weights, width)
    np.testing.assert_allclose(jax.jit(encoder)(x, mask), expected, rtol=1e-4, atol=1e-5)
    assert not expected[3].any()
    every = jax.jit(partial(encoder, every_position=True))(x, mask)
    for b, place in ((0, 5), (0, 3), (1, 3), (1, 0), (2, 0)):
        until = slice(b, b + 1), slice(place + 1)
        (own,) = numpy_recency_bow(x[until], mask[until], weights, width)
        np.testing.assert_allclose(every[b, place], own, rtol=1e-4, atol=1e-5)


def test_recency_bow_weighs_by_distance_by_hand():
    """Distances 0 and 1 begin with weights 1 and 1/2; two activities count 2/3 and 1/3."""
    setting = Setting(GroupConfig(encoder="recency_bow", feedforward_ratio=1), 2, 4, 1)

    @jax.jit
    def encode(x, mask):
        encoder = CLASSES["recency_bow"](setting, rngs=nnx.Rngs(0))
        encoder.narrow.set_value(jnp.zeros((2, 2)))  # without the hidden layer
        return encoder(x, mask)

    x = np.array([[[3, 0], [0, 3], [0, 0], [0, 0]]], np.float32)
    found = encode(x, np.array([[1.0, 1, 0, 0]], np.float32))
    mean = np.array([1.0, 2.0])
    np.testing.assert_allclose(found[0], mean / np.sqrt((mean**2).mean()), rtol=1e-5)
