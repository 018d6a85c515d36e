"""Causal attention and causal convolutions against plain NumPy, and what they must not see."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flaxrec.config import GroupConfig
from flaxrec.models.encoders import ENCODERS, Setting

CHANNELS, WIDTH, LENGTH = 3, 6, 7
KERNEL = 2


def make(name, width=WIDTH, rate=0.0, times=False):
    group = GroupConfig(
        encoder=name,
        width=width,
        blocks=2,
        conv_kernel_size=KERNEL,
        heads=2 if width > 3 else 1,
        feedforward_ratio=2,
    )
    setting = Setting(group, CHANNELS, LENGTH, embedding_dim=1, dropout=rate, has_times=times)
    return ENCODERS[name](setting, rngs=nnx.Rngs(0))


def filled(name, **options):
    """An encoder of random weights, and these by name."""
    graphdef, state = nnx.split(nnx.eval_shape(lambda: make(name, **options)))
    random = np.random.default_rng(1)
    state = jax.tree.map(lambda s: jnp.asarray(random.normal(0, 0.6, s.shape), s.dtype), state)
    flat = {"/".join(map(str, path)): v for path, v in nnx.to_flat_state(state)}
    return nnx.merge(graphdef, state), {k: np.asarray(v.get_value()) for k, v in flat.items()}


def contexts_of(*masks):
    """Random vectors and masks of length LENGTH, from strings such as '11.1...'."""
    mask = np.array([[c == "1" for c in text] for text in masks], np.float32)
    x = np.random.default_rng(2).normal(size=(*mask.shape, CHANNELS)).astype(np.float32)
    return x * mask[..., None], mask


def norm(x, scale):
    return x / np.sqrt((x**2).mean() + 1e-6) * scale


def numpy_attention(x, mask, weights, width=WIDTH, ago=None):
    """One context [L, C], one query at a time: an encoding for each activity.

    `ago` [L] is the time from each activity to the label, below 0 where it is not known.
    """
    heads = 2 if width > 3 else 1
    if "entrance/widen" in weights:
        x = x @ weights["entrance/widen"]
    x = x * np.sqrt(width) * mask[:, None]
    for block in range(2):
        of = {k.split("/")[-1]: w for k, w in weights.items() if k.startswith(f"blocks/{block}/")}
        normed = np.stack([norm(row, of["attention_norm"]) for row in x])
        out = np.zeros_like(x)
        for q in range(LENGTH):
            if not mask[q]:
                continue
            seen = [k for k in range(q + 1) if mask[k]]
            mixed = []
            for number, head in enumerate(np.split(np.arange(width), heads)):
                query = (normed[q] @ of["query"])[head]
                logits = [query @ (normed[k] @ of["key"])[head] for k in seen]
                logits = np.array(logits) / np.sqrt(len(head))
                logits += [of["distances"][number, q - k] for k in seen]
                if ago is not None and block == 1:
                    now = ago[q + 1] if q + 1 < LENGTH and mask[q + 1] else 0
                    known = [ago[k] >= 0 and now >= 0 for k in seen]
                    steps = [math.floor(math.log2(1 + max(ago[k] - now, 0))) + 1 for k in seen]
                    learned = of["times"][number]
                    logits += [learned[: s * k].sum() for s, k in zip(steps, known, strict=True)]
                shares = np.exp(logits - logits.max())
                shares /= shares.sum()
                values = [(normed[k] @ of["value"])[head] for k in seen]
                mixed.append(sum(s * v for s, v in zip(shares, values, strict=True)))
            after = x[q] + np.concatenate(mixed) @ of["output"]
            hidden = norm(after, of["feedforward_norm"]) @ of["widen"] + of["widen_bias"]
            out[q] = after + np.maximum(hidden, 0) @ of["narrow"]
        x = out
    return np.stack([norm(row, weights["norm"]) for row in x])


def numpy_cnn(x, mask, weights, width=WIDTH):
    if "entrance/widen" in weights:
        x = x @ weights["entrance/widen"]
    x = x * np.sqrt(width)
    for block in range(2):
        normed = [norm(row, weights[f"norms/{block}"]) * m for row, m in zip(x, mask, strict=True)]
        out = np.zeros_like(x)
        for l in range(LENGTH):  # noqa: E741
            h = weights[f"biases/{block}"].copy()
            for tap in range(KERNEL):
                at = l - (KERNEL - 1 - tap) * KERNEL**block
                if at >= 0:
                    h += normed[at] @ weights[f"kernels/{block}"][tap]
            out[l] = (x[l] + np.maximum(h, 0) @ weights[f"mixers/{block}"]) * mask[l]
        x = out
    return np.stack([norm(row, weights["norm"]) for row in x])


def numpy_linear_rnn(x, mask, weights, width=WIDTH):
    state, out = np.zeros(width), []
    padded = np.pad(x, ((KERNEL - 1, 0), (0, 0)))
    for l, present in enumerate(mask):  # noqa: E741
        latest = padded[l : l + KERNEL]
        z = (latest[-1] + weights["before"] * latest[-2]) @ weights["kernel"] + weights["bias"]
        i, f, c, o = np.split(z, 4)
        if present:
            state = sigmoid(f) * state + sigmoid(i) * np.tanh(c)
        out.append(np.append(latest, sigmoid(o) * np.tanh(state)))
    return np.stack(out)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


PLAIN = {"attention": numpy_attention, "causal_cnn": numpy_cnn, "linear_rnn": numpy_linear_rnn}


@functools.cache
def compiled(name, width=WIDTH):
    """A function of vectors and masks of four contexts, and the weights by name.

    It returns the encodings of every position, and those of the whole contexts.
    """
    encoder, weights = filled(name, width=width)

    @jax.jit
    def encode(x, mask):
        return encoder(x, mask, every_position=True), encoder(x, mask)

    return lambda *of: jax.device_get(encode(*of)), weights


@pytest.mark.parametrize("width", [CHANNELS, WIDTH])
@pytest.mark.parametrize("name", PLAIN)
def test_every_position_is_that_of_plain_numpy(name, width):
    encode, weights = compiled(name, width)
    x, mask = contexts_of("1111111", "111....", "1.11.1.", "1......")
    found, last = encode(x, mask)
    for row, (vectors, present) in enumerate(zip(x, mask, strict=True)):
        expected = PLAIN[name](vectors, present, weights, width)
        for place in np.flatnonzero(present):
            np.testing.assert_allclose(found[row, place], expected[place], rtol=2e-5, atol=2e-6)
        np.testing.assert_allclose(last[row], expected[place], rtol=2e-5, atol=2e-6)


def test_times_count_in_the_last_block():
    """From an activity to each position's own moment, which is that of the next activity."""
    encoder, weights = filled("attention", times=True)
    x, mask = contexts_of("1111111", "1111...", "1111111", "1111111")
    ago = np.array(
        [
            [2**31 - 1, 90_000, 90_000, 4_000, 70, 6, 3],
            [900, 3, 2, 2, 0, 0, 0],
            [-1] * LENGTH,
            [-1, 100, -1, 50, 7, -1, 0],
        ],
        np.int32,
    )

    @jax.jit
    def encode(x, mask, ago):
        return encoder(x, mask, every_position=True, ago=ago), encoder(x, mask, every_position=True)

    found, without = encode(x, mask, ago)
    for row in range(len(x)):
        expected = numpy_attention(x[row], mask[row], weights, ago=ago[row].astype(np.int64))
        present = mask[row] > 0
        np.testing.assert_allclose(found[row][present], expected[present], rtol=2e-5, atol=2e-6)
    np.testing.assert_array_equal(found[2], without[2])  # nothing is known
    assert np.abs(found[0] - without[0]).max() > 0.1


