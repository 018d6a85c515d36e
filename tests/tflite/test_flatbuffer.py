"""The bytes of a .tflite: the finished file says the same in less, and metadata stand inside it."""

import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxrec.errors import ExportError
from flaxrec.exporting import converter
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.metadata import IDS, SCORES
from tests.support.exports import NAMES, exported, require_export
from tests.support.graph_maker import FLOAT32, INT32, Maker, flatbuffers, schema

ADD, MUL, LOOKUP = (
    schema.BuiltinOperator.ADD,
    schema.BuiltinOperator.MUL,
    schema.BuiltinOperator.EMBEDDING_LOOKUP,
)


# ---- small models, made by hand -------------------------------------------------------------


PLUS = np.array([1.0, -2.0, 0.5, 3.0], np.float32)


def by_hand(signed: bool = True) -> bytes:
    """Scores (a + PLUS) * PLUS and ids b + 7; PLUS twice, one tensor that nothing reads."""
    maker = Maker()
    b = maker.tensor("serve_b:0", [4], INT32)
    a = maker.tensor("serve_a:0", [4], FLOAT32, shapeSignature=[4])
    first = maker.constant("first", PLUS)
    maker.constant("not used", np.arange(100, dtype=np.float32))
    second = maker.constant("second", PLUS)
    seven = maker.constant("seven", np.array(7, np.int32))
    total = maker.tensor("total", [4], FLOAT32)
    scores = maker.tensor("Call:0", [4], FLOAT32)
    ids = maker.tensor("Call:1", [4], INT32)
    maker.operator(ADD, [a, first], total, schema.AddOptionsT())
    maker.operator(MUL, [total, second], scores, schema.MulOptionsT())
    maker.operator(ADD, [b, seven], ids, schema.AddOptionsT())
    return maker.packed({"b": b, "a": a}, {SCORES: scores, IDS: ids}, signed)


def two_tables(other: np.ndarray, **fields) -> bytes:
    """Ids n -> rows n of two int8 tables [50, 40], the first one of ones; scale 0.5."""
    maker = Maker()
    ids = maker.tensor("n", [2], INT32)
    outputs = {}
    for name, table, more in (("p", np.ones((50, 40), np.int8), {}), ("q", other, fields)):
        scale = schema.QuantizationParametersT(
            **{"scale": [0.5], "zeroPoint": [0], "quantizedDimension": 0} | more
        )
        stored = maker.constant(f"table {name}", table, quantization=scale)
        outputs[name] = maker.tensor(f"rows {name}", [2, 40], FLOAT32)
        maker.operator(LOOKUP, [ids, stored], outputs[name])
    return maker.packed({"n": ids}, outputs)


def run(content: bytes, inputs: dict, delegate: bool = True) -> dict[str, np.ndarray]:
    """Runs the signature in the interpreter."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kinds = OpResolverType
    kind = kinds.AUTO if delegate else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=kind)
    return interpreter.get_signature_runner()(**inputs)


class Compiled:
    """Runs the signature in LiteRT's other runtime."""

    def __init__(self, content: bytes):
        from ai_edge_litert.compiled_model import CompiledModel

        self.outputs = flatbuffer.ends(content)[1]
        self.model = CompiledModel.from_buffer(content)

    def __call__(self, inputs: dict) -> dict[str, np.ndarray]:
        ((key, names),) = self.model.get_signature_list().items()
        given = {n: self.model.create_input_buffer_by_name(key, n) for n in names["inputs"]}
        taken = {n: self.model.create_output_buffer_by_name(key, n) for n in names["outputs"]}
        for name, buffer in given.items():
            buffer.write(inputs[name])
        self.model.run_by_name(key, given, taken)
        return {
            spec["name"]: taken[spec["name"]].read(
                int(np.prod(spec["shape"])), np.dtype(spec["dtype"])
            )
            for spec in self.outputs
        }


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name].ravel(), other[name].ravel(), equal_nan=True) for name in one
    )


def read(content: bytes):
    return schema.ModelT.InitFromPackedBuf(content)


def data_of(content: bytes) -> list[bytes]:
    """The constants that are not empty."""
    return [bytes(b.data) for b in read(content).buffers if b.data is not None and len(b.data)]


AB = {"a": np.array([0.25, 1, -3, 8], np.float32), "b": np.array([0, 1, -9, 2**30], np.int32)}


# ---- the finished file ----------------------------------------------------------------------


def test_made_by_hand_computes_as_before():
    content = flatbuffer.finish(by_hand())
    out = run(content, AB)
    assert out[SCORES].tolist() == [1.25, 2.0, -1.25, 33.0]
    assert out[IDS].tolist() == [7, 8, -2, 2**30 + 7]
    assert same(Compiled(content)(AB), out)


