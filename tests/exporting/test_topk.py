"""The bounded top-K against a stable sort, in TensorFlow and in converted files."""

import functools
import math
import tempfile

import numpy as np
import pytest

from flaxrec.exporting import ranked_lists, topk
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.quiet import quiet
from tests.support.exports import require_export

# (scores, K), one a way through the function: plain, a bound, blocks, blocks and a rest that is no
# block, and a catalogue of blocks whose K is too large for them.
PLAIN, BOUNDED = (120, 20), (3953, 100)
BLOCKS, REST, LARGE_K = (25_600, 100), (25_031, 50), (26_000, 400)
SIZES = [PLAIN, BOUNDED, BLOCKS, REST, LARGE_K]


def distributions(count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Scores that could break a bound."""
    normal = rng.normal(size=count)
    few = rng.integers(0, 5, count)
    spike = np.zeros(count)
    spike[rng.integers(0, count, 3)] = 1.0
    return {
        "normal": normal,
        "ascending": np.sort(normal),
        "descending": -np.sort(-normal),
        "all equal": np.full(count, -0.25),
        "all zero": np.zeros(count),
        "few values": few,
        "three above the rest": spike,
        "one far below": np.where(np.arange(count) == 7, -1e9, normal),
        "many far below": np.where(rng.random(count) < 0.5, -1e9, normal),
        "large": 1e6 * normal,
        "tiny": 1e-6 * normal,
        "neighbours": 1.0 + rng.integers(0, 3000, count) * np.float64(np.finfo(np.float32).eps),
        "next to nothing": 1e-25 * normal,
        "heavy tail": rng.standard_cauchy(count).clip(-1e6, 1e6),
        "popularity": -np.log1p(np.arange(count)) + 0.1 * normal,
        "relu": np.maximum(normal - 2.0, 0.0),
    }


@pytest.mark.parametrize(("count", "k"), SIZES)
def test_is_the_stable_order(count, k):
    require_export()
    import tensorflow as tf

    ranked = tf.function(lambda scores: topk.top_k(tf.ensure_shape(scores, [count]), k))
    for seed in range(3):
        for name, scores in distributions(count, np.random.default_rng(seed)).items():
            scores = scores.astype(np.float32)
            values, indices = (out.numpy() for out in ranked(scores))
            expected = ranked_lists.top(scores, k)
            np.testing.assert_array_equal(indices, expected, err_msg=name)
            np.testing.assert_array_equal(values, scores[expected], err_msg=name)


@functools.cache
def converted(count: int, k: int) -> bytes:
    import tensorflow as tf

    def serve(scores):
        values, indices = topk.top_k(scores, k)
        return {"ids": indices, "scores": values}

    module = tf.Module()
    module.serve = tf.function(serve, autograph=False).get_concrete_function(
        scores=tf.TensorSpec([count], tf.float32, "scores")
    )
    with quiet(), tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={"serving_default": module.serve})
        return tf.lite.TFLiteConverter.from_saved_model(folder).convert()


@pytest.mark.parametrize(("count", "k"), SIZES)
@pytest.mark.parametrize("delegate", [True, False])
def test_converted_it_is_the_same(count, k, delegate):
    require_export()
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.AUTO if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    file = converted(count, k)
    with quiet():
        interpreter = Interpreter(model_content=file, experimental_op_resolver_type=kind)
        run = interpreter.get_signature_runner("serving_default")
    for name, scores in distributions(count, np.random.default_rng(9)).items():
        scores = scores.astype(np.float32)
        np.testing.assert_array_equal(run(scores=scores)["ids"], ranked_lists.top(scores, k), name)


def test_ways_are_chosen_by_size():
    require_export()

    def operators(size):
        return flatbuffer.operators(converted(*size))

    assert operators(PLAIN) == ["TOPK_V2"]
    assert operators(BOUNDED).count("WHERE") == operators(LARGE_K).count("WHERE") == 1
    assert operators(BLOCKS).count("WHERE") == operators(REST).count("WHERE") == 2
    assert "CONCATENATION" in operators(REST)
    assert "CONCATENATION" not in operators(BLOCKS)


def test_a_bound_leaves_little_more_than_k():
    """What makes it fast; a bound that let everything pass would be right as well."""
    require_export()
    count, k = BOUNDED
    for seed in range(20):
        scores = np.random.default_rng(seed).normal(size=count).astype(np.float32)
        bound = topk._bound(scores, k).numpy()
        assert k <= (scores > bound).sum() < 1.6 * k


def test_few_candidates_are_not_worth_a_bound():
    assert 10 * math.log(3953 / 10) < topk._WORTH_A_BOUND < 20 * math.log(3953 / 20)


@pytest.mark.parametrize(("count", "k"), [BOUNDED, BLOCKS])
def test_masked_it_is_the_stable_order_as_well(count, k):
    require_export()
    import tensorflow as tf

    ranked = tf.function(
        lambda scores: topk.top_k(tf.ensure_shape(scores, [count]), k, masked=True)
    )
    random = np.random.default_rng(4)
    for name, scores in distributions(count, random).items():
        for kept in (count, count // 2, count // 100, k + 1, k - 1, 1, 0):
            out = random.permutation(count)[kept:]
            masked = scores.astype(np.float32)
            masked[out] += np.float32(-1e9)
            values, indices = (out.numpy() for out in ranked(masked))
            expected = ranked_lists.top(masked, k)
            np.testing.assert_array_equal(indices, expected, err_msg=f"{name}, {kept}")
            np.testing.assert_array_equal(values, masked[expected], err_msg=name)


@pytest.mark.parametrize("share", [0, 0.5, 0.9])
def test_what_a_mask_leaves_out_does_not_loosen_the_bound(share):
    require_export()
    (count, k), random = BOUNDED, np.random.default_rng(3)
    for _ in range(20):
        scores = random.normal(size=count).astype(np.float32)
        scores[random.random(count) < share] -= np.float32(1e9)
        bound = topk._bound(scores, k, masked=True).numpy()
        assert k <= (scores > bound).sum() < 4 * k
