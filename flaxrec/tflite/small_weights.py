"""Adds weights of fewer bits to a graph and lets operators read them instead of the float32 ones.

Lookups and products (EMBEDDING_LOOKUP, FULLY_CONNECTED) read integers directly. For all others a
DEQUANTIZE decodes the weight once, before the first call.

Scales for the rows of a table are stored as one scale and an integer factor for each row. The
result of a lookup or a product with the table is multiplied by the factors. The format's own scales
for rows take 12 bytes each, four for the scale and eight for a required zero point: in 4 bits a
third of a table of width 64.
"""

import copy
from typing import Any

import numpy as np

from flaxrec.tflite import flatbuffer, graph_edits
from flaxrec.tflite.rounding import Rounded

# About how many bytes a smaller weight adds besides its own: its description, a DEQUANTIZE.
_OVERHEAD = 100
_OVERHEAD_OF_SCALE = 12
_OVERHEAD_OF_FACTORS = 600  # five operators


def size(small: Rounded) -> int:
    """About how many bytes the weight takes in the file."""
    factors = 0 if small.factors is None else len(small.factors) + _OVERHEAD_OF_FACTORS
    return len(small.packed()) + _OVERHEAD_OF_SCALE * len(small.scales) + _OVERHEAD + factors


def replace(
    model: Any,
    graph: Any,
    number: int,
    small: Rounded,
    lookups: list[Any],
    products: list[Any],
) -> list[Any]:
    """Stores a weight and makes all operators read it instead of tensor `number`.

    Args:
      model: a `ModelT` from `flatbuffer.read`.
      graph: one of its subgraphs.
      number: the float32 weight's tensor.
      small: the smaller weight; with factors only where `takes_factors`.
      lookups: operators that read integers as a table.
      products: operators that read integers as a kernel.

    Returns:
      Operators to run before all others.
    """
    decoders = []
    place = graph_edits.append(model, graph, number, small)
    # TFLite's oldest versions of operators with integer weights read 8 bits of one scale.
    is_plain = small.bits == 8 and len(small.scales) == 1
    if small.bits < 16:
        # TFLite requires these versions for the types that are read.
        for operator in _readers(number, lookups):
            graph_edits.read_weight(model, operator, place, 1 if is_plain else 4)
        for operator in _readers(number, products):
            graph_edits.read_kernel(model, operator, place, graph_edits.HYBRID if is_plain else 12)
    if small.factors is not None:
        decoders += _multiply(
            model, graph, small.factors, _readers(place, lookups), _readers(place, products)
        )
    if _readers(number, graph.operators, anywhere=True):
        version = {16: 3, 8: 2 if is_plain else 5, 4: 6}[small.bits]
        decoders.append(graph_edits.operator(model, "DEQUANTIZE", [place], number, version))
    return decoders


def takes_factors(graph: Any, number: int, lookups: list[Any], products: list[Any]) -> bool:
    """Whether the result of every operator that reads tensor `number` can be multiplied."""
    readers = _readers(number, graph.operators, anywhere=True)
    own = [*_readers(number, lookups), *_readers(number, products)]
    bare = (
        not (operator.builtinOptions.fusedActivationFunction or set(operator.inputs[2:]) - {-1})
        for operator in _readers(number, products)
    )
    return len(readers) == len(own) and all(bare)


def _readers(number: int, operators: list[Any], *, anywhere: bool = False) -> list[Any]:
    """The operators whose weight, or with `anywhere` any input, is tensor `number`."""
    if anywhere:
        return [operator for operator in operators if number in operator.inputs]
    return [operator for operator in operators if operator.inputs[1] == number]


# ---- factors of rows ------------------------------------------------------------------------


def _multiply(
    model: Any, graph: Any, factors: np.ndarray, lookups: list[Any], products: list[Any]
) -> list[Any]:
    """Multiplies the results of lookups and products by the table's factors, int8 [R]."""
    graph_edits.append_buffer(model, factors.view(np.uint8))
    decoders = []
    for operator in lookups:
        row_of = copy.copy(operator)
        column = _integers(model, graph, [len(factors), 1])
        row_of.inputs = np.array([operator.inputs[0], column], np.int32)
        shape = graph.tensors[operator.outputs[0]].shape
        row_of.outputs = np.array([_like(graph, operator.outputs[0], [*shape[:-1], 1])], np.int32)
        lookup = flatbuffer.schema().BuiltinOperator.EMBEDDING_LOOKUP
        graph_edits.set_code(model, row_of, lookup, 1)
        _insert(graph, operator, row_of)
        _multiply_result(model, graph, operator, row_of.outputs[0], after=row_of)
    for operator in products:
        shape = graph.tensors[operator.outputs[0]].shape
        decoded = _like(graph, operator.outputs[0], shape)
        _multiply_result(model, graph, operator, decoded, after=operator)
        integers = _integers(model, graph, shape)
        decoders.append(graph_edits.operator(model, "DEQUANTIZE", [integers], decoded, 2))
    return decoders


def _multiply_result(model: Any, graph: Any, operator: Any, factor: int, *, after: Any) -> None:
    """Adds a MUL by tensor `factor` between the operator and the readers of its result."""
    result = operator.outputs[0]
    plain = _like(graph, result, graph.tensors[result].shape)
    operator.outputs = np.array([plain], np.int32)
    _insert(graph, after, graph_edits.operator(model, "MUL", [plain, factor], result, 1))


# ---- tensors and operators ------------------------------------------------------------------


def _like(graph: Any, number: int, shape: Any) -> int:
    """Adds a tensor of the type of tensor `number`; returns its number."""
    tensor = copy.copy(graph.tensors[number])
    tensor.shape, tensor.shapeSignature = np.array(shape, np.int32), None
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _integers(model: Any, graph: Any, shape: Any) -> int:
    """Adds an int8 tensor over the last buffer; returns its number."""
    schema = flatbuffer.schema()
    graph.tensors.append(
        schema.TensorT(
            shape=np.array(shape, np.int32),
            type=schema.TensorType.INT8,
            buffer=len(model.buffers) - 1,
            quantization=graph_edits.quantization(np.ones(1, np.float32)),
        )
    )
    return len(graph.tensors) - 1


def _insert(graph: Any, after: Any, operator: Any) -> None:
    place = next(i for i, other in enumerate(graph.operators) if other is after)
    graph.operators.insert(place + 1, operator)
