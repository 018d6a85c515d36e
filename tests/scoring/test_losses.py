"""Losses against numbers by hand, naive NumPy and the TensorFlow reference."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxrec.config import Config, LossConfig
from flaxrec.scoring import losses
from tests.support.places import GOLDEN

CASES = GOLDEN / "metrics_cases.npz"
global_softmax = jax.jit(losses.global_softmax.cross_entropy)
batch_softmax = jax.jit(
    losses.batch_softmax.cross_entropy, static_argnames="duplicates_are_negatives"
)
needs_golden = pytest.mark.skipif(not CASES.exists(), reason=f"{CASES} is not there")


def naive_global(logits, labels):
    """-log of the label's share of the exponentials, one example at a time, in float64."""
    rows = np.asarray(logits, np.float64)
    exps = np.exp(rows)
    return [-math.log(exps[i, label] / exps[i].sum()) for i, label in enumerate(labels)]


def naive_batch(scores, labels, log_q=None, duplicates_are_negatives=False):
    scores = np.asarray(scores, np.float64)
    out = []
    for i in range(len(labels)):
        terms = {}
        for j in range(len(labels)):
            if j != i and labels[j] == labels[i] and not duplicates_are_negatives:
                continue
            terms[j] = math.exp(scores[i, j] - (0.0 if log_q is None else log_q[j]))
        out.append(-math.log(terms[i] / sum(terms.values())))
    return out


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# ---- global softmax -------------------------------------------------------------------------


def test_global_softmax_by_hand():
    logits = np.array(
        [[0.0, 0.0, 0.0, 0.0], [math.log(1), math.log(2), math.log(5), -math.inf]], np.float32
    )
    found = global_softmax(logits, np.array([3, 1]))
    np.testing.assert_allclose(found, [math.log(4), math.log((1 + 2 + 5) / 2)], rtol=1e-6)


def test_global_softmax_is_the_naive_one(rng):
    logits, labels = rng.normal(0, 3, (32, 50)).astype(np.float32), rng.integers(0, 50, 32)
    found = global_softmax(logits, labels)
    assert found.shape == (32,)
    np.testing.assert_allclose(found, naive_global(logits, labels), rtol=1e-5)


def test_global_softmax_of_large_logits_is_finite():
    """exp(1000) is not: the loss must work with differences."""
    logits = np.array([[1000.0, 999.0], [-1000.0, 1000.0]], np.float32)
    found = global_softmax(logits, np.array([0, 0]))
    np.testing.assert_allclose(found, [math.log(1 + math.exp(-1)), 2000.0], rtol=1e-6, atol=1e-4)


def test_global_softmax_takes_leading_axes(rng):
    logits, labels = rng.normal(size=(4, 3, 7)).astype(np.float32), rng.integers(0, 7, (4, 3))
    found = global_softmax(logits, labels)
    flat = naive_global(logits.reshape(12, 7), labels.reshape(12))
    np.testing.assert_allclose(found, np.reshape(flat, (4, 3)), rtol=1e-5)


def test_gradient_is_probability_minus_one_hot():
    logits, labels = np.array([[0.0, math.log(3.0)]], np.float32), np.array([0])
    gradient = jax.jit(jax.grad(lambda x: global_softmax(x, labels).sum()))(logits)
    np.testing.assert_allclose(gradient, [[1 / 4 - 1, 3 / 4]], rtol=1e-6)


# ---- batch softmax --------------------------------------------------------------------------


def test_equal_labels_are_left_out_or_negatives():
    scores, labels = np.zeros((3, 3), np.float32), np.array([1, 1, 2])
    left_out = batch_softmax(scores, labels)
    np.testing.assert_allclose(left_out, [math.log(2), math.log(2), math.log(3)], rtol=1e-6)
    negatives = batch_softmax(scores, labels, duplicates_are_negatives=True)
    np.testing.assert_allclose(negatives, [math.log(3)] * 3, rtol=1e-6)


def test_log_q_raises_what_is_drawn_rarely():
    """Subtracting log q divides the exponential by q: 1 / 0.8 against 1 / 0.2."""
    scores, labels = np.zeros((2, 2), np.float32), np.array([0, 1])
    log_q = np.log(np.array([0.8, 0.2], np.float32))
    found = batch_softmax(scores, labels, log_q=log_q)
    shares = [(1 / 0.8) / (1 / 0.8 + 1 / 0.2), (1 / 0.2) / (1 / 0.8 + 1 / 0.2)]
    np.testing.assert_allclose(found, [-math.log(share) for share in shares], rtol=1e-6)


