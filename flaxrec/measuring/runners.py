"""Runs a .tflite in one of LiteRT's two runtimes, with inputs by position."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from flaxrec.tflite import runtime
from flaxrec.tflite.quiet import quiet


class Runner(Protocol):
    """A loaded model."""

    run: Callable[[], object]
    """What is measured: one call, on the context fed last."""

    def feed(self, context: Sequence[np.ndarray]) -> None:
        """Takes one context, one array for each input, in the file's order."""

    def outputs(self) -> list[np.ndarray]:
        """The outputs of the last call, in the file's order."""


class InterpreterRunner:
    """A model, a path or content, in `ai_edge_litert.Interpreter`; `feed` resets variable tensors.

    With `delegate`, XNNPACK runs what it can.

    Raises:
      ValueError, RuntimeError: the runtime refuses the model.
    """

    def __init__(self, model: Path | bytes, threads: int = 1, delegate: bool = True):
        self._interpreter = runtime.interpreter(_source(model), threads, delegate=delegate)
        self._inputs = [detail["index"] for detail in self._interpreter.get_input_details()]
        self._outputs = [detail["index"] for detail in self._interpreter.get_output_details()]
        self.run = self._interpreter.invoke

    def feed(self, context: Sequence[np.ndarray]) -> None:
        """See `Runner`."""
        self._interpreter.reset_all_variables()
        for index, values in zip(self._inputs, context, strict=True):
            self._interpreter.set_tensor(index, values)

    def outputs(self) -> list[np.ndarray]:
        """See `Runner`."""
        return [self._interpreter.get_tensor(index) for index in self._outputs]


class CompiledRunner:
    """A model in `ai_edge_litert.CompiledModel`; arguments and errors as for `InterpreterRunner`.

    It refuses models with variable tensors.
    """

    def __init__(self, model: Path, threads: int = 1, delegate: bool = True):
        from ai_edge_litert.compiled_model import CompiledModel
        from ai_edge_litert.cpu_kernel_mode import CpuKernelMode
        from ai_edge_litert.options import CpuOptions, HardwareAccelerator, Options

        mode = CpuKernelMode.XNNPACK if delegate else CpuKernelMode.BUILTIN
        cpu = CpuOptions(num_threads=threads, kernel_mode=mode)
        options = Options(hardware_accelerators=HardwareAccelerator.CPU, cpu_options=cpu)
        source = _source(model)
        load = CompiledModel.from_file if isinstance(source, str) else CompiledModel.from_buffer
        with quiet():
            compiled = load(source, options=options)
            inputs, outputs = compiled.create_input_buffers(0), compiled.create_output_buffers(0)
        self._inputs, self._outputs, self._source = inputs, outputs, source
        self.run = lambda: compiled.run_by_index(0, inputs, outputs)

    def feed(self, context: Sequence[np.ndarray]) -> None:
        """See `Runner`."""
        for buffer, values in zip(self._inputs, context, strict=True):
            buffer.write(values)

    def outputs(self) -> list[np.ndarray]:
        """See `Runner`."""
        found = []
        for buffer in self._outputs:
            details = buffer.get_tensor_details()
            values = buffer.read(math.prod(details["shape"]), np.dtype(details["dtype"]))
            found.append(values.reshape(details["shape"]))
        return found


def _source(model: Path | bytes) -> str | bytes:
    """The path; the content, where the runtimes cannot take the path: it is not UTF-8."""
    if isinstance(model, Path):
        try:
            return str(model).encode().decode()
        except UnicodeEncodeError:
            return model.read_bytes()
    return model
