"""Constants of a .tflite, exchanged for smaller ones: what quantisation and coarse labels share."""

import copy
from typing import Any

import numpy as np

from flaxrec.tflite import flatbuffer

_NARROW = 127  # the largest code of the schema's older field
# From this version on a FULLY_CONNECTED of float32 input and int8 weight can round its input
# asymmetrically.
HYBRID = 9


def append(
    model: Any, graph: Any, number: int, bits: int, data: np.ndarray, scales: np.ndarray
) -> int:
    """Puts another form of a constant beside tensor `number`, which becomes an empty one.

    Args:
      model: a `ModelT` of `flatbuffer.read`.
      graph: one of its subgraphs.
      number: the tensor's.
      bits: 16 (float16), 8 or 4 (integers).
      data: uint8, packed.
      scales: float32, of the integers: one for each row, or one; none for float16.

    Returns:
      The new tensor's number; nothing reads it yet.
    """
    from ai_edge_litert import schema_py_generated as schema

    types = schema.TensorType
    tensor = copy.copy(graph.tensors[number])
    tensor.type = {16: types.FLOAT16, 8: types.INT8, 4: types.INT4}[bits]
    tensor.quantization = None
    if len(scales):
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = scales
        tensor.quantization.zeroPoint = np.zeros(len(scales), np.int64)
        tensor.quantization.quantizedDimension = 0
    buffer = schema.BufferT()
    buffer.data = data
    tensor.buffer = len(model.buffers)
    model.buffers.append(buffer)
    graph.tensors.append(tensor)
    graph.tensors[number].buffer = 0
    return len(graph.tensors) - 1


def read_weight(model: Any, operator: Any, place: int, version: int) -> None:
    """Lets an operator read tensor `place` as its weight; its version is at least this one."""
    operator.inputs = np.array(operator.inputs)
    operator.inputs[1] = place
    code = model.operatorCodes[operator.opcodeIndex]
    set_code(model, operator, flatbuffer.builtin(code), max(code.version, version))


def set_code(model: Any, operator: Any, builtin: int, version: int) -> None:
    """Gives the operator a code, which the model may have already."""
    from ai_edge_litert.schema_py_generated import OperatorCodeT

    for index, code in enumerate(model.operatorCodes):
        if flatbuffer.builtin(code) == builtin and code.version == version:
            operator.opcodeIndex = index
            return
    code = OperatorCodeT()
    code.builtinCode, code.version = builtin, version
    code.deprecatedBuiltinCode = min(builtin, _NARROW)
    operator.opcodeIndex = len(model.operatorCodes)
    model.operatorCodes.append(code)
