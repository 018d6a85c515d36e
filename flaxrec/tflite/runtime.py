"""Runs a .tflite by signature, through ai_edge_litert; knows nothing of JAX or TensorFlow."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from flaxrec.errors import ExportError
from flaxrec.tflite.quiet import quiet


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
        self._content = file if isinstance(file, bytes) else None  # the interpreter copies nothing
        what = "The content" if isinstance(file, bytes) else str(Path(file))
        if not isinstance(file, bytes) and not Path(file).is_file():
            raise ExportError(f"There is no model file {what}.")
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise ExportError(
                "Running a .tflite needs ai-edge-litert; install flaxrec[export]."
            ) from error
        try:
            with quiet():
                self._interpreter = Interpreter(
                    model_path=None if self._content is not None else what,
                    model_content=self._content,
                    num_threads=1,
                )
                self._interpreter.allocate_tensors()
            signatures = list(self._interpreter.get_signature_list())
        except (ValueError, RuntimeError) as error:
            raise ExportError(f"{what} is not a TFLite model ({error}).") from error
        if len(signatures) != 1:
            raise ExportError(f"{what} has {len(signatures)} signatures; expected one.")
        self._run = self._interpreter.get_signature_runner(signatures[0])
        self.inputs = self._order(
            self._run.get_input_details(), self._interpreter.get_input_details()
        )
        self.outputs = self._order(
            self._run.get_output_details(), self._interpreter.get_output_details()
        )

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """[length] by input name -> arrays by output name."""
        return self._run(**inputs)

    @staticmethod
    def _order(
        named: dict[str, Any], in_file: list[dict[str, Any]]
    ) -> list[tuple[str, list[int], str]]:
        order = [tensor["index"] for tensor in in_file]
        by_place = sorted(named.items(), key=lambda item: order.index(item[1]["index"]))
        return [(n, d["shape"].tolist(), np.dtype(d["dtype"]).name) for n, d in by_place]
