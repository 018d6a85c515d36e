"""Compares files: what each is, how fast it is, and its latency relative to the first."""

import dataclasses
import functools
import importlib.metadata
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flaxrec.errors import ExportError, reason
from flaxrec.measuring import fresh_contexts, profiling, timing
from flaxrec.measuring.fresh_contexts import Contexts
from flaxrec.measuring.profiling import Profile
from flaxrec.measuring.runners import CompiledRunner, InterpreterRunner, Runner
from flaxrec.tflite.inspection import ModelFile
from flaxrec.tflite.quiet import quiet

RUNTIMES: dict[str, Callable[..., Runner]] = {
    "interpreter": InterpreterRunner,
    "compiled_model": CompiledRunner,
}
_REFUSALS = (RuntimeError, ValueError)


@dataclasses.dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes:
      calls: of each file.
      threads: of the runtime.
      delegate: whether XNNPACK runs what it can.
      runtime: a name in `RUNTIMES`.
      seed: of contexts, orders and bootstrap draws.
      profile: whether to also time the operators.
    """

    calls: int = 2000
    threads: int = 1
    delegate: bool = True
    runtime: str = "interpreter"
    seed: int = 0
    profile: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
    """One file. Measurements are None if the runtime refused it; `remark` then says why.

    Attributes:
      file: the shortest end of its path that no other file has.
      bytes: its size.
      operators: number of them.
      inputs: name and shape of each.
      top_k: number of ids that it returns.
      load_ms: from the file, in the system's cache, to the first answer.
      median_us: median of a call's latency.
      p90_us: 90th percentile.
      p99_us: 99th percentile.
      ratio: its median over that of the first file that runs.
      ratio_interval: the ratio's 95% interval; None for the first file.
      remark: other remarks.
      profile: its operators, if asked for.
    """

    file: str
    bytes: int
    operators: int
    inputs: tuple[str, ...]
    top_k: int | None
    load_ms: float | None = None
    median_us: float | None = None
    p90_us: float | None = None
    p99_us: float | None = None
    ratio: float | None = None
    ratio_interval: tuple[float, float] | None = None
    remark: str = ""
    profile: Profile | None = None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All files, and how they were measured.

    Attributes:
      rows: in the order given.
      options: as asked for.
      contexts: name of the file they are from; '' if they were drawn.
      different_contexts: their number.
      device: the processor.
      load_average: of the minute before the measurement.
      litert: version of ai-edge-litert.
    """

    rows: list[Row]
    options: Options
    contexts: str
    different_contexts: int
    device: str
    load_average: float | None
    litert: str


def compare(
    models: Sequence[ModelFile], options: Options, saved: str | os.PathLike | None = None
) -> Comparison:
    """Measures files on the contexts of a file, `saved`; without one draws contexts.

    Raises:
      ExportError: the contexts do not fit, a runtime fails on one, or operators cannot be timed in
        that runtime.
    """
    if options.profile and options.runtime != "interpreter":
        raise ExportError("Operators are timed in the interpreter only; leave --runtime out.")
    load_average = timing.load_average()
    if saved is None:
        wanted = timing.contexts_needed(options.calls, len(models))
        # Repeated contexts are dropped.
        contexts = fresh_contexts.draw(models, 2 * wanted, options.seed)
    else:
        contexts = fresh_contexts.read(saved, models)
    runtime = RUNTIMES[options.runtime]
    loaders = [
        functools.partial(runtime, model.path, options.threads, options.delegate)
        for model in models
    ]
    with quiet():  # CompiledModel logs to stderr
        refusals = [_refusal(load) for load in loaders]
        running = [i for i, refusal in enumerate(refusals) if refusal is None]
        measured = _measured(running, models, loaders, contexts, options)
    rows = [
        _row(model, label, measured.get(i, {"remark": f"refused ({refusals[i]})"}))
        for i, (model, label) in enumerate(zip(models, _labels(models), strict=True))
    ]
    return Comparison(
        rows,
        options,
        "" if saved is None else Path(saved).name,
        len(contexts[0][0]),
        timing.device(),
        load_average,
        importlib.metadata.version("ai-edge-litert"),
    )


def _refusal(load: Callable[[], Runner]) -> str | None:
    """The first line of the runtime's error for a file; None if it loads."""
    try:
        load()
    except _REFUSALS as error:
        return (str(error).strip() or repr(error)).splitlines()[0][:200]
    return None


def _measured(
    running: Sequence[int],
    models: Sequence[ModelFile],
    loaders: Sequence[Callable[[], Runner]],
    contexts: Sequence[Contexts],
    options: Options,
) -> dict[int, dict[str, Any]]:
    """Fields of `Row` for the files that run, by their number."""
    if not running:
        return {}
    try:
        times = timing.measure(
            [loaders[i] for i in running],
            [contexts[i] for i in running],
            options.calls,
            options.seed,
        )
    except _REFUSALS as error:
        raise ExportError(
            f"The runtime failed on a context ({reason(error)}); give contexts whose ids are "
            "inside the model's tables with --contexts=FILE.npz."
        ) from error
    profiles = [
        _profile(models[i], contexts[i], options) if options.profile else None for i in running
    ]
    medians, p90, p99 = np.percentile(times.calls, [50, 90, 99], axis=0)
    low, high = timing.interval(times.calls, _ratios, options.seed)
    return {
        i: {
            "load_ms": float(np.median(times.loads[:, m])),
            "median_us": float(medians[m]),
            "p90_us": float(p90[m]),
            "p99_us": float(p99[m]),
            "ratio": float(_ratios(medians)[m]),
            "ratio_interval": (float(low[m]), float(high[m])) if m else None,
            "remark": "state reset before each call" if models[i].stateful else "",
            "profile": profiles[m],
        }
        for m, i in enumerate(running)
    }


def _ratios(medians: np.ndarray) -> np.ndarray:
    return medians / medians[0]


def _profile(model: ModelFile, contexts: Contexts, options: Options) -> Profile:
    try:
        return profiling.profile(
            model,
            contexts,
            options.calls,
            options.seed,
            threads=options.threads,
            delegate=options.delegate,
        )
    except _REFUSALS as error:
        raise ExportError(
            f"The runtime refuses {model.path} cut after an operator ({reason(error)}); leave "
            "--profile out."
        ) from error


def _row(model: ModelFile, label: str, measured: dict[str, Any]) -> Row:
    inputs = tuple(f"{s.name} {list(s.shape)}" for s in model.inputs)
    if model.stateful and "median_us" not in measured:
        measured = {"remark": f"{measured['remark']}; it has variable tensors"}
    return Row(label, model.bytes, len(model.operators), inputs, model.top_k, **measured)


def _labels(models: Sequence[ModelFile]) -> list[str]:
    """For each path the shortest end that no other path has."""
    paths = [model.path.resolve() for model in models]
    return [_shortest_end(path, set(paths) - {path}) for path in paths]


def _shortest_end(path: Path, others: set[Path]) -> str:
    for parts in range(1, len(path.parts)):
        if all(path.parts[-parts:] != other.parts[-parts:] for other in others):
            return "/".join(path.parts[-parts:])
    return str(path)
