"""Loads a .tflite with ai_edge_litert, or calls it by signature."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from flaxrec.errors import ExportError, reason
from flaxrec.tflite.quiet import quiet


def interpreter(model: str | bytes, threads: int = 1, *, delegate: bool = True) -> Any:
    """Loads a model, a path or content, and allocates its tensors.

    With `delegate`, XNNPACK runs what it can.

    Raises:
      ExportError: the runtime is missing.
      ValueError, RuntimeError: the runtime refuses the model.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError as error:
        raise ExportError(
            "Running a .tflite needs ai-edge-litert; install flaxrec[export]."
        ) from error
    resolvers = (OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, OpResolverType.BUILTIN)
    source: dict[str, Any] = {
        "model_content" if isinstance(model, bytes) else "model_path": model,
        "experimental_op_resolver_type": resolvers[delegate],
    }
    with quiet():
        loaded = Interpreter(**source, num_threads=threads)
        loaded.allocate_tensors()
    return loaded


def load(file: str | os.PathLike | bytes) -> Any:
    """As `interpreter`, but raises ExportError if there is no such file or it is no model."""
    what = "The content" if isinstance(file, bytes) else str(Path(file))
    if not isinstance(file, bytes) and not Path(file).is_file():
        raise ExportError(f"There is no model file {what}.")
    try:
        return interpreter(file if isinstance(file, bytes) else what)
    except (ValueError, RuntimeError) as error:
        raise ExportError(f"{what} is not a TFLite model ({reason(error)}).") from error


class TfliteModel:
    """One .tflite file.

    Args:
      file: its path, or its bytes.

    Attributes:
      inputs: (name, shape, dtype) in the file's order.
      outputs: the same.

    Raises:
      ExportError: the file is missing, is no model or has no signature, or the runtime is missing.
    """

    def __init__(self, file: str | os.PathLike | bytes):
        loaded = load(file)
        signatures = list(loaded.get_signature_list())
        if len(signatures) != 1:
            what = "The content" if isinstance(file, bytes) else str(Path(file))
            raise ExportError(f"{what} has {len(signatures)} signatures; expected one.")
        self._run = loaded.get_signature_runner(signatures[0])
        self.inputs = self._order(self._run.get_input_details(), loaded.get_input_details())
        self.outputs = self._order(self._run.get_output_details(), loaded.get_output_details())

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """[length] by input name -> arrays by output name; raises ExportError on failure."""
        try:
            return self._run(**inputs)
        except (RuntimeError, ValueError) as error:
            raise ExportError(f"The file does not run ({reason(error)}).") from error

    @staticmethod
    def _order(
        named: dict[str, Any], in_file: list[dict[str, Any]]
    ) -> list[tuple[str, list[int], str]]:
        order = [tensor["index"] for tensor in in_file]
        by_place = sorted(named.items(), key=lambda item: order.index(item[1]["index"]))
        return [(n, d["shape"].tolist(), np.dtype(d["dtype"]).name) for n, d in by_place]
