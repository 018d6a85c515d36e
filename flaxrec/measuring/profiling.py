"""Times each operator, as the difference between a graph cut after it and one cut before it.

The Python runtime has no profiler. A cut graph runs all operators up to the cut and returns the
results that none of them reads, so the next cut does the same work and one operator more.
Differences of medians are noisy; negative ones are reported as they are. The delegate fuses
operators, which a cut between them prevents, so the sum is compared with the whole file, measured
among the cuts. Cuts of a large file are measured in parts.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from flaxrec.measuring.fresh_contexts import Contexts
from flaxrec.measuring.runners import InterpreterRunner
from flaxrec.measuring.timing import interval, measure
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.inspection import ModelFile

CALL = "invoke"  # the name for the time of a call without operators
_BURST = 10  # calls in a row of one cut
_COLD = 2  # first calls of a burst that do not count: other cuts fill the caches
_BYTES_AT_ONCE = 2**28  # of cuts in memory at a time; XNNPACK keeps another copy of constants


@dataclasses.dataclass(frozen=True)
class OperatorTime:
    """One operator's share of a call.

    Attributes:
      name: builtin name; `CALL` for a call of a graph without operators.
      shape: of its last output, for the last context.
      microseconds: median with it minus median without it; noise may make it negative.
      low: lower end of its 95% interval.
      high: upper end.
      share: of the sum.
    """

    name: str
    shape: tuple[int, ...]
    microseconds: float
    low: float
    high: float
    share: float


@dataclasses.dataclass(frozen=True)
class Profile:
    """Times of all operators of a file, in the order of execution.

    Attributes:
      operators: the call itself, then the operators.
      sum: of their times, microseconds.
      whole: median of the uncut file, measured among the cuts.
    """

    operators: list[OperatorTime]
    sum: float
    whole: float

    def by_name(self) -> list[tuple[str, int, float]]:
        """(name, number of operators, their microseconds), the slowest first."""
        names = dict.fromkeys(operator.name for operator in self.operators)
        groups = [[o for o in self.operators if o.name == name] for name in names]
        totals = [(g[0].name, len(g), math.fsum(o.microseconds for o in g)) for g in groups]
        return sorted(totals, key=lambda total: -total[2])


def profile(
    model: ModelFile,
    contexts: Contexts,
    calls: int,
    seed: int = 0,
    *,
    threads: int = 1,
    delegate: bool = True,
) -> Profile:
    """Measures every cut of a file and the file itself in turns, each with about `calls` calls.

    With `delegate`, XNNPACK runs what it can.

    Raises:
      ExportError: the file is no TFLite model.
      ValueError, RuntimeError: the runtime refuses a cut or a context.
    """
    cuts = Cuts(model.path.read_bytes())
    runner = functools.partial(InterpreterRunner, threads=threads, delegate=delegate)
    rounds = max(2, calls // (_BURST - _COLD))
    parts = []
    for part, counts in enumerate(_parts(len(model.operators), model.bytes)):
        loaders: list[Callable[[], InterpreterRunner]] = [
            functools.partial(_load, runner, cuts, count) for count in counts
        ]
        loaders.append(functools.partial(runner, model.path))
        everyone = [contexts] * len(loaders)
        times = measure(loaders, everyone, rounds, seed + part, burst=_BURST).calls
        parts.append(times[:, :, _COLD:])
    shapes = [_shape(cuts, count, runner, contexts) for count in range(1, len(cuts))]
    return _profile(model.operators, shapes, parts, seed)


def _parts(operators: int, size: int) -> list[range]:
    """The cuts measured together; each part begins with the last cut of the part before."""
    step = max(1, _BYTES_AT_ONCE // size)
    return [range(n, min(n + step, operators) + 1) for n in range(0, max(1, operators), step)]


def _load(
    runner: Callable[[bytes], InterpreterRunner], cuts: "Cuts", count: int
) -> InterpreterRunner:
    return runner(cuts.content(count))


def _profile(
    names: Sequence[str],
    shapes: Sequence[tuple[int, ...]],
    parts: Sequence[np.ndarray],
    seed: int,
) -> Profile:
    """Makes the profile from each part's times [R, M, B]: its cuts, then the whole file."""
    nothing = np.zeros_like(parts[0][:, :1])
    parts = [np.concatenate([nothing, parts[0]], axis=1), *parts[1:]]
    steps, low, high = [], [], []
    for part, calls in enumerate(parts):
        rounds = np.median(calls, axis=2)
        steps += _steps(np.median(rounds, axis=0)).tolist()
        ends = interval(rounds, _steps, seed + part)
        low += ends[0].tolist()
        high += ends[1].tolist()
    total = math.fsum(steps)
    names, shapes = (CALL, *names), ((), *shapes)
    operators = [
        OperatorTime(*fields, fields[2] / total)
        for fields in zip(names, shapes, steps, low, high, strict=True)
    ]
    whole = np.median([np.median(calls[:, -1], axis=1) for calls in parts])
    return Profile(operators, total, float(whole))


