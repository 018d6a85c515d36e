"""Latency of the points' exports, measured side by side in one run, and kept for later reports."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flaxrec.reporting.measured import TestSet
from flaxrec.reporting.results import Point
from flaxrec.reporting.table_forms import Column, Estimate, Row, Table
from flaxrec.research.statistics import Interval

FILE = "latency.json"


def measure(points: Sequence[Point], kept: Path, calls: int) -> dict[str, Any] | None:
    """Measures one export a point, or takes what is kept of the very same files.

    Args:
      points: trained ones.
      kept: latency.json of an earlier report, if there is one.
      calls: of each file.

    Returns:
      What goes into latency.json: `files` (SHA-256 by the point's name), `comparison` (see
      `benchmarking.comparison.Comparison`), rows in the order of files; None without exports.

    Raises:
      ExportError: the files cannot be measured, or ai-edge-litert is missing.
    """
    models = {p.name: model for p in points if (model := _export(p))}
    if not models:
        return None
    files = {name: hashlib.sha256(model.read_bytes()).hexdigest() for name, model in models.items()}
    earlier = _read(kept)
    if earlier.get("files") == files and earlier["comparison"]["options"]["calls"] == calls:
        return earlier
    from flaxrec.measuring.comparison import Options, compare
    from flaxrec.tflite.inspection import inspect

    comparison = compare([inspect(model) for model in models.values()], Options(calls=calls))
    return {"files": files, "comparison": dataclasses.asdict(comparison)}


def medians(measured: dict[str, Any]) -> dict[str, float]:
    """Median microseconds by the point's name, of files that run."""
    return {name: row["median_us"] for name, row in _rows(measured).items() if row["median_us"]}


def make(measured: dict[str, Any], test_set: TestSet) -> Table:
    """The table."""
    rows = []
    for point in test_set.trained:
        row = _rows(measured).get(point.point.name)
        if row is not None:
            interval = row["ratio_interval"] and Interval(*row["ratio_interval"])
            ratio = None if row["ratio"] is None else Estimate(row["ratio"], interval=interval)
            cells = (point.name, row["bytes"], row["median_us"], row["p90_us"], ratio)
            rows.append(Row(point.name, (*cells, row["remark"]), point.point.axes))
    comparison = measured["comparison"]
    return Table(
        "latency",
        test_set.title,
        "Latency of a call of model.tflite, all files side by side.",
        (
            Column("point", is_label=True),
            Column("bytes"),
            Column("median, µs", ".1f"),
            Column("p90", ".1f"),
            Column("ratio to the first", ".3f"),
            Column("remark"),
        ),
        tuple(rows),
        (
            f"{comparison['device']}, {comparison['options']['calls']:,} calls of each file with a "
            f"new context a call, one thread, ai-edge-litert {comparison['litert']}; load average "
            f"before: {comparison['load_average'] or 0:.1f}. [95% interval of the ratio].",
        ),
    )


def _export(point: Point) -> Path | None:
    models = [run.folder / "export" / "model.tflite" for run in point.runs]
    return next((model for model in models if model.is_file()), None)


def _rows(measured: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return dict(zip(measured["files"], measured["comparison"]["rows"], strict=True))


def _read(kept: Path) -> dict[str, Any]:
    try:
        return json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # measured again
        return {}