def test_ids_are_the_first_output_and_scores_the_second():
    before, after = (flatbuffer.ends(content)[1] for content in (by_hand(), finished()))
    assert [spec["name"] for spec in before] == [SCORES, IDS]
    assert after == [
        {"name": IDS, "dtype": "int32", "shape": [4]},
        {"name": SCORES, "dtype": "float32", "shape": [4]},
    ]
    # By position, as the Android app reads.
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=finished())
    interpreter.allocate_tensors()
    for spec in interpreter.get_input_details():
        interpreter.set_tensor(spec["index"], AB[spec["name"]])
    interpreter.invoke()
    ids, scores = (
        interpreter.get_tensor(spec["index"]) for spec in interpreter.get_output_details()
    )
    assert ids.tolist() == [7, 8, -2, 2**30 + 7]
    assert scores.dtype == np.float32


def finished() -> bytes:
    return flatbuffer.finish(by_hand())


def test_inputs_stay_in_their_places_and_the_signature_follows():
    (signature,) = read(finished()).signatureDefs
    graph = read(finished()).subgraphs[0]
    assert [named.name for named in signature.inputs] == [b"b", b"a"]
    assert [named.tensorIndex for named in signature.inputs] == graph.inputs.tolist()
    assert [named.tensorIndex for named in signature.outputs] == graph.outputs.tolist()
    assert signature.signatureKey == b"serve"


def test_what_nothing_reads_is_gone():
    model = read(finished())
    (graph,) = model.subgraphs
    names = {tensor.name for tensor in graph.tensors}
    assert names == {None, b"a", b"b", IDS.encode(), SCORES.encode()}
    assert len(graph.tensors) == 7  # a, b, PLUS, 7, a + PLUS and the outputs
    assert all(t.quantization is None and t.shapeSignature is None for t in graph.tensors)
    assert (model.metadata, model.description, graph.name) == (None, None, None)
    assert model.version == 3


def test_buffers_are_the_empty_one_and_the_constants():
    buffers = read(finished()).buffers
    assert buffers[0].data is None
    assert sorted(data_of(finished())) == sorted([np.int32(7).tobytes(), PLUS.tobytes()])
    assert len(buffers) == 3


def test_each_name_is_written_once():
    for name in (IDS.encode(), SCORES.encode(), b"serve"):
        assert finished().count(name) == 1


def test_codes_are_the_operators_own_in_both_fields():
    codes = [(c.builtinCode, c.deprecatedBuiltinCode) for c in read(finished()).operatorCodes]
    # Made by hand, each operator has a code of its own.
    assert sorted(codes) == [(ADD, ADD), (ADD, ADD), (MUL, MUL)]
    assert flatbuffer.operators(finished()) == ["ADD", "MUL", "ADD"]


def test_finishing_twice_changes_nothing():
    assert flatbuffer.finish(finished()) == finished()


def aligned_places(content: bytes) -> list[int]:
    model, places = schema.Model.GetRootAs(content), []
    for index in range(model.BuffersLength()):
        table = model.Buffers(index)._tab
        if table.Offset(4):
            places.append(table.Vector(table.Offset(4)))
    return places


@pytest.mark.parametrize("content", [by_hand(), two_tables(np.zeros((50, 40), np.int8))])
def test_constants_are_aligned(content):
    # The schema's force_align; runtimes map the file and read floats in place.
    places = aligned_places(flatbuffer.finish(content))
    assert len(places) >= 2
    assert [place % 16 for place in places] == [0] * len(places)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.booleans())
def test_any_constants_are_kept_and_aligned(sizes, repeated):
    maker = Maker()
    arrays = [np.full(size, n, np.float32) for n, size in enumerate(sizes)]
    arrays += arrays[:3] * repeated
    x = maker.tensor("x", [1], FLOAT32)
    outputs = {}
    for n, array in enumerate(arrays):
        outputs[f"y{n}"] = maker.tensor(f"sum {n}", array.shape, FLOAT32)
        stored = maker.constant(f"c{n}", array)
        maker.operator(ADD, [x, stored], outputs[f"y{n}"], schema.AddOptionsT())
    content = flatbuffer.finish(maker.packed({"x": x}, outputs))
    assert sorted(data_of(content)) == sorted({array.tobytes() for array in arrays})
    assert all(place % 16 == 0 for place in aligned_places(content))
    graph, buffers = read(content).subgraphs[0], read(content).buffers
    for operator, array in zip(graph.operators, arrays, strict=True):
        tensor = graph.tensors[operator.inputs[1]]
        assert bytes(buffers[tensor.buffer].data) == array.tobytes()
        assert tensor.shape.tolist() == list(array.shape)


