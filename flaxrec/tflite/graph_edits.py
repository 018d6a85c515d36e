"""Edits a graph: adds smaller forms of constants and operators, and lets operators read them."""

import copy
from typing import Any

import numpy as np

from flaxrec.tflite import flatbuffer
from flaxrec.tflite.rounding import Rounded

_NARROW = 127  # the largest code of the schema's older field
# From this version on, a FULLY_CONNECTED with float32 input and int8 weight can round its input
# asymmetrically.
HYBRID = 9


def append(model: Any, graph: Any, number: int, small: Rounded) -> int:
    """Adds a smaller form of tensor `number`, a constant, as a new tensor and empties the old one.

    `model` is a `ModelT` from `flatbuffer.read`, `graph` one of its subgraphs. Returns the new
    tensor's number; nothing reads it yet.
    """
    types = flatbuffer.schema().TensorType
    tensor = copy.copy(graph.tensors[number])
    tensor.type = {16: types.FLOAT16, 8: types.INT8, 4: types.INT4}[small.bits]
    tensor.quantization = quantization(small.scales) if len(small.scales) else None
    tensor.buffer = append_buffer(model, small.packed())
    graph.tensors.append(tensor)
    graph.tensors[number].buffer = 0
    return len(graph.tensors) - 1


def append_buffer(model: Any, data: np.ndarray) -> int:
    """Adds a buffer of uint8 values; returns its number."""
    model.buffers.append(flatbuffer.schema().BufferT(data))
    return len(model.buffers) - 1


def quantization(scales: np.ndarray) -> Any:
    """The schema's object for scales, float32, one for each row or one for the whole tensor."""
    zeros = np.zeros(len(scales), np.int64)
    return flatbuffer.schema().QuantizationParametersT(scale=scales, zeroPoint=zeros)


def read_weight(model: Any, operator: Any, place: int, version: int) -> None:
    """Makes an operator read tensor `place` as its weight, and raises its version to this one."""
    operator.inputs = np.array(operator.inputs)
    operator.inputs[1] = place
    code = model.operatorCodes[operator.opcodeIndex]
    set_code(model, operator, flatbuffer.builtin(code), max(code.version, version))


def read_kernel(model: Any, operator: Any, place: int, version: int) -> None:
    """As `read_weight`, for a FULLY_CONNECTED with integers: also rounds its input to 8 bits."""
    read_weight(model, operator, place, version)
    operator.builtinOptions.asymmetricQuantizeInputs = True


def operator(model: Any, name: str, inputs: list[int], output: int, version: int) -> Any:
    """Makes an operator with default options, such as MUL, without adding it to a graph."""
    schema, options = flatbuffer.schema(), f"{name.title()}Options"
    made = schema.OperatorT(
        inputs=np.array(inputs, np.int32),
        outputs=np.array([output], np.int32),
        builtinOptionsType=getattr(schema.BuiltinOptions, options),
        builtinOptions=getattr(schema, f"{options}T")(),
    )
    set_code(model, made, getattr(schema.BuiltinOperator, name), version)
    return made


def set_code(model: Any, operator: Any, builtin: int, version: int) -> None:
    """Sets the operator's code; adds the code to the model if it is new."""
    for index, code in enumerate(model.operatorCodes):
        if flatbuffer.builtin(code) == builtin and code.version == version:
            operator.opcodeIndex = index
            return
    operator.opcodeIndex = len(model.operatorCodes)
    model.operatorCodes.append(
        flatbuffer.schema().OperatorCodeT(
            builtinCode=builtin, version=version, deprecatedBuiltinCode=min(builtin, _NARROW)
        )
    )
