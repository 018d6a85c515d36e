"""Measures starters' exported files: bytes, accuracy on the test labels, latency.

models/NAME -> export -> ranks of the test labels, latency beside a published file
-> `file` in figures.json, and the card
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flaxrec.errors import ExportError
from flaxrec.evaluation import since, unknown
from flaxrec.evaluation.evaluator import PerLabel
from flaxrec.evaluation.unknown import TITLES
from flaxrec.files import temporary_folder
from flaxrec.starters import folder as folder_lib
from flaxrec.starters import load as load_lib
from flaxrec.starters.card import METRICS
from flaxrec.starters.folder import Starter

_KS = (10,)


def measure(
    models: Path,
    names: Sequence[str],
    *,
    published: Path | None = None,
    movielens: str | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Exports starters, measures their files, and writes the results into their folders.

    Args:
      models: folder of the starters.
      names: of the starters.
      published: the .tflite to compare latencies with; None keeps the earlier latencies.
      movielens: see `load.load`; not 'none'.
      say: called with one line of progress at a time.

    Raises:
      ExportError: a starter or the published file cannot be used.
      DataError: the data cannot be loaded.
    """
    if movielens == load_lib.NO_DATA:
        raise ExportError("The test labels are ranked, which needs data; pass --movielens=DIR.")
    starters = {name: folder_lib.read(folder_lib.find(name, models)) for name in names}
    with temporary_folder() as exports:
        files = {name: exports / name / "model.tflite" for name in names}
        found = {n: _accuracy(s, files[n], movielens, say) for n, s in starters.items()}
        latencies = _latencies(published, files) if published else {}
    for name, starter in starters.items():
        latency = latencies.get(name) or (starter.facts["file"] or {}).get("latency")
        facts = starter.facts | {"file": found[name] | {"latency": latency}}
        folder_lib.write(dataclasses.replace(starter, facts=facts), models / name)


def _accuracy(
    starter: Starter, file: Path, movielens: str | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Exports to the file's folder; returns recipe, bytes and metrics on the test labels.

    Of a model that knows the moment of asking, also `unknown`, the metrics with the moment, all
    times or the ratings unknown, and `by_since`, those by the time since the latest activity with
    the moment and without.
    """
    from flaxrec.exporting import file_ranks
    from flaxrec.exporting.bundle import export_model

    name = starter.config.name
    dataset = load_lib.data_of(starter, movielens)
    model, assets = load_lib.model_of(starter), load_lib.assets_of(starter, dataset)
    export = export_model(model, assets, file.parent, say)

    def ranked(way: str = "") -> PerLabel:
        test, what = dataset.split.test, ", ".join(filter(None, (name, TITLES.get(way))))
        found = file_ranks.ranks(
            file.read_bytes(), starter.config, dataset, test, unknown=way, what=what
        )
        means = _rounded(found.means(_KS))
        shown = ", ".join(f"{metric} {mean:.4f}" for metric, mean in means.items())
        say(f"  {shown}{f' ({TITLES[way]})' if way else ''}")
        return found

    known, inputs = ranked(), starter.spec.inputs
    found = {
        "recipe": export.quantization["recipe"],
        "bytes": export.bytes,
        "metrics": _rounded(known.means(_KS)),
    }
    if not starter.spec.asked:
        return found
    without = {way: ranked(way) for way in TITLES if unknown.concerns(way, inputs)}
    parts = [
        since.parts(ranks, dataset.timelines, _KS) for ranks in (known, without[unknown.MOMENT])
    ]
    found["unknown"] = {way: _rounded(ranks.means(_KS)) for way, ranks in without.items()}
    found["by_since"] = [
        {
            "part": part.name,
            "labels": part.labels,
            "metrics": _rounded(part.metrics),
            unknown.MOMENT: _rounded(other.metrics),
        }
        for part, other in zip(*parts, strict=True)
    ]
    return found


def _rounded(means: Mapping[str, float]) -> dict[str, float]:
    return {metric: round(means[metric], 6) for metric in METRICS}


def _latencies(published: Path, files: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """By name: median latency relative to the published file, with calls interleaved."""
    from flaxrec.measuring.comparison import Options, compare
    from flaxrec.tflite.inspection import inspect

    options = Options()
    comparison = compare([inspect(file) for file in (published, *files.values())], options)
    latencies = {}
    for name, row in zip(files, comparison.rows[1:], strict=True):
        if row.ratio is None or row.ratio_interval is None:
            raise ExportError(f"{published} and {name} cannot be compared ({row.remark}).")
        latencies[name] = {
            "reference": published.name,
            "ratio": round(row.ratio, 3),
            "interval": [round(end, 3) for end in row.ratio_interval],
            "calls": options.calls,
            "threads": options.threads,
            "device": comparison.device,
            "litert": comparison.litert,
        }
    return latencies