# ---- equal constants, scales ----------------------------------------------------------------


def test_one_table_used_twice_is_stored_once():
    tied = flatbuffer.finish(two_tables(np.ones((50, 40), np.int8)))
    untied = flatbuffer.finish(two_tables(np.full((50, 40), 2, np.int8)))
    assert len(data_of(tied)) == 1
    assert 2000 <= len(untied) - len(tied) < 2100
    out = run(tied, {"n": np.array([0, 49], np.int32)})
    assert same(out, {"p": np.full((2, 40), 0.5, "f4"), "q": np.full((2, 40), 0.5, "f4")})


def test_equal_bytes_of_other_scales_share_the_buffer_only():
    content = flatbuffer.finish(two_tables(np.ones((50, 40), np.int8), scale=[3.0]))
    assert len(data_of(content)) == 1
    out = run(content, {"n": np.array([0, 49], np.int32)})
    assert same(out, {"p": np.full((2, 40), 0.5, "f4"), "q": np.full((2, 40), 3, "f4")})


def test_scales_of_rows_are_kept():
    scales = np.linspace(0.1, 5, 50, dtype=np.float32)
    fields = {"scale": scales.tolist(), "zeroPoint": [0] * 50}
    content = two_tables(np.full((50, 40), 2, np.int8), **fields)
    content = flatbuffer.finish(content)
    (kept,) = [
        t.quantization
        for t in read(content).subgraphs[0].tensors
        if t.quantization is not None and len(t.quantization.scale) == 50
    ]
    np.testing.assert_array_equal(kept.scale, scales)
    assert kept.zeroPoint.tolist() == [0] * 50
    rows = run(content, {"n": np.array([3, 17], np.int32)})["q"]
    np.testing.assert_allclose(rows, 2 * scales[[3, 17], None] * np.ones(40), rtol=1e-6)


def test_variables_are_not_merged():
    maker = Maker()
    zeros = np.zeros(4, np.float32)
    x = maker.tensor("x", [4], FLOAT32)
    states = [maker.constant(f"state {n}", zeros, isVariable=True) for n in range(2)]
    sums = [maker.tensor(f"sum {n}", [4], FLOAT32) for n in range(2)]
    for state, total in zip(states, sums, strict=True):
        maker.operator(ADD, [x, state], total, schema.AddOptionsT())
    content = flatbuffer.finish(maker.packed({"x": x}, {"p": sums[0], "q": sums[1]}))
    (graph,) = read(content).subgraphs
    assert sum(tensor.isVariable for tensor in graph.tensors) == 2


# ---- what the converter writes --------------------------------------------------------------


@pytest.fixture(scope="module", params=NAMES)
def converted(request, tmp_path_factory) -> tuple[bytes, dict[str, np.ndarray]]:
    """A file of the converter, and contexts."""
    workdir = exported(tmp_path_factory, request.param)
    with np.load(workdir.assets / "contexts.npz") as file:
        contexts = dict(file)
    return converter.convert(workdir.export / "saved_model"), contexts


def test_converted_computes_as_before_to_the_bit(converted):
    content, contexts = converted
    smaller = flatbuffer.finish(content)
    compiled = Compiled(smaller)
    for row in range(12):
        inputs = {name: values[row] for name, values in contexts.items()}
        before = run(content, inputs)
        assert same(run(smaller, inputs), before)
        assert same(compiled(inputs), before)
        assert same(run(smaller, inputs, delegate=False), run(content, inputs, delegate=False))


def test_converted_is_smaller_and_says_the_same(converted):
    content, _ = converted
    smaller = flatbuffer.finish(content)
    assert flatbuffer.operators(smaller) == flatbuffer.operators(content)
    before, after = flatbuffer.ends(content), flatbuffer.ends(smaller)
    assert after[0] == before[0]
    assert after[1] == sorted(before[1], key=lambda spec: [IDS, SCORES].index(spec["name"]))
    # An operator took more than a hundred bytes: its names, its options, its buffer.
    assert len(content) - len(smaller) > 60 * len(flatbuffer.operators(content))
    assert flatbuffer.finish(smaller) == smaller
    assert max(place % 16 for place in aligned_places(smaller)) == 0


def test_operators_are_those_that_run(converted):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=converted[0],
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    names = [details["op_name"] for details in interpreter._get_ops_details()]
    assert flatbuffer.operators(converted[0]) == names


