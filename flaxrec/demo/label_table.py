"""Where the label table stands in a .tflite: the page reads its rows to tell how alike items are.

The rows are those that the file ranks by, quantised or not. Cosines do not ask for scales: one for
the table, or for a row, leaves a row's direction as it is.
"""

from typing import Any

import numpy as np

from flaxrec.tflite import flatbuffer

_BITS = {"FLOAT32": 32, "FLOAT16": 16, "INT8": 8, "INT4": 4}


def find(content: bytes, candidates: int) -> dict[str, Any] | None:
    """The table's place in the file; None where the graph has none that can be told.

    Args:
      content: a .tflite.
      candidates: C, number of items that are ranked.

    Returns:
      `offset`: of its first byte; `type`: FLOAT32, FLOAT16, INT8 or INT4 (two values a byte, the
      low one first); `rows`, C of them or one for each row of the vocabulary; `width`.

    Raises:
      ExportError: the content is no .tflite.
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