@pytest.mark.parametrize("duplicates_are_negatives", [False, True])
@pytest.mark.parametrize("corrected", [False, True])
def test_batch_softmax_is_the_naive_one(rng, corrected, duplicates_are_negatives):
    scores, labels = rng.normal(0, 2, (24, 24)).astype(np.float32), rng.integers(0, 8, 24)
    assert len(set(labels.tolist())) < len(labels)
    log_q = np.log(rng.uniform(0.01, 1, 8))[labels].astype(np.float32) if corrected else None
    found = batch_softmax(
        scores,
        labels,
        log_q=log_q,
        duplicates_are_negatives=duplicates_are_negatives,
    )
    expected = naive_batch(scores, labels, log_q, duplicates_are_negatives)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_batch_softmax_has_finite_gradients_at_left_out_pairs():
    scores, labels = np.ones((3, 3), np.float32), np.array([5, 5, 5])
    compute = jax.jit(jax.value_and_grad(lambda x: batch_softmax(x, labels).sum()))
    loss, gradient = compute(scores)
    assert float(loss) == 0.0  # nothing is left but the label itself
    np.testing.assert_array_equal(gradient, np.zeros((3, 3)))


# ---- the reference --------------------------------------------------------------------------


@needs_golden
@pytest.mark.parametrize("batch", [0, 1, 2])
def test_the_reference_agrees(batch):
    """Its batch softmax takes equal labels for negatives."""
    expected = json.loads(CASES.with_suffix(".json").read_text())["batches"][batch]
    with np.load(CASES) as arrays:
        logits = arrays[f"logits{batch}"]
        labels = arrays[f"labels{batch}"][:, 0]
    loss = np.asarray(global_softmax(logits, labels)).mean()
    np.testing.assert_allclose(loss, expected["global_softmax"], rtol=1e-5)
    loss = batch_softmax(logits[:, labels], labels, duplicates_are_negatives=True)
    np.testing.assert_allclose(np.asarray(loss).mean(), expected["batch_softmax"], rtol=1e-5)


# ---- sampled softmax ------------------------------------------------------------------------


def test_sampled_softmax_leaves_a_drawn_label_out():
    """Item 2 is the second context's label: to it only the other two drawn ones are negatives."""
    own = np.array([1, 2], np.float32)
    scores = np.array([[0.5, 0.1, 0.2], [0.3, 2.0, 0.4]], np.float32)
    log_q = np.log(np.array([0.2, 0.4, 0.1], np.float32))
    left_out = np.array([0, 2])[:, None] == np.array([1, 2, 3])
    found = losses.sampled_softmax.cross_entropy(own, scores, log_q, left_out)
    first = sum(
        math.exp(s) / (3 * q) for s, q in zip([0.5, 0.1, 0.2], [0.2, 0.4, 0.1], strict=True)
    )
    second = math.exp(0.3) / (3 * 0.2) + math.exp(0.4) / (3 * 0.1)
    expected = [math.log(math.e + first) - 1, math.log(math.exp(2) + second) - 2]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_seen_items_among_the_drawn_ones():
    """All copies of an item that is drawn twice, an item seen twice once, and no padding."""
    random = np.random.default_rng(0)
    count = 9
    drawn = np.sort(random.integers(0, count, 40))
    seen = random.integers(0, count + 1, (50, 6))  # as many are padding, some beyond it
    seen[seen == count] += random.integers(0, 3, (seen == count).sum())
    seen[0], seen[1] = count + 2, 4
    found = jax.jit(losses.sampled_softmax.among)(seen, drawn)
    np.testing.assert_array_equal(found, [np.isin(drawn, row) for row in seen])
    assert not found[0].any()
    assert found[1].sum() == (drawn == 4).sum() > 1
    often = losses.sampled_softmax.among(jnp.full((1, 200), 4), jnp.asarray(drawn))
    np.testing.assert_array_equal(often[0], drawn == 4)


