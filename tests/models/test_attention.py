"""Causal attention and causal convolutions against plain NumPy, and what they must not see."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flaxrec.config import GroupConfig
from flaxrec.models.encoders import ENCODERS, Setting

CHANNELS, WIDTH, LENGTH = 3, 6, 7
KERNEL = 2


def make(name, width=WIDTH, rate=0.0):
    group = GroupConfig(
        encoder=name,
        width=width,
        blocks=2,
        conv_kernel_size=KERNEL,
        heads=2 if width > 3 else 1,
        feedforward_ratio=2,
    )
    setting = Setting(group, CHANNELS, LENGTH, embedding_dim=1, dropout=rate)
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


def numpy_attention(x, mask, weights, width=WIDTH):
    """One context [L, C], one query at a time: an encoding for each activity."""
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


PLAIN = {"attention": numpy_attention, "causal_cnn": numpy_cnn}


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


@pytest.mark.parametrize("name", PLAIN)
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
