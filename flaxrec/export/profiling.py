"""Which operator takes how long: differences between a graph cut after one operator and the next.

The Python runtime has no profiler. A cut graph runs the operators up to the cut, all of them, and
returns what nothing in it reads: the next cut does the same work and one operator more. Differences
of medians are noisy and may come out below zero; they are reported as they are. The delegate fuses
operators where it can and a cut inside of what it would fuse prevents that, so the sum is compared
with the whole file, measured beside the cuts.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flaxrec.export.fresh_contexts import Contexts
from flaxrec.export.inspection import ModelFile, import_flatbuffer
from flaxrec.export.latency import interval, measure
from flaxrec.export.runners import InterpreterRunner

CALL = "invoke"  # the name of what a call takes without any operator
_BURST = 10  # calls in a row of one cut
_COLD = 2  # of them, the first, which find the caches full of other cuts


@dataclasses.dataclass(frozen=True)
class OperatorTime:
    """One operator's share of a call.

    Attributes:
      name: builtin name; `CALL` for a call of a graph without operators.
      shape: of its output, the last where it has several, for the last context.
      microseconds: median with it less median without it; noise may make it negative.
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
        """(name, number of operators, microseconds together), the longest first."""
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
    """Measures every cut of a file and the file itself, taking turns.

    Args:
      model: the file.
      contexts: its contexts.
      calls: of each cut, about.
      seed: of the orders.
      threads: number of threads.
      delegate: whether XNNPACK runs what it can.

    Raises:
      ExportError: the file is no TFLite model.
      ValueError, RuntimeError: the runtime refuses a cut or a context.
    """
    content = model.path.read_bytes()
    found = cuts(content)
    runner = functools.partial(InterpreterRunner, threads=threads, delegate=delegate)
    graphs = [*(cut.content for cut in found), content]
    loaders = [functools.partial(runner, graph) for graph in graphs]
    rounds = max(2, calls // (_BURST - _COLD))
    times = measure(loaders, [contexts] * len(loaders), rounds, seed, burst=_BURST)
    shapes = [_shape(cut, runner, contexts) for cut in found[1:]]
    return _profile(model.operators, shapes, times.calls[:, :, _COLD:], seed)


def _profile(
    names: Sequence[str], shapes: Sequence[tuple[int, ...]], calls: np.ndarray, seed: int
) -> Profile:
    """From the times of the cuts and of the whole, [R, M, B]."""
    rounds = np.median(calls, axis=2)
    medians = np.median(rounds, axis=0)
    steps = _steps(medians)
    low, high = interval(rounds, _steps, seed)
    total = medians[-2]
    rows = zip((CALL, *names), ((), *shapes), steps, low, high, steps / total, strict=True)
    operators = [OperatorTime(n, s, *map(float, numbers)) for n, s, *numbers in rows]
    return Profile(operators, float(total), float(medians[-1]))


def _steps(medians: np.ndarray) -> np.ndarray:
    """What each cut takes more than the one before; the last median is the whole file's."""
    return np.diff(medians[:-1], prepend=0.0)


@dataclasses.dataclass(frozen=True)
class Cut:
    """A graph cut after one of its operators.

    Attributes:
      content: the .tflite.
      shape: of the last operator's output; None: it is among the outputs, as the last.
    """

    content: bytes
    shape: tuple[int, ...] | None


def cuts(content: bytes) -> list[Cut]:
    """The .tflite with its first n operators, for every n from 0 up to all.

    The outputs are what none of these operators reads, as far as it depends on an input (XNNPACK
    does not return constants that it decodes); where there is nothing, they are the inputs.

    Raises:
      ExportError: the content is no .tflite.
    """
    flatbuffer = import_flatbuffer()
    model = flatbuffer.read(content)
    model.signatureDefs = model.metadata = None
    graph = model.subgraphs[0]
    found = []
    while True:  # from the whole graph down: reading a file takes longer than cutting it
        read = {int(tensor) for operator in graph.operators for tensor in operator.inputs}
        unread = [tensor for tensor in _computed(graph) if tensor not in read]
        graph.outputs = np.array(unread or graph.inputs, np.int32)
        _empty_buffers(model, graph, read)
        shape = None
        if graph.operators and graph.operators[-1].outputs[-1] not in unread:
            shape = tuple(map(int, graph.tensors[graph.operators[-1].outputs[-1]].shape))
        found.append(Cut(flatbuffer.write(model), shape))
        if not graph.operators:
            return found[::-1]
        graph.operators = graph.operators[:-1]


def _computed(graph: Any) -> list[int]:
    """Tensors that operators compute from the inputs, in the order of execution."""
    computed: dict[int, None] = dict.fromkeys(map(int, graph.inputs))
    for operator in graph.operators:
        if any(int(tensor) in computed for tensor in operator.inputs):
            computed |= dict.fromkeys(map(int, operator.outputs))
    return [tensor for tensor in computed if tensor not in graph.inputs]


def _empty_buffers(model: Any, graph: Any, read: set[int]) -> None:
    """Drops constants that nothing reads: of a large catalogue every cut would carry its tables."""
    kept = {graph.tensors[tensor].buffer for tensor in read if tensor >= 0}
    kept |= {tensor.buffer for other in model.subgraphs[1:] for tensor in other.tensors}
    for number, buffer in enumerate(model.buffers):
        if number not in kept:
            buffer.data = None


def _shape(
    cut: Cut, runner: Callable[[bytes], InterpreterRunner], contexts: Contexts
) -> tuple[int, ...]:
    """Shape of what the last operator computes; some depend on the context."""
    if cut.shape is not None:
        return cut.shape
    loaded = runner(cut.content)
    loaded.feed([array[-1] for array in contexts])
    loaded.run()
    return loaded.outputs()[-1].shape
