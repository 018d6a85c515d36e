"""Reads a .tflite as a graph of operators and runs it by tensor index.

For files without signatures, which `TfliteModel` does not take.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from flaxrec.errors import ExportError
from flaxrec.tflite import flatbuffer, runtime


class Operator(NamedTuple):
    """One operator.

    Attributes:
      name: as in the schema, such as FULLY_CONNECTED.
      inputs: tensors; -1 for an optional input that is left out.
      outputs: tensors.
      options: its options by name.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any]


class Graph:
    """One .tflite; tensors are numbers.

    Attributes:
      file: its path.
      inputs: name by tensor, in the file's order; names become identifiers.
      outputs: tensors, in the file's order.
      operators: in the order of execution.
      interpreter: LiteRT's, for the file.

    Raises:
      ExportError: the file is missing or is no model, or the runtime is missing.
    """

    def __init__(self, file: str | os.PathLike):
        self.file = Path(file)
        self.interpreter = runtime.load(file)
        self._model = flatbuffer.read(self.file.read_bytes())
        graph = self._model.subgraphs[0]
        self._tensors = graph.tensors
        names = flatbuffer.input_names(self._model).items()
        words = {tensor: re.sub(r"\W", "_", name) for tensor, name in names}
        self.inputs = {t: word if word.isidentifier() else f"_{word}" for t, word in words.items()}
        self.outputs = [int(tensor) for tensor in graph.outputs]
        self.operators = [
            Operator(
                flatbuffer.operator_name(self._model, operator),
                tuple(map(int, operator.inputs)),
                tuple(map(int, operator.outputs)),
                vars(operator.builtinOptions) if operator.builtinOptions else {},
            )
            for operator in graph.operators
        ]
        self._producers = {t: op for op in self.operators for t in op.outputs}

    def producer(self, tensor: int) -> Operator | None:
        """The operator that computes a tensor; None for inputs and constants."""
        return self._producers.get(tensor)

    def shape(self, tensor: int) -> tuple[int, ...]:
        """The tensor's shape."""
        return flatbuffer.shape(self._tensors[tensor])

    def dtype(self, tensor: int) -> str:
        """The type of its values, such as float32."""
        return flatbuffer.dtype(self._tensors[tensor])

    def constant(self, tensor: int) -> np.ndarray | None:
        """The value of a constant float32 or int32 tensor; None for any other tensor."""
        if tensor < 0 or self._tensors[tensor].isVariable:
            return None
        data = self._model.buffers[self._tensors[tensor].buffer].data
        if data is None or self.dtype(tensor) not in ("float32", "int32"):
            return None
        values = np.frombuffer(data.tobytes()[: len(data) // 4 * 4], self.dtype(tensor))
        if values.size != np.prod(self.shape(tensor), dtype=np.int64):
            raise ExportError(
                f"{self.file}: a constant has {values.size:,} values and the shape "
                f"{self.shape(tensor)}; export the file again."
            )
        return values.reshape(self.shape(tensor))


class TensorRunner:
    """Runs a graph by its tensors; `ids` and `scores` are the output tensors."""

    def __init__(self, graph: Graph, ids: int, scores: int):
        self._interpreter, self._ids, self._scores = graph.interpreter, ids, scores
        self._inputs = {name: (t, graph.shape(t)) for t, name in graph.inputs.items()}

    def __call__(
        self, inputs: Mapping[str, np.ndarray], *, reset: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """[length] by input name -> ids int32 [K], scores float32 [K].

        With `reset`, resets variable tensors first: the fused LSTM keeps its state between calls.
        """
        if reset:
            self._interpreter.reset_all_variables()
        for name, (tensor, shape) in self._inputs.items():
            self._interpreter.set_tensor(tensor, inputs[name].reshape(shape))
        self._interpreter.invoke()
        ids, scores = map(self._interpreter.get_tensor, (self._ids, self._scores))
        return ids.reshape(-1), scores.reshape(-1)
