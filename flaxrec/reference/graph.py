"""A .tflite as a graph of operators: read from the flatbuffer, run by tensor index.

For files without signatures, which `flaxrec.tflite.runtime` does not take.
"""

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flaxrec.errors import ExportError
from flaxrec.tflite.quiet import quiet


@dataclasses.dataclass(frozen=True)
class Operator:
    """One operator.

    Attributes:
      name: as in the schema, such as FULLY_CONNECTED.
      inputs: tensors; -1 for an optional one that is left out.
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
      inputs: name by tensor, in the file's order.
      outputs: tensors, in the file's order.
      operators: in the order of execution.

    Raises:
      ExportError: the file is missing or is no model, or the runtime is missing.
    """

    def __init__(self, file: str | os.PathLike):
        self.file = Path(file)
        if not self.file.is_file():
            raise ExportError(f"There is no model file {self.file}.")
        content = self.file.read_bytes()
        self.interpreter = self._interpret(content)
        from ai_edge_litert import schema_py_generated as schema

        self._schema = schema
        self._model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        graph = self._model.subgraphs[0]
        self._tensors = graph.tensors
        self.operators = [self._operator(op) for op in graph.operators]
        self.outputs = [int(tensor) for tensor in graph.outputs]
        signed = {
            int(tensor.tensorIndex): tensor.name.decode()
            for signature in self._model.signatureDefs or []
            for tensor in signature.inputs
        }
        self.inputs = {int(t): signed.get(int(t), self._name(int(t))) for t in graph.inputs}
        self._producers = {t: op for op in self.operators for t in op.outputs}

    def _interpret(self, content: bytes) -> Any:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise ExportError(
                "Reading a .tflite needs ai-edge-litert; install flaxrec[export]."
            ) from error
        try:
            with quiet():
                interpreter = Interpreter(model_content=content, num_threads=1)
                interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ExportError(f"{self.file} is not a TFLite model ({reason}).") from error
        return interpreter

    def _operator(self, op: Any) -> Operator:
        code = self._model.operatorCodes[op.opcodeIndex]
        # Files older than the 128th operator have the deprecated field only.
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        names = {v: k for k, v in vars(self._schema.BuiltinOperator).items() if k.isupper()}
        return Operator(
            names[number] if code.customCode is None else code.customCode.decode(),
            tuple(int(t) for t in op.inputs),
            tuple(int(t) for t in op.outputs),
            vars(op.builtinOptions) if op.builtinOptions else {},
        )

    def _name(self, tensor: int) -> str:
        """A tensor's name without what the exporter put around the argument's."""
        return self._tensors[tensor].name.decode().removeprefix("serving_default_").split(":")[0]

    def producer(self, tensor: int) -> Operator | None:
        """The operator that computes a tensor; None for inputs and constants."""
        return self._producers.get(tensor)

    def shape(self, tensor: int) -> tuple[int, ...]:
        """The tensor's shape."""
        shape = self._tensors[tensor].shape
        return tuple(int(n) for n in shape) if shape is not None else ()

    def dtype(self, tensor: int) -> str:
        """As in the schema, such as FLOAT32."""
        number = self._tensors[tensor].type
        types = vars(self._schema.TensorType).items()
        return next(name for name, value in types if value == number and name.isupper())

    def constant(self, tensor: int) -> np.ndarray | None:
        """The value of a constant float32 or int32 tensor; None of any other tensor."""
        if tensor < 0 or self._tensors[tensor].isVariable:
            return None
        data = self._model.buffers[self._tensors[tensor].buffer].data
        dtype = {"FLOAT32": np.float32, "INT32": np.int32}.get(self.dtype(tensor))
        if data is None or dtype is None:
            return None
        values = np.frombuffer(data.tobytes(), dtype)
        shape = self.shape(tensor)
        return values.reshape(shape) if values.size == math.prod(shape) else None


class TensorRunner:
    """Runs a graph by its tensors.

    Args:
      graph: the graph.
      inputs: tensor by input name.
      ids: output tensor of the ids.
      scores: output tensor of the scores.
    """

    def __init__(self, graph: Graph, inputs: Mapping[str, int], ids: int, scores: int):
        self._interpreter = graph.interpreter
        self._inputs = {name: (tensor, graph.shape(tensor)) for name, tensor in inputs.items()}
        self._ids, self._scores = ids, scores

    def __call__(
        self, inputs: Mapping[str, np.ndarray], *, reset: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """[length] by input name -> ids int32 [K], scores float32 [K].

        Args:
          inputs: one context.
          reset: first set variable tensors back: the fused LSTM keeps its state from call to call.
        """
        if reset:
            self._interpreter.reset_all_variables()
        for name, (tensor, shape) in self._inputs.items():
            self._interpreter.set_tensor(tensor, inputs[name].reshape(shape))
        self._interpreter.invoke()
        ids, scores = map(self._interpreter.get_tensor, (self._ids, self._scores))
        return ids.reshape(-1), scores.reshape(-1)
