"""What a .tflite says of itself, against the run it was exported from and the interpreter."""

import dataclasses
import json
import shutil
import sys

import pytest

from flaxrec.data.spec import ModelSpec
from flaxrec.errors import ExportError
from flaxrec.tflite import flatbuffer, lookups
from flaxrec.tflite.inspection import inspect
from flaxrec.tflite.metadata import write_metadata
from tests.support.exports import NAMES, anchor, exported, require_export


@pytest.fixture(scope="module", params=[name for name in NAMES if name != "reference"])
def run(request, tmp_path_factory):
    return exported(tmp_path_factory, request.param)


def spec_of(run) -> ModelSpec:
    return ModelSpec.from_json((run.assets / "spec.json").read_text(encoding="utf-8"))


# ---- models ---------------------------------------------------------------------------------


def test_inputs_and_the_rows_of_their_tables(run):
    specs = {s.name: (s.dtype, (s.length,), s.rows or None) for s in spec_of(run).inputs}
    found = inspect(run.export).inputs
    assert {i.name: (i.dtype, i.shape, i.rows) for i in found} == specs


def test_operators_are_those_that_the_interpreter_runs(run):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    file = run.export / "model.tflite"
    interpreter = Interpreter(str(file), experimental_op_resolver_type=plain)
    names = tuple(op["op_name"] for op in interpreter._get_ops_details())
    assert inspect(file).operators == names


def test_size_k_and_state(bow_id):
    file = bow_id.export / "model.tflite"
    model = inspect(str(file))
    assert model == inspect(bow_id.export)
    assert (model.path, model.bytes) == (file, file.stat().st_size)
    assert model.top_k == spec_of(bow_id).candidates
    assert not model.stateful


def test_rows_by_the_vocabularies_where_no_lookup_is_recognised(run, monkeypatch):
    monkeypatch.setattr(lookups, "_LOOKUPS", {})
    rows = {s.name: s.rows or None for s in spec_of(run).inputs}
    assert {i.name: i.rows for i in inspect(run.export).inputs} == rows


def test_without_lookups_and_vocabularies_rows_are_not_known(bow_id, monkeypatch, tmp_path):
    monkeypatch.setattr(lookups, "_LOOKUPS", {})
    file = shutil.copy(bow_id.export / "model.tflite", tmp_path)
    assert [i.rows for i in inspect(file).inputs] == [None]


def test_seconds_may_be_drawn_up_to_the_longest(bow_id, monkeypatch, tmp_path):
    """They have no vocabulary and no table."""
    monkeypatch.setattr(lookups, "_LOOKUPS", {})
    folder = tmp_path / "export"
    ignored = shutil.ignore_patterns("saved_model")
    shutil.copytree(bow_id.export, folder, ignore=ignored)
    metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    metadata["inputs"][0] |= {"source": "event.seconds_ago", "vocabulary": None}
    write_metadata(folder, metadata)
    assert [i.rows for i in inspect(folder).inputs] == [2**31 - 1]


def test_without_a_signature_the_tensors_names_are_taken(bow_id, tmp_path):
    model = flatbuffer.read((bow_id.export / "model.tflite").read_bytes())
    model.signatureDefs = None
    tensor = model.subgraphs[0].inputs[0]
    model.subgraphs[0].tensors[tensor].name = b"serving_default_picks:0"
    path = tmp_path / "bare.tflite"
    path.write_bytes(flatbuffer.write(model))
    (expected,) = inspect(bow_id.export).inputs
    assert inspect(path).inputs == (dataclasses.replace(expected, name="picks"),)


def test_published_models():
    bow = inspect(anchor("published_bow_i10o100.tflite"))
    rnn = inspect(anchor("published_rnn_i10o100.tflite"))
    for model, name in ((bow, "context_input_placeholder"), (rnn, "context")):
        assert [dataclasses.astuple(i) for i in model.inputs] == [(name, "int32", (10,), 3953)]
        assert model.top_k == 100
    assert (bow.bytes, len(bow.operators), bow.stateful) == (512_288, 18, False)
    assert (rnn.bytes, len(rnn.operators), rnn.stateful) == (521_496, 14, True)


# ---- no models ------------------------------------------------------------------------------


def message_of(place) -> str:
    with pytest.raises(ExportError) as error:
        inspect(place)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(".")
    assert str(place) in str(error.value)
    return str(error.value)


def test_a_missing_file(tmp_path):
    assert message_of(tmp_path / "no.tflite").startswith("There is no model file")
    assert message_of(tmp_path) == (
        f"There is no model file {tmp_path}/model.tflite; give a .tflite or an export folder."
    )


@pytest.mark.parametrize(
    "content", [b"", b"hello world " * 1000, b"\0\0\0\x20TFL3" + b"\xff" * 200]
)
def test_a_file_that_is_no_model(tmp_path, content):
    require_export()
    path = tmp_path / "notes.tflite"
    path.write_bytes(content)
    message_of(path)


def test_a_model_without_inputs(bow_id, tmp_path):
    model = flatbuffer.read((bow_id.export / "model.tflite").read_bytes())
    model.subgraphs[0].inputs = None
    path = tmp_path / "constant.tflite"
    path.write_bytes(flatbuffer.write(model))
    assert "has no input" in message_of(path)


def test_without_the_runtime_the_remedy_is_named(monkeypatch, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"anything")
    for name in [name for name in sys.modules if name.startswith("ai_edge_litert")]:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("ai_edge_litert", "flaxrec.tflite.flatbuffer", "flaxrec.tflite.packing"):
        monkeypatch.setitem(sys.modules, name, None)
    import flaxrec.tflite

    monkeypatch.delattr(flaxrec.tflite, "flatbuffer", raising=False)
    with pytest.raises(ExportError, match=r"install flaxrec\[export\]"):
        inspect(path)
