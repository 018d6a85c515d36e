"""Operators' times: cut graphs compute what the whole does, differences are told as they are."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxrec.errors import ExportError
from flaxrec.exporting.converter import import_tensorflow
from flaxrec.measuring import fresh_contexts, profiling
from flaxrec.measuring.profiling import CALL, Profile
from flaxrec.measuring.runners import InterpreterRunner
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.inspection import inspect
from flaxrec.tflite.quiet import quiet
from tests.support.exports import exported, require_export


@pytest.fixture(scope="module", params=["bow_id", "cnn_combined"])
def file(request, tmp_path_factory):
    return exported(tmp_path_factory, request.param).export / "model.tflite"


@pytest.fixture(scope="module")
def graphs(file) -> list[bytes]:
    cuts = profiling.Cuts(file.read_bytes())
    return [cuts.content(count) for count in range(len(cuts))]


# ---- cuts -----------------------------------------------------------------------------------


def test_a_cut_returns_what_the_whole_graph_has_there(file, graphs):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    model = inspect(file)
    (contexts,) = fresh_contexts.draw([model], 20, 0)
    context = [array[3] for array in contexts]
    whole = Interpreter(
        str(file),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    whole.allocate_tensors()
    for detail, values in zip(whole.get_input_details(), context, strict=True):
        whole.set_tensor(detail["index"], values)
    whole.invoke()
    operators = whole._get_ops_details()
    step = max(1, len(operators) // 25)
    for count in [*range(1, len(operators), step), len(operators)]:
        runner = InterpreterRunner(graphs[count], 1, False)
        runner.feed(context)
        runner.run()
        expected = whole.get_tensor(operators[count - 1]["outputs"][-1])
        np.testing.assert_array_equal(runner.outputs()[-1], expected)


def test_every_operator_of_a_cut_is_run_in_the_next(file, graphs):
    names = flatbuffer.operators(file.read_bytes())
    assert len(graphs) == len(names) + 1
    for count in (1, 4, len(names)):
        assert flatbuffer.operators(graphs[count]) == names[:count]
        graph = flatbuffer.read(graphs[count]).subgraphs[0]
        # What is computed is read by another operator or returned: no operator is idle.
        made = {int(t) for operator in graph.operators for t in operator.outputs}
        used = {int(t) for operator in graph.operators for t in operator.inputs}
        assert made <= used | {int(t) for t in graph.outputs}


def test_a_cut_carries_only_the_constants_that_it_reads(file, graphs):
    size = file.stat().st_size
    assert len(graphs[0]) < size / 2
    assert 0.8 * size < len(graphs[-1]) <= size
    assert np.diff(list(map(len, graphs))).min() >= -64  # alignment


def test_without_operators_the_context_is_returned(file, graphs):
    model = inspect(file)
    (contexts,) = fresh_contexts.draw([model], 20, 0)
    runner = InterpreterRunner(graphs[0])
    runner.feed([array[5] for array in contexts])
    runner.run()
    for found, array in zip(runner.outputs(), contexts, strict=True):
        np.testing.assert_array_equal(found, array[5])


def test_constants_that_are_decoded_are_not_returned(tmp_path_factory, tmp_path):
    run = exported(tmp_path_factory, "bow_id")
    tf = import_tensorflow()
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(run.export / "saved_model"), signature_keys=["serving_default"]
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    file = tmp_path / "float16.tflite"
    with quiet():
        file.write_bytes(converter.convert())
    model = inspect(file)
    assert "DEQUANTIZE" in model.operators
    cuts = profiling.Cuts(file.read_bytes())
    for count, name in enumerate(model.operators, 1):
        assert (cuts.fixed_shape(count) is not None) == (name == "DEQUANTIZE")
    (contexts,) = fresh_contexts.draw([model], 2000, 0)
    profile = profiling.profile(model, contexts, 16)
    assert [o.name for o in profile.operators] == [CALL, *model.operators]


def test_what_is_no_model_cannot_be_cut():
    require_export()
    with pytest.raises(ExportError):
        profiling.Cuts(b"hello world")


# ---- arithmetic -----------------------------------------------------------------------------


def of_times(*medians: float, noise: float = 0.0) -> Profile:
    """The profile of two operators whose cuts, and the whole, take so long."""
    rng = np.random.default_rng(0)
    calls = np.asarray(medians)[None, :, None] + rng.normal(0, noise, (200, len(medians), 8))
    return profiling._profile(("MUL", "TOPK_V2"), ((3,), (2, 1)), [calls], 0)


def test_times_are_differences_and_shares_those_of_the_sum():
    profile = of_times(0.5, 1.5, 4.0, 4.2)
    assert [(o.name, o.shape) for o in profile.operators] == [
        (CALL, ()), ("MUL", (3,)), ("TOPK_V2", (2, 1)),
    ]  # fmt: skip
    assert [o.microseconds for o in profile.operators] == [0.5, 1.0, 2.5]
    assert [o.share for o in profile.operators] == [0.125, 0.25, 0.625]
    assert (profile.sum, profile.whole) == (4.0, 4.2)
    assert all(o.low == o.microseconds == o.high for o in profile.operators)


def test_negative_differences_stay():
    profile = of_times(0.5, 0.4, 4.0, 4.0)
    assert profile.operators[1].microseconds == pytest.approx(-0.1)
    assert sum(o.microseconds for o in profile.operators) == pytest.approx(profile.sum) == 4.0


def test_intervals_tell_of_noise():
    quiet, noisy = of_times(0.5, 1.5, 4.0, 4.2, noise=0.1), of_times(0.5, 1.5, 4.0, 4.2, noise=1.0)
    for calm, wild in zip(quiet.operators, noisy.operators, strict=True):
        assert calm.low < calm.microseconds < calm.high
        assert wild.high - wild.low > 3 * (calm.high - calm.low)


def test_totals_by_name():
    calls = np.broadcast_to(np.array([1, 2, 5, 6, 6.0])[None, :, None], (4, 5, 2))
    profile = profiling._profile(("MUL", "ADD", "MUL"), ((), (), ()), [calls], 0)
    assert profile.by_name() == [("ADD", 1, 3.0), ("MUL", 2, 2.0), (CALL, 1, 1.0)]


def test_steps_are_taken_inside_of_a_part():
    first, second = ([[1.0, 3.0, 9.0]], [[4.0, 5.0, 11.0]])  # the machine slowed down in between
    parts = [np.repeat(np.array(part), 6, axis=0)[:, :, None] for part in (first, second)]
    profile = profiling._profile(("MUL", "ADD"), ((), ()), parts, 0)
    assert [o.microseconds for o in profile.operators] == [1, 2, 1]
    assert (profile.sum, profile.whole) == (4, 10)


@given(st.integers(0, 60), st.integers(1, 2**30))
def test_parts_share_their_ends_and_fit_into_memory(operators, size):
    parts = profiling._parts(operators, size)
    assert (parts[0][0], parts[-1][-1]) == (0, operators)
    assert all(a[-1] == b[0] for a, b in pairwise(parts))
    assert all(len(part) <= 2 or (len(part) - 1) * size <= 2**28 for part in parts)
    assert all(len(part) > 1 for part in parts) or operators == 0


# ---- a real model ---------------------------------------------------------------------------


def test_the_sum_is_about_the_whole_and_every_operator_is_named(file):
    model = inspect(file)
    (contexts,) = fresh_contexts.draw([model], 5000, 0)
    # Within 0.01 of 1 on a quiet machine; other work may disturb one profile, not three.
    profiles = (profiling.profile(model, contexts, 80) for _ in range(3))
    profile = next((p for p in profiles if 0.7 < p.sum / p.whole < 1.4), None)
    assert profile is not None
    assert [o.name for o in profile.operators] == [CALL, *model.operators]
    assert profile.operators[-1].microseconds != 0
    assert sum(o.share for o in profile.operators) == pytest.approx(1)
    names = [o.name for o in profile.operators]
    assert profile.operators[names.index("TOPK_V2")].shape == (model.top_k,)


@pytest.mark.parametrize("file", ["bow_id"], indirect=True)
def test_a_large_file_is_measured_in_parts(file, monkeypatch):
    monkeypatch.setattr(profiling, "_BYTES_AT_ONCE", 10 * file.stat().st_size)
    model = inspect(file)
    (contexts,) = fresh_contexts.draw([model], 5000, 0)
    profile = profiling.profile(model, contexts, 80)
    assert [o.name for o in profile.operators] == [CALL, *model.operators]
    assert 0.5 < profile.sum / profile.whole < 2
