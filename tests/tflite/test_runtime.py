"""A .tflite by signature: the file's order, calls by name, and files that are no models."""

import sys

import numpy as np
import pytest

from flaxrec.errors import ExportError
from flaxrec.tflite.runtime import TfliteModel
from tests.support.exports import exported, require_export


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return exported(tmp_path_factory, "lstm_id_genre").export / "model.tflite"


@pytest.fixture(scope="module")
def model(file) -> TfliteModel:
    return TfliteModel(file)


def message_of(path) -> str:
    """The one sentence of the error that loading raises."""
    with pytest.raises(ExportError) as error:
        TfliteModel(path)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(".")
    return str(error.value)


# ---- a model --------------------------------------------------------------------------------


def test_inputs_and_outputs_are_in_the_files_order(file, model):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(file))
    in_file = [detail["name"] for detail in interpreter.get_input_details()]
    assert in_file == [name for name, _, _ in model.inputs]
    shapes = [detail["shape"].tolist() for detail in interpreter.get_output_details()]
    assert shapes == [shape for _, shape, _ in model.outputs]
    dtypes = [np.dtype(d["dtype"]).name for d in interpreter.get_output_details()]
    assert dtypes == [dtype for _, _, dtype in model.outputs]


def test_descriptions_are_plain_values(model):
    assert sorted(model.inputs) == [
        ("context_genres", [8], "int32"),
        ("context_item_id", [4], "int32"),
    ]
    assert sorted(model.outputs) == [
        ("top_prediction_ids", [20], "int32"),
        ("top_prediction_scores", [20], "float32"),
    ]
    assert all(type(size) is int for _, shape, _ in model.inputs for size in shape)


def test_a_files_bytes_are_the_same_model(file, model):
    inputs = {name: np.full(shape, 3, dtype) for name, shape, dtype in model.inputs}
    expected, found = model(inputs), TfliteModel(file.read_bytes())(inputs)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_calls_are_by_name(file, model):
    inputs = {
        "context_item_id": np.array([3, 1, 2, 0], np.int32),
        "context_genres": np.arange(8, dtype=np.int32),
    }
    out = model(inputs)
    assert set(out) == {"top_prediction_ids", "top_prediction_scores"}
    again = TfliteModel(str(file))(dict(reversed(inputs.items())))
    for name in out:
        np.testing.assert_array_equal(out[name], again[name])


def test_a_later_call_leaves_earlier_answers_alone(model):
    def call(first):
        ids = np.array([first, 0, 0, 0], np.int32)
        return model({"context_item_id": ids, "context_genres": np.zeros(8, np.int32)})

    out = call(1)
    kept = {name: values.copy() for name, values in out.items()}
    assert not np.array_equal(call(2)["top_prediction_scores"], kept["top_prediction_scores"])
    for name, values in kept.items():
        np.testing.assert_array_equal(out[name], values)


# ---- no model -------------------------------------------------------------------------------


def test_a_missing_file(tmp_path):
    assert message_of(tmp_path / "no.tflite") == f"There is no model file {tmp_path}/no.tflite."
    assert str(tmp_path) in message_of(tmp_path)  # a folder


@pytest.mark.parametrize(
    "content", [b"", b"hello\n", b"hello world " * 10_000, b"\0\0\0\x20TFL3" + b"\xff" * 200]
)
def test_a_file_that_is_no_model(tmp_path, content):
    require_export()
    path = tmp_path / "notes.tflite"
    path.write_bytes(content)
    assert message_of(path).startswith(f"{path} is not a TFLite model (")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_half_a_model(file, tmp_path, share):
    content = file.read_bytes()
    path = tmp_path / "half.tflite"
    path.write_bytes(content[: int(share * len(content))])
    assert message_of(path).startswith(f"{path} is not a TFLite model (")


def test_without_the_runtime_the_remedy_is_named(monkeypatch, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    assert "install flaxrec[export]" in message_of(path)


def test_a_model_without_a_signature(file, tmp_path):
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(file.read_bytes()))
    model.signatureDefs = None
    path = tmp_path / "bare.tflite"
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    assert "has 0 signatures" in message_of(path)
