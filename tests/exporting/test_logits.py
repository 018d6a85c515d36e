"""A finished file that tells its logits: the training graph's, with nothing else of it changed."""

import copy
import dataclasses

import numpy as np
import pytest

from flaxrec.errors import ExportError
from flaxrec.exporting import choice
from flaxrec.exporting import logits as logits_lib
from flaxrec.exporting.logits import LOGITS, LogitsModel, with_logits
from flaxrec.tflite import flatbuffer
from flaxrec.tflite import graph_edits as constants_lib
from flaxrec.tflite.metadata import IDS, SCORES
from flaxrec.tflite.runtime import TfliteModel
from tests.support.exports import (
    NAMES,
    Case,
    buffers_of,
    content_of,
    exported,
)

RECIPES = ("none", "float16", "int8", "int8_tensor", "int4_tensor")


@pytest.fixture(scope="module", params=NAMES)
def case(request, tmp_path_factory) -> Case:
    return Case(request.param, exported(tmp_path_factory, request.param))


@pytest.fixture(scope="module")
def bow_id(tmp_path_factory) -> Case:
    return Case("bow_id", exported(tmp_path_factory, "bow_id"))


def test_logits_are_the_training_graphs(case):
    model = LogitsModel(content_of(case), case.spec)
    found = np.stack([model(context) for context in case.contexts])
    np.testing.assert_allclose(found, case.logits, rtol=0, atol=1e-5 * np.abs(case.logits).max())


@pytest.mark.parametrize("recipe", RECIPES)
def test_nothing_else_changes(bow_id, recipe):
    """Constants, operators, and what the file returns, to the byte."""
    content = choice.quantized(content_of(bow_id), recipe)
    opened = with_logits(content, bow_id.spec.candidates)
    assert buffers_of(opened) == buffers_of(content)
    assert flatbuffer.operators(opened) == flatbuffer.operators(content)
    before, after = TfliteModel(content), TfliteModel(opened)
    for context in bow_id.contexts[::10]:
        lists, told = before(context), after(context)
        for name in (IDS, SCORES):
            assert lists[name].tobytes() == told[name].tobytes()
        scores = 1 / (1 + np.exp(-told[LOGITS].reshape(-1).astype(np.float64)))
        np.testing.assert_allclose(lists[SCORES], scores[lists[IDS] - 1], atol=1e-6)


# ---- where the logits are ---------------------------------------------------------------------


def test_factors_of_single_labels_are_in_the_logits(bow_id):
    """A graph that multiplies the product with a number for each label before it ranks."""
    content = content_of(bow_id)
    factors = np.where(np.arange(bow_id.spec.candidates) % 2, 0.01, 3.0).astype(np.float32)
    file = LogitsModel(multiplied(content, factors), bow_id.spec)
    for context, logits in list(zip(bow_id.contexts, bow_id.logits, strict=True))[::20]:
        np.testing.assert_allclose(file(context), logits * factors, atol=1e-4)


def multiplied(content: bytes, factors: np.ndarray) -> bytes:
    """The file with a MUL behind its last FULLY_CONNECTED."""
    from ai_edge_litert import schema_py_generated as schema

    model = flatbuffer.read(content)
    graph = model.subgraphs[0]
    names = flatbuffer.operators(content)
    place = len(names) - 1 - names[::-1].index("FULLY_CONNECTED")
    before = int(graph.operators[place].outputs[0])
    after, constant = copy.copy(graph.tensors[before]), copy.copy(graph.tensors[before])
    buffer = schema.BufferT()
    buffer.data = factors.view(np.uint8)
    constant.buffer = len(model.buffers)
    model.buffers.append(buffer)
    graph.tensors += [after, constant]
    new = len(graph.tensors) - 2
    for operator in graph.operators:
        operator.inputs = np.where(operator.inputs == before, new, operator.inputs)
    mul = schema.OperatorT()
    mul.inputs, mul.outputs = np.array([before, new + 1], np.int32), np.array([new], np.int32)
    mul.builtinOptionsType = schema.BuiltinOptions.MulOptions
    mul.builtinOptions = schema.MulOptionsT()
    constants_lib.set_code(model, mul, schema.BuiltinOperator.MUL, 1)
    graph.operators.insert(place + 1, mul)
    return flatbuffer.write(model)


# ---- what is refused --------------------------------------------------------------------------


def test_the_head_of_a_list():
    logits = np.array([0.5, 3.0, 1.0, 3.0, 1.0], np.float32)
    heads = [[1, 3], [3, 1], [1, 3, 2], [3, 1, 4, 2], [1, 3, 2, 4, 0]]
    others = [[1, 2], [2, 1, 3], [1, 3, 0], [1, 1], [1, 5], [-1, 3], [1, 3, 2, 0, 4]]
    assert all(logits_lib._is_head(np.array(head), logits) for head in heads)
    assert not any(logits_lib._is_head(np.array(other), logits) for other in others)


def test_a_list_of_something_else_is_noticed(bow_id):
    """Here the logits are taken for those of a catalogue that begins a row earlier."""
    spec = dataclasses.replace(bow_id.spec, first_candidate=0)
    file = LogitsModel(content_of(bow_id), spec)
    with pytest.raises(ExportError, match="not the best of the logits"):
        file(bow_id.contexts[0])


def test_a_graph_without_labels_is_refused(bow_id):
    with pytest.raises(ExportError, match="no product with a table of 1000 labels"):
        with_logits(content_of(bow_id), 1000)
    with pytest.raises(ExportError, match="not a TFLite model"):
        with_logits(b"PK" * 50, 10)
