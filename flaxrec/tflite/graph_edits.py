"""Edits of a graph: a constant gets a smaller form beside it, operators read it, new ones join."""

import copy
from typing import Any

import numpy as np

from flaxrec.tflite import flatbuffer
from flaxrec.tflite.rounding import Rounded

_NARROW = 127  # the largest code of the schema's older field
# From this version on a FULLY_CONNECTED of float32 input and int8 weight can round its input
# asymmetrically.
HYBRID = 9


def append(model: Any, graph: Any, number: int, small: Rounded) -> int:
    """Puts another form of a constant beside tensor `number`, which becomes an empty one.

    Args:
      model: a `ModelT` of `flatbuffer.read`.
      graph: one of its subgraphs.
      number: the tensor's.
      small: the form.

    Returns:
      The new tensor's number; nothing reads it yet.
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
    """A new buffer of uint8 values; returns its number."""
    model.buffers.append(flatbuffer.schema().BufferT(data))
    return len(model.buffers) - 1


def quantization(scales: np.ndarray) -> Any:
    """Scales, float32, of the first axis or of everything, as the schema has them."""
    zeros = np.zeros(len(scales), np.int64)
    return flatbuffer.schema().QuantizationParametersT(scale=scales, zeroPoint=zeros)


def read_weight(model: Any, operator: Any, place: int, version: int) -> None:
    """Lets an operator read tensor `place` as its weight; its version is at least this one."""
    operator.inputs = np.array(operator.inputs)
    operator.inputs[1] = place
    code = model.operatorCodes[operator.opcodeIndex]
    set_code(model, operator, flatbuffer.builtin(code), max(code.version, version))


def read_kernel(model: Any, operator: Any, place: int, version: int) -> None:
    """The same for a FULLY_CONNECTED and integers: its input is rounded to 8 bits as well."""
    read_weight(model, operator, place, version)
    operator.builtinOptions.asymmetricQuantizeInputs = True


def operator(model: Any, name: str, inputs: list[int], output: int, version: int) -> Any:
    """An operator of default options, such as MUL; no graph has it yet."""
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
    """Gives the operator a code, which the model may have already."""
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