@pytest.mark.parametrize("name", PLAIN)
def test_nothing_later_is_seen(name):
    encode, _ = compiled(name)
    x, mask = contexts_of(*["1111111"] * 4)
    changed = x.copy()
    changed[:, 4:] += 5
    (before, _), (after, _) = encode(x, mask), encode(changed, mask)
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert (np.abs(before[:, 4:] - after[:, 4:]).max(axis=2) > 1e-3).all()


@pytest.mark.parametrize("name", PLAIN)
def test_without_any_activity_the_encoding_is_zero(name):
    encode, _ = compiled(name)
    _, found = encode(*contexts_of(".......", *["1......"] * 3))
    np.testing.assert_array_equal(found[0], 0)
    assert (np.abs(found[1:]).max(axis=1) > 0.1).all()


@pytest.mark.parametrize("name", ["attention", "causal_cnn"])
def test_dropout_only_with_a_key_and_by_that_key(name):
    encoder, _ = filled(name, rate=0.5)
    x, mask = contexts_of("1111111")
    encode = jax.jit(lambda key=None: encoder(x, mask, key=key))
    plain = np.asarray(encode())
    np.testing.assert_array_equal(plain, encode())
    a, b, again = (np.asarray(encode(jax.random.key(i))) for i in (0, 1, 0))
    np.testing.assert_array_equal(a, again)
    assert np.abs(a - b).max() > 1e-3
    assert np.abs(a - plain).max() > 1e-3


def test_dropout_keeps_the_mean():
    from flaxrec.models.features import dropout

    x = np.ones(100_000, np.float32)
    kept = np.asarray(jax.jit(lambda key: dropout(x, 0.3, key))(jax.random.key(0)))
    assert set(np.unique(kept).tolist()) == {0.0, float(np.float32(1) / np.float32(0.7))}
    np.testing.assert_allclose(kept.mean(), 1, atol=0.01)
