"""How results came about: time, machine and code, which differ between two equal results."""

import csv
import io
import json
from collections.abc import Iterable, Sequence

from flaxrec.reporting.comparison_tables import label_cells
from flaxrec.reporting.measured import TestSet
from flaxrec.reporting.results import Results
from flaxrec.reporting.runs import Run
from flaxrec.reporting.table_forms import Column, Estimate, Row, Table

_COLUMNS = (
    "run", "kind", "status", "reason", "protocol", "data", "axes", "seed", "best_step",
    "best_epoch", "export_bytes", "wall_seconds", "examples_per_second", "side_by_side", "device",
    "git", "versions", "config_sha256",
)  # fmt: skip


def runs_csv(results: Results) -> str:
    """One line a run: what its row says, objects as JSON, then every test metric."""
    runs = [*(run for point in results.points for run in point.runs), *results.failed]
    metrics = sorted({name for run in runs for name in run.metrics})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_COLUMNS, *(f"test.{name}" for name in metrics)])
    for run in runs:
        known = [_text(run.row.get(column)) for column in _COLUMNS]
        writer.writerow([*known, *(_text(run.metrics.get(name)) for name in metrics)])
    return out.getvalue()


def make(test_set: TestSet, axes: Sequence[str]) -> Table:
    """Training time and speed, machine and code of every trained point."""
    rows = []
    for measured in test_set.trained:
        runs = measured.point.runs
        cells = (
            *label_cells(measured, axes),
            _mean(runs, "wall_seconds"),
            _mean(runs, "examples_per_second"),
            _all(str(run.row.get("device") or "–") for run in runs),
            _all(_revision(run) for run in runs),
        )
        rows.append(Row(measured.name, cells, measured.point.axes))
    return Table(
        "origin",
        test_set.title,
        "Training of one run: time, speed, machine and code.",
        (
            *(Column(axis, is_label=True) for axis in axes or ("point",)),
            Column("seconds", ",.1f"),
            Column("labels/s", ",.0f"),
            Column("device"),
            Column("revision"),
        ),
        tuple(rows),
        ("Seconds of runs that trained side by side are their share. A + marks changed files.",),
    )


def _mean(runs: Sequence[Run], column: str) -> Estimate | None:
    values = [float(run.row[column]) for run in runs if run.row.get(column)]
    return Estimate(sum(values) / len(values)) if values else None


def _revision(run: Run) -> str:
    git = run.row.get("git") or {}
    revision = (git.get("revision") or "–")[:10]
    return f"{revision}+" if git.get("dirty") else revision


def _all(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def _text(value: object) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True)
    return "" if value is None else str(value)