def test_a_step_of_sampled_softmax_leaves_out_what_each_context_has_seen():
    """Candidates of the step's own draw, by hand; the label stays although it was seen."""
    random = np.random.default_rng(1)
    table = random.normal(size=(6, 2)).astype(np.float32)
    contexts = random.normal(size=(3, 2)).astype(np.float32)
    labels, seen = np.array([0, 1, 2]), np.array([[6, 6], [3, 1], [0, 5]])
    log_q = np.log(np.full(6, 1 / 6, np.float32))
    options = LossConfig("sampled_softmax", exclude_seen=True, negatives=30, negatives_power=0.0)
    step = losses.Step(
        options=options,
        contexts=jnp.asarray(contexts),
        labels=jnp.asarray(labels),
        weights=jnp.ones(3),
        every_row_is_a_label=True,
        seen=jnp.asarray(seen),
        log_q=jnp.asarray(log_q),
        key=jax.random.key(5),
        all_items=lambda: jnp.asarray(table),
        some_items=lambda rows: jnp.asarray(table)[rows],
        score=lambda context, rows: context @ rows.T,
        dtype=jnp.dtype("float32"),
        quirks=Config().quirks,
        draw_ends=jnp.asarray(losses.sampled_softmax.draw_ends(np.ones(6, int), 0.0)),
    )
    found = jax.jit(
        lambda contexts: losses.sampled_softmax.mean_loss(
            dataclasses.replace(step, contexts=contexts)
        )
    )(contexts)
    at = np.sort(np.asarray(jax.random.bits(step.key, (30,), jnp.uint32)))
    drawn = np.minimum(at / 2**32 * 6, 5).astype(int)
    expected = []
    for context, label, before in zip(contexts, labels, seen, strict=True):
        scores = table @ context
        others = [d for d in drawn if d != label and d not in before]
        assert len(others) < 30
        total = np.exp(scores[label]) + sum(np.exp(scores[d]) / (30 / 6) for d in others)
        expected.append(np.log(total) - scores[label])
    np.testing.assert_allclose(found, np.mean(expected), rtol=1e-5)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_negatives_are_drawn_by_their_share(power):
    counts = np.array([1, 1_000, 20, 3_000, 1])
    options = LossConfig("sampled_softmax", negatives=200_000, negatives_power=power)
    ends = jnp.asarray(losses.sampled_softmax.draw_ends(counts, power))
    drawn, log_q = losses.sampled_softmax.draw(options, ends, jax.random.key(0))
    shares = counts**power / np.sum(counts**power)
    np.testing.assert_allclose(log_q, np.log(shares)[drawn], atol=1e-4)
    found = np.bincount(drawn, minlength=5)
    expected = shares * options.negatives
    assert (np.abs(found - expected) < 5 * np.sqrt(expected) + 1).all()


def test_every_item_of_ten_million_can_be_drawn():
    """The width of each in a sum of 32 bits; float32 has 24 bits and leaves some out."""
    ends = losses.sampled_softmax.draw_ends(np.ones(10_000_000, int), 0.5).astype(np.int64)
    widths = np.diff(ends, prepend=0)
    assert widths.min() >= 428
    assert widths.max() <= 430
    assert ends[-1] == 2**32 - 1


@pytest.mark.parametrize("counts", [[1, 10**9, 1], [10**9, 1, 1], [1, 1, 10**9], [5]])
def test_the_rarest_item_can_be_drawn(counts):
    """Whatever the power makes of its share."""
    ends = losses.sampled_softmax.draw_ends(np.array(counts), 100.0).astype(np.int64)
    assert (np.diff(ends, prepend=0) >= 1).all()
    assert ends[-1] == 2**32 - 1


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("seen", [[12, 12, 12, 12], [3, 3, 5, 12]])  # 12: padding
@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_sampled_softmax_nears_the_full_one(power, seen, smoothing):
    """With many draws, whatever they are drawn by, also without the items that were seen."""
    random = np.random.default_rng(0)
    scores = random.normal(size=(3, 12)).astype(np.float32)
    labels = np.array([0, 5, 7])
    q = random.uniform(0.2, 1, 12) ** power
    q /= q.sum()
    drawn = np.sort(random.choice(12, 200_000, p=q))
    all_seen = np.array([seen] * 3)
    left_out = labels[:, None] == drawn
    left_out |= np.asarray(losses.sampled_softmax.among(jnp.asarray(all_seen), jnp.asarray(drawn)))
    log_q = np.log(q[drawn].astype(np.float32))
    own = scores[np.arange(3), labels]
    found = losses.sampled_softmax.cross_entropy(own, scores[:, drawn], log_q, left_out, smoothing)
    expected = []
    for row, label in zip(scores, labels, strict=True):
        left = [row[c] for c in range(12) if c == label or c not in seen]
        target = (1 - smoothing) * row[label] + smoothing * np.mean(left)
        expected.append(np.log(np.sum(np.exp(left))) - target)
    np.testing.assert_allclose(found, expected, rtol=0.01)
