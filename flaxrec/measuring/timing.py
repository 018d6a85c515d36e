"""Measures how long a .tflite takes for one context, so that two files can be compared.

Every call gets a new context (`fresh_contexts`), and models take turns in random order. Each is
loaded several times, because the place of its weights in memory affects the time. Shape letters: R
rounds, M models, B calls in a row of one model.
"""

import contextlib
import dataclasses
import gc
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flaxrec.measuring.fresh_contexts import Contexts, deal
from flaxrec.measuring.runners import Runner

_LOADS = 5  # times that each file is loaded
_WARM_UP = 100  # calls after loading that do not count
_BLOCKS = 50  # blocks of neighbouring rounds, resampled whole: noise comes in bursts

Clock = Callable[[], int]  # nanoseconds


# ---- measuring ------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Times:
    """The measured times.

    Attributes:
      calls: [R, M] or, if a model runs several times in a row, [R, M, B]; microseconds.
      loads: [loads, M], from the file to the first answer; milliseconds.
    """

    calls: np.ndarray
    loads: np.ndarray


def measure(
    loaders: Sequence[Callable[[], Runner]],
    contexts: Sequence[Contexts],
    rounds: int,
    seed: int = 0,
    *,
    burst: int = 1,
    clock: Clock = time.perf_counter_ns,
) -> Times:
    """Measures models side by side.

    In a round each model runs once, in random order, on a context that no model had in this round
    or the one before (with at least 4 M contexts).

    Args:
      loaders: one for each model; loads it.
      contexts: one for each model, from `fresh_contexts`.
      rounds: calls of each model that count.
      seed: of the orders.
      burst: calls in a row in a round: 1 to compare models, more to keep a model's own data in the
        processor's caches.
      clock: returns nanoseconds.

    Raises:
      ValueError, RuntimeError: a runtime refuses a model or a context.
    """
    rng = np.random.default_rng(seed)
    dealt = deal(len(contexts[0][0]), rng)
    loads = min(_LOADS, rounds)
    measured: list[np.ndarray] = []
    loading = []
    for share in np.array_split(np.arange(rounds), loads):
        runners: list[Any] = [None] * len(loaders)
        took = np.empty(len(loaders))
        for m in rng.permutation(len(loaders)):
            context = _row(contexts[m], next(dealt))
            start = clock()
            runners[m] = loaders[m]()
            runners[m].feed(context)
            runners[m].run()
            runners[m].outputs()
            took[m] = clock() - start
        loading.append(took / 1e6)
        with _no_collection():
            for _ in _rounds(runners, contexts, dealt, _WARM_UP // burst, burst, rng, clock):
                pass
            measured += _rounds(runners, contexts, dealt, len(share), burst, rng, clock)
    calls = np.array(measured) / 1e3
    return Times(calls[:, :, 0] if burst == 1 else calls, np.array(loading))


def contexts_needed(rounds: int, models: int) -> int:
    """Number of contexts that `measure` needs to give every call a new one."""
    return (rounds + _LOADS * (_WARM_UP + 1)) * models


def _rounds(
    runners: Sequence[Runner],
    contexts: Sequence[Contexts],
    dealt: Iterator[int],
    rounds: int,
    burst: int,
    rng: np.random.Generator,
    clock: Clock,
) -> Iterator[np.ndarray]:
    """Yields the times of each round, [M, B], nanoseconds."""
    for _ in range(rounds):
        took = np.empty((len(runners), burst), np.int64)
        for m in rng.permutation(len(runners)):
            feed, run = runners[m].feed, runners[m].run
            for b in range(burst):
                feed(_row(contexts[m], next(dealt)))
                start = clock()
                run()
                took[m, b] = clock() - start
        yield took


def _row(contexts: Contexts, row: int) -> list[np.ndarray]:
    return [array[row] for array in contexts]


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Stops Python's garbage collector while calls are timed."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


# ---- statistics -----------------------------------------------------------------------------


def interval(
    calls: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    seed: int = 0,
    draws: int = 1000,
) -> tuple[np.ndarray, np.ndarray]:
    """95% bootstrap interval of a statistic of the models' medians.

    Resamples whole blocks of neighbouring rounds: noise hits all models of a round alike. Calls are
    [R, M]; `statistic` maps medians [M] to [S]. Returns both ends, [S] each.
    """
    rng = np.random.default_rng(seed)
    blocks = np.array_split(calls, min(_BLOCKS, len(calls)))
    found = []
    for _ in range(draws):
        chosen = rng.integers(len(blocks), size=len(blocks))
        found.append(statistic(np.median(np.concatenate([blocks[b] for b in chosen]), axis=0)))
    low, high = np.percentile(found, [2.5, 97.5], axis=0)
    return low, high


# ---- the machine ----------------------------------------------------------------------------


def device(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name and number of cores, as text."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    fields = (line.partition(":") for line in lines)
    names = [value.strip() for key, _, value in fields if key.strip() == "model name"]
    name = next(filter(None, names), platform.processor() or platform.machine())
    return f"{name}, {os.cpu_count()} cores"


def load_average() -> float | None:
    """The load average of the last minute; None if the system has none."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None
