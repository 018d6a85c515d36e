"""Measures what a mask of the candidates costs, beside the same model without that input.

    python benchmarks/masked_lists.py [--starters=movielens_lstm] [--items=100000] [--width=64]

Shares of the candidates, in percent, are left out at random; each call has a new context and one of
twenty masks. The catalogues of --items are bags of words with random parameters, as in
large_catalogues.py. One table each: medians of one thread, and ratios to the file without a mask.
The time is that which the thread has the processor for, as other work may be on the machine.
"""

import functools
import tempfile
import time
from pathlib import Path

import large_catalogues
import numpy as np
import small_network

from flaxrec.config import ExportConfig
from flaxrec.exporting.serving import ServingModel
from flaxrec.measuring import fresh_contexts, timing
from flaxrec.measuring.runners import InterpreterRunner
from flaxrec.starters import folder as folder_lib
from flaxrec.starters import load
from flaxrec.terminal.text_tables import markdown
from flaxrec.tflite.inspection import inspect
from flaxrec.tflite.metadata import CANDIDATE_MASK, LEFT_OUT

_MASKS = 20


class _Dealt:
    """Masks [M, R] as if each context had one of its own."""

    def __init__(self, masks: np.ndarray):
        self._masks = masks

    def __getitem__(self, context: int) -> np.ndarray:
        return self._masks[context % len(self._masks)]


def masks_of(model: ServingModel, rows: int, percent: float) -> _Dealt:
    """Masks that leave out this share of the candidates."""
    random = np.random.default_rng(int(percent * 10))
    masks = np.zeros((_MASKS, rows), np.float32)
    first, count = model.spec.first_candidate, model.spec.candidates
    for mask in masks:
        mask[first + random.permutation(count)[: round(count * percent / 100)]] = LEFT_OUT
    return _Dealt(masks)


def measure(
    model: ServingModel, options: ExportConfig, shares: list[int], calls: int
) -> list[tuple[str, ...]]:
    """Rows of a table: what, median, ratio with its interval."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / "plain.tflite", Path(folder) / "masked.tflite"]
        for file, has_mask in zip(files, (False, True), strict=True):
            own = ExportConfig(top_k=options.top_k, candidate_mask=has_mask)
            large_catalogues.write(model, own, file)
        plain, masked = map(inspect, files)
        wanted = timing.contexts_needed(calls, 1 + len(shares))
        drawn, _ = fresh_contexts.draw([plain, masked], 2 * wanted, 0)
        by_name = {spec.name: of for spec, of in zip(plain.inputs, drawn, strict=True)}
        (rows,) = (spec.shape[0] for spec in masked.inputs if spec.name == CANDIDATE_MASK)
        everyone = [drawn]
        for share in shares:
            own = {**by_name, CANDIDATE_MASK: masks_of(model, rows, share)}
            everyone.append([own[spec.name] for spec in masked.inputs])
        loaders = [
            functools.partial(InterpreterRunner, file.path)
            for file in (plain, *[masked] * len(shares))
        ]
        times = timing.measure(loaders, everyone, calls, 0, clock=time.thread_time_ns).calls
    medians = np.median(times, axis=0)
    ratios = medians / medians[0]
    low, high = timing.interval(times, lambda m: m / m[0], 0)
    names = ["without the input", *(f"{share}% left out" for share in shares)]
    return [
        (name, f"{medians[n]:.1f}", f"{ratios[n]:.3f}", f"{low[n]:.3f} to {high[n]:.3f}")
        for n, name in enumerate(names)
    ]


def main() -> None:
    """Prints a table for each model."""
    parser = small_network.parser(__doc__)
    parser.add_argument("--starters", default="movielens_lstm", help="starter models")
    parser.add_argument("--items", default="100000", help="sizes of generated catalogues")
    parser.add_argument("--width", type=int, default=64, help="D of their tables")
    parser.add_argument("--top_k", type=int, default=100, help="K")
    parser.add_argument("--shares", default="0,50,95,99", help="left out, in percent")
    parser.add_argument("--calls", type=int, default=1000, help="of each file")
    arguments = parser.parse_args()
    models = {
        name: load.model_of(folder_lib.read(folder_lib.find(name)))
        for name in filter(None, arguments.starters.split(","))
    }
    for items in small_network.integers(arguments.items):
        models[f"{items:,} items"] = large_catalogues.model_of(items, arguments.width)
    for name, model in models.items():
        options = ExportConfig(top_k=arguments.top_k)
        shares = small_network.integers(arguments.shares)
        rows = measure(model, options, shares, arguments.calls)
        print(f"{name}, K = {arguments.top_k}; microseconds on {timing.device()}\n")
        print(markdown([("", "median", "ratio", "95% interval"), *rows]), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