def _steps(medians: np.ndarray) -> np.ndarray:
    """The additional time of each cut; the last median, the whole file's, is left out."""
    return np.diff(medians[:-1])


class Cuts:
    """A .tflite cut after each of its operators.

    The outputs of a cut are the tensors that depend on an input and that none of its operators
    reads (XNNPACK does not return constants that it decodes); if there are none, the inputs.
    Constants that no operator of the cut reads are left out. Raises ExportError if the content is
    no .tflite.
    """

    def __init__(self, content: bytes):
        self._model = flatbuffer.read(content)
        self._model.signatureDefs = self._model.metadata = None
        self._graph = self._model.subgraphs[0]
        self._operators = self._graph.operators
        self._data = [buffer.data for buffer in self._model.buffers]

    def __len__(self) -> int:
        return len(self._operators) + 1

    def content(self, count: int) -> bytes:
        """The .tflite with only its first `count` operators."""
        self._graph.operators = self._operators[:count]
        self._graph.outputs = np.array(self._unread(count) or self._graph.inputs, np.int32)
        kept = self._buffers_read(count)
        for number, buffer in enumerate(self._model.buffers):
            buffer.data = self._data[number] if number in kept else None
        return flatbuffer.write(self._model)

    def fixed_shape(self, count: int) -> tuple[int, ...] | None:
        """The shape of the last operator's output; None if the cut returns it, as its last."""
        last = self._operators[count - 1].outputs[-1]
        if last in self._unread(count):
            return None
        return flatbuffer.shape(self._graph.tensors[last])

    def _unread(self, count: int) -> list[int]:
        """Tensors that depend on an input and that no operator reads, in the order of execution."""
        computed = flatbuffer.computed(self._graph, self._operators[:count])
        return [t for t in computed if t not in self._read(count) and t not in self._graph.inputs]

    def _read(self, count: int) -> set[int]:
        return {int(t) for operator in self._operators[:count] for t in operator.inputs}

    def _buffers_read(self, count: int) -> set[int]:
        """The buffers to keep, so that not every cut carries a large catalogue's tables."""
        kept = {self._graph.tensors[tensor].buffer for tensor in self._read(count) if tensor >= 0}
        others = self._model.subgraphs[1:]
        return kept | {tensor.buffer for graph in others for tensor in graph.tensors}


def _shape(
    cuts: Cuts, count: int, runner: Callable[[bytes], InterpreterRunner], contexts: Contexts
) -> tuple[int, ...]:
    """Shape of the last operator's output, which may depend on the context."""
    fixed = cuts.fixed_shape(count)
    if fixed is not None:
        return fixed
    loaded = _load(runner, cuts, count)
    loaded.feed([array[-1] for array in contexts])
    loaded.run()
    return loaded.outputs()[-1].shape
