"""Loads a .tflite with ai_edge_litert, or calls it by signature."""

import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from flaxrec.errors import ExportError, reason, shown
from flaxrec.tflite.metadata import CANDIDATE_MASK
from flaxrec.tflite.quiet import quiet

_MOST = min(os.cpu_count() or 1, 8)  # interpreters of a model; more would not make it faster


def interpreter(model: str | bytes, threads: int = 1, *, delegate: bool = True) -> Any:
    """Loads a model, a path or content, and allocates its tensors, without the runtime's words.

    With `delegate`, XNNPACK runs what it can.

    Raises:
      ExportError: the runtime is missing.
      ValueError, RuntimeError: the runtime refuses the model.
    """
    with quiet():
        return _interpreter(model, threads, delegate)


def _interpreter(model: str | bytes, threads: int = 1, delegate: bool = True) -> Any:
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
    loaded = Interpreter(**source, num_threads=threads)
    loaded.allocate_tensors()
    return loaded


def load(file: str | os.PathLike) -> Any:
    """As `interpreter`, but raises ExportError if there is no such file or it is no model."""
    return _load(_read(Path(file)), str(Path(file)))


def _read(file: Path) -> bytes:
    if not file.is_file():
        raise ExportError(f"There is no model file {file}.")
    try:
        return file.read_bytes()
    except OSError as error:
        raise ExportError(f"{file} cannot be read ({error.strerror}); make it readable.") from error


def _load(content: bytes, what: str) -> Any:
    try:
        return interpreter(content)
    except (ValueError, RuntimeError) as error:
        raise ExportError(
            f"{what} is not a TFLite model ({reason(error)}); export it again."
        ) from error


class _Runners:
    """What the threads of one process share.

    Attributes:
      process: its id.
      free: signature runners that nobody uses.
      permits: one for each that may still be made.
    """

    def __init__(self, *free: Any):
        self.process = os.getpid()
        self.free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for run in free:
            self.free.put(run)
        self.permits = threading.Semaphore(_MOST - len(free))

    def take(self, another: Callable[[], Any]) -> Any:
        """One for the caller to put back into `free`; makes it, or waits, if none is free."""
        try:
            return self.free.get_nowait()
        except queue.Empty:
            if not self.permits.acquire(blocking=False):
                return self.free.get()
        try:
            return another()
        except BaseException:
            self.permits.release()
            raise


class TfliteModel:
    """One .tflite file. Threads may share it, and it may be copied and pickled.

    An interpreter computes one call at a time. A call takes one that is free; where there is none,
    it makes another, or waits when there are `_MOST`. All of them read one copy of the file, taken
    at loading: what happens to the file afterwards does not matter. After a fork, the child makes
    its own.

    Args:
      file: its path, or its bytes.
      name: of the file, for messages about bytes.

    Attributes:
      inputs: (name, shape, dtype) in the file's order.
      outputs: the same.

    Raises:
      ExportError: the file is missing, cannot be read, is no model or has no signature, or the
        runtime is missing.
    """

    def __init__(self, file: str | os.PathLike | bytes, name: object = "The content"):
        what = str(name) if isinstance(file, bytes) else str(Path(file))
        self._content = file if isinstance(file, bytes) else _read(Path(file))
        loaded = _load(self._content, what)
        signatures = list(loaded.get_signature_list())
        if len(signatures) != 1:
            raise ExportError(
                f"{what} has {len(signatures)} signatures; expected one: export it again."
            )
        (self._signature,) = signatures
        run = loaded.get_signature_runner(self._signature)
        self.inputs = self._order(run.get_input_details(), loaded.get_input_details())
        self.outputs = self._order(run.get_output_details(), loaded.get_output_details())
        self._runners = _Runners(run)
        self._masks = {n: np.zeros(s, d) for n, s, d in self.inputs if n == CANDIDATE_MASK}

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """[length] by input name -> arrays by output name.

        A mask of the candidates that is not given leaves out nothing.

        Raises:
          ExportError: the file does not run, or the mask has not a number for each row.
        """
        for name, nothing in self._masks.items():
            inputs = {name: nothing, **inputs}
            if (given := np.shape(inputs[name])) != nothing.shape:
                raise ExportError(
                    f"The mask {name} is {shown(given)}, but the model takes {nothing.shape}: a "
                    "number for each row of the label vocabulary; make it of the same export."
                )
        if self._runners.process != os.getpid():
            self._runners = _Runners()
        runners = self._runners  # a thread of a new process may put others there
        run = runners.take(self._another)
        try:
            return run(**inputs)
        except (RuntimeError, ValueError) as error:
            raise ExportError(f"The file does not run ({reason(error)}).") from error
        finally:
            runners.free.put(run)

    def _another(self) -> Any:
        return _interpreter(self._content).get_signature_runner(self._signature)

    def __reduce__(self) -> tuple[type["TfliteModel"], tuple[bytes]]:
        return TfliteModel, (self._content,)

    @staticmethod
    def _order(
        named: dict[str, Any], in_file: list[dict[str, Any]]
    ) -> list[tuple[str, list[int], str]]:
        order = [tensor["index"] for tensor in in_file]
        by_place = sorted(named.items(), key=lambda item: order.index(item[1]["index"]))
        return [(n, d["shape"].tolist(), np.dtype(d["dtype"]).name) for n, d in by_place]