def test_a_loop_keeps_its_graphs():
    require_export()
    tf = converter.import_tensorflow()

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([3], tf.float32, "x")])
    def grow(x):
        step = lambda n, y: (n + 1, y * 2.0)  # noqa: E731
        return {SCORES: tf.while_loop(lambda n, y: tf.reduce_sum(y) < 100.0, step, [0, x])[1]}

    module = tf.Module()
    concrete = grow.get_concrete_function()
    content = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module).convert()
    assert "WHILE" in flatbuffer.operators(content)
    smaller = flatbuffer.finish(content)
    assert len(smaller) < len(content)
    x = np.array([1, 2, 3], np.float32)  # sum 6, doubled five times
    assert run(smaller, {"x": x})[SCORES].tolist() == [32, 64, 96]


# ---- metadata inside ------------------------------------------------------------------------

TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=30)
@given(st.dictionaries(st.text(), TREES, max_size=4))
def test_metadata_are_read_as_written(metadata):
    try:
        json.dumps(metadata, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return  # half a surrogate pair is no text
    content = flatbuffer.with_metadata(finished(), metadata)
    assert flatbuffer.read_metadata(content) == metadata


def test_metadata_change_no_result():
    content = flatbuffer.with_metadata(finished(), {"name": "é", "top_k": 4})
    assert same(run(content, AB), run(finished(), AB))
    assert same(Compiled(content)(AB), run(finished(), AB))
    assert flatbuffer.ends(content) == flatbuffer.ends(finished())
    assert aligned_places(content)[-1] % 16 == 0


def test_metadata_are_compact_utf8():
    content = flatbuffer.with_metadata(finished(), {"name": "é", "top_k": 4})
    assert '{"name":"é","top_k":4}'.encode() in content
    assert len(content) - len(finished()) < 112


def test_later_metadata_replace_earlier_ones():
    content = flatbuffer.with_metadata(finished(), {"name": "one" * 50})
    content = flatbuffer.with_metadata(content, {"name": "two"})
    assert flatbuffer.read_metadata(content) == {"name": "two"}
    assert content == flatbuffer.with_metadata(finished(), {"name": "two"})


def test_metadata_outlive_finishing():
    content = flatbuffer.with_metadata(by_hand(), {"name": "one"})
    assert flatbuffer.finish(content) == flatbuffer.with_metadata(finished(), {"name": "one"})


def test_no_metadata():
    assert flatbuffer.read_metadata(finished()) is None
    assert flatbuffer.read_metadata(by_hand()) is None


@pytest.mark.parametrize("entry", [b"{", b"\xff", b"[1]", b""])
def test_unreadable_metadata(entry):
    content = flatbuffer.with_metadata(by_hand(), {})
    model = read(content)
    (index,) = [entry.buffer for entry in model.metadata if entry.name == b"flaxrec"]
    model.buffers[index].data = np.frombuffer(entry, np.uint8)
    with pytest.raises(ExportError, match="metadata inside the model"):
        flatbuffer.read_metadata(flatbuffer.write(model))


# ---- what is no model -----------------------------------------------------------------------

FUNCTIONS = (
    flatbuffer.operators,
    flatbuffer.ends,
    flatbuffer.finish,
    flatbuffer.read_metadata,
    lambda content: flatbuffer.with_metadata(content, {}),
)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("content", [b"", b"TFL3", b"PK\x03\x04 a zip file", b"\x1c\0\0\0TFL2" * 9])
def test_no_tflite_is_refused(function, content):
    with pytest.raises(ExportError, match=r"not a TFLite model.*\.tflite"):
        function(content)


def test_a_cut_file_is_refused():
    content = by_hand()
    for end in range(8, len(content) - 64, 7):
        for function in FUNCTIONS:
            with pytest.raises(ExportError):
                function(content[:end])


def test_an_input_whose_name_is_gone():
    model = read(finished())
    model.signatureDefs[0].inputs[0].name = None
    assert "" in flatbuffer.input_names(model).values()


def test_without_signature():
    with pytest.raises(ExportError, match="0 signatures instead of one"):
        flatbuffer.ends(by_hand(signed=False))
    # The published models have none: they are finished by position.
    content = flatbuffer.finish(by_hand(signed=False))
    assert len(content) < len(by_hand(signed=False))


def test_constants_outside_the_flatbuffer_are_refused():
    model = read(by_hand())
    model.buffers[3].offset, model.buffers[3].size = 4096, 16
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    with pytest.raises(ExportError, match=r"beyond 2 GB; use fewer items"):
        flatbuffer.finish(bytes(builder.Output()))


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(ExportError, match=r"install flaxrec\[export\]"):
        flatbuffer.operators(by_hand())
