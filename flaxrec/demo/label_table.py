"""Finds the label table in a .tflite; the page reads its rows to compare items.

The rows are those that the file ranks with, quantised or not. Cosines need no quantisation scales:
a scale per table or per row does not change a row's direction.
"""

from typing import Any

import numpy as np

from flaxrec.tflite import flatbuffer

_BITS = {"FLOAT32": 32, "FLOAT16": 16, "INT8": 8, "INT4": 4}


def find(content: bytes, candidates: int) -> dict[str, Any] | None:
    """The table's place in a .tflite with C `candidates`; None if it cannot be identified.

    Returns:
      `offset`: of its first byte; `type`: FLOAT32, FLOAT16, INT8 or INT4 (two values per byte, the
      low one first); `rows`: C, or the rows of the vocabulary; `width`.

    Raises:
      ExportError: the content is not a .tflite.
    """
    from ai_edge_litert.schema_py_generated import BuiltinOperator, TensorType

    model = flatbuffer.read(content)
    graph = model.subgraphs[0]

    def code(operator: Any) -> int:
        return flatbuffer.builtin(model.operatorCodes[operator.opcodeIndex])

    decoded = {
        int(operator.outputs[0]): int(operator.inputs[0])
        for operator in graph.operators
        if code(operator) == BuiltinOperator.DEQUANTIZE
    }
    name_of = {number: name for name, number in vars(TensorType).items()}
    found = None
    for operator in graph.operators:
        if code(operator) != BuiltinOperator.FULLY_CONNECTED:
            continue
        weight = int(operator.inputs[1])
        tensor = graph.tensors[decoded.get(weight, weight)]
        data = model.buffers[tensor.buffer].data
        if data is None or not len(data) or len(tensor.shape) != 2 or tensor.shape[0] < candidates:
            continue
        rows, width = map(int, tensor.shape)
        kind = name_of[tensor.type]
        raw = np.asarray(data, np.uint8).tobytes()
        if kind in _BITS and len(raw) * 8 == rows * width * _BITS[kind]:
            offset = content.find(raw)
            found = {"offset": offset, "type": kind, "rows": rows, "width": width}
    return found
