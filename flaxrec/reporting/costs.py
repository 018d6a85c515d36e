"""Costs of points: training time and machine, and latency of their exports.

They may differ between runs with equal results.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from flaxrec.errors import DataError
from flaxrec.files.schemas import Reader
from flaxrec.reporting.measured import TestSet, point_table
from flaxrec.reporting.results import Point, Results, Run
from flaxrec.reporting.table_forms import Column, Estimate, Table, csv_text
from flaxrec.research.statistics import Interval

LATENCY = "latency.json"


class _Latency(TypedDict):
    """latency.json."""

    files: dict[str, str]  # SHA-256 by the point's name
    comparison: dict[str, Any]  # of `measuring.comparison`


_COLUMNS = (
    "run", "kind", "status", "reason", "protocol", "data", "axes", "seed", "best_step",
    "best_epoch", "export_bytes", "wall_seconds", "examples_per_second", "side_by_side", "device",
    "git", "versions", "config_sha256",
)  # fmt: skip


# ---- training -------------------------------------------------------------------------------


def runs_csv(results: Results) -> str:
    """One line per run: the fields of its row, objects as JSON, then every test metric."""
    runs = [*(run for point in results.points for run in point.runs), *results.failed]
    metrics = sorted({f"test.{name}" for run in runs for name in run.metrics})
    lines = [
        {column: _csv_cell(run.row.get(column)) for column in _COLUMNS}
        | ({"asked": run.asked} if run.asked else {})
        | {f"test.{name}": _csv_cell(value) for name, value in run.metrics.items()}
        for run in runs
    ]
    asked = ["asked"] if any(run.asked for run in runs) else []
    return csv_text([*_COLUMNS, *asked, *metrics], lines)


def training_table(test_set: TestSet, axes: Sequence[str]) -> Table:
    """Training time and speed, machine and code of every trained point."""
    runs = [m.point.runs for m in test_set.trained]
    return point_table(
        "origin",
        test_set.title,
        "Training of one run: time, speed, machine and code.",
        axes,
        test_set.trained,
        [
            (Column("seconds", ",.1f"), [_mean(own, "wall_seconds") for own in runs]),
            (Column("labels/s", ",.0f"), [_mean(own, "examples_per_second") for own in runs]),
            (Column("device"), [_all(r.row.get("device") or "–" for r in own) for own in runs]),
            (Column("revision"), [_all(_revision(run) for run in own) for own in runs]),
        ],
        ["Seconds of runs that trained side by side are their share. A + marks changed files."],
    )


def _mean(runs: Sequence[Run], column: str) -> Estimate | None:
    values = [float(run.row[column]) for run in runs if run.row.get(column)]
    return Estimate(sum(values) / len(values)) if values else None


def _revision(run: Run) -> str:
    git = run.row.get("git") or {}
    return (git.get("revision") or "–")[:10] + ("+" if git.get("dirty") else "")


def _all(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys(map(str, values)))


def _csv_cell(value: object) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True)
    return "" if value is None else str(value)


# ---- latency --------------------------------------------------------------------------------


def measure_latency(points: Sequence[Point], kept: Path, calls: int) -> dict[str, Any] | None:
    """Measures one export per point, all in one comparison, or reuses the result of equal files.

    Args:
      points: trained ones.
      kept: path of an earlier report's latency.json, which may not exist.
      calls: per file.

    Returns:
      The content of latency.json: `files` (SHA-256 by the point's name) and `comparison` (see
      `measuring.comparison.Comparison`), rows in the order of files; None without exports.

    Raises:
      ExportError: the files cannot be measured, or ai-edge-litert is missing.
    """
    models = {}
    for point in points:
        exports = (run.folder / "export" / "model.tflite" for run in point.runs)
        if (model := next(filter(Path.is_file, exports), None)) is not None:
            models[point.name] = model
    if not models:
        return None
    files = {name: hashlib.sha256(model.read_bytes()).hexdigest() for name, model in models.items()}
    from flaxrec.measuring.comparison import Comparison, Options, compare
    from flaxrec.tflite.inspection import inspect

    reader = Reader(DataError, "remove it")
    with contextlib.suppress(DataError):  # otherwise measured again
        earlier = reader.object(kept, _Latency)
        told = reader.fitted(earlier["comparison"], Comparison, str(kept))
        same = earlier["files"] == files and len(told.rows) == len(files)
        if same and told.options.calls == calls:
            return earlier
    comparison = compare([inspect(model) for model in models.values()], Options(calls=calls))
    return {"files": files, "comparison": dataclasses.asdict(comparison)}


def medians(measured: Mapping[str, Any]) -> dict[str, float]:
    """Median microseconds by the point's name, for files that run."""
    rows = zip(measured["files"], measured["comparison"]["rows"], strict=True)
    return {name: row["median_us"] for name, row in rows if row["median_us"]}


def latency_table(measured: Mapping[str, Any], test_set: TestSet) -> Table:
    """Latency of the exports of a test set."""
    comparison = measured["comparison"]
    by_name = dict(zip(measured["files"], comparison["rows"], strict=True))
    points = [m for m in test_set.trained if m.point.name in by_name]
    rows = [by_name[m.point.name] for m in points]
    ratios = [
        row["ratio"] and Estimate(
            row["ratio"], interval=row["ratio_interval"] and Interval(*row["ratio_interval"])
        )
        for row in rows
    ]  # fmt: skip
    return point_table(
        "latency",
        test_set.title,
        "Latency of a call of model.tflite, all files side by side.",
        (),
        points,
        [
            (Column("bytes"), [row["bytes"] for row in rows]),
            (Column("median, µs", ".1f"), [row["median_us"] for row in rows]),
            (Column("p90", ".1f"), [row["p90_us"] for row in rows]),
            (Column("ratio to the first", ".3f"), ratios),
            (Column("remark"), [row["remark"] for row in rows]),
        ],
        [
            f"{comparison['device']}, {comparison['options']['calls']:,} calls of each file with a "
            f"new context a call, one thread, ai-edge-litert {comparison['litert']}; load average "
            f"before: {comparison['load_average'] or 0:.1f}. [95% interval of the ratio]."
        ],
    )
