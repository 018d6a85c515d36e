"""Runs as they were noted: of a sweep folder, whose last row of a run counts, or a run folder.

A run is one training, or one baseline.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flaxrec.errors import DataError
from flaxrec.files import read_jsonl

_NEEDED = ("run", "kind", "axes", "status")


@dataclasses.dataclass(frozen=True)
class Run:
    """One training or baseline.

    Attributes:
      name: unique in its folder.
      kind: trained or baseline.
      axes: what the sweep set, by name.
      seed: of training; None for a baseline.
      failure: why it has no result; '' if it has.
      folder: where it was made.
      protocol: the split's name.
      metrics: on the test labels, by name.
      labels: what the test labels are like (see `evaluation.label_report`).
      export_bytes: size of the exported model; None without one.
      row: the whole row, for what is told of how the result came about.
    """

    name: str
    kind: str
    axes: Mapping[str, Any]
    seed: int | None
    failure: str
    folder: Path
    protocol: str
    metrics: Mapping[str, float]
    labels: Mapping[str, float]
    export_bytes: int | None
    row: Mapping[str, Any]

    @property
    def exported(self) -> Mapping[str, float]:
        """Metrics of the exported file on the test labels; empty where they were not measured."""
        return (self.row.get("exported") or {}).get("metrics", {})

    @property
    def select_metric(self) -> str:
        """The validation metric that the best checkpoint is chosen by; '' if not known."""
        return self.row.get("config", {}).get("train", {}).get("select_metric", "")

    def learning_curve(self) -> dict[int, float]:
        """The validation value of `select_metric` by epoch; empty without metrics.jsonl."""
        file = self.folder / "metrics.jsonl"
        return {
            row["epoch"]: row["metrics"][self.select_metric]
            for row in (_jsonl(file) if file.is_file() else ())
            if row.get("split") == "validation" and self.select_metric in row.get("metrics", {})
        }


def read_folder(folder: Path, name: str) -> list[Run]:
    """The runs of a sweep folder, or the one of a run folder, which gets this name.

    Raises:
      DataError: the folder is neither, or a row cannot be read.
    """
    if (folder / "results.jsonl").is_file():
        rows = {row["run"]: row for row in _sweep_rows(folder / "results.jsonl")}
        return [_run(folder, row) for row in rows.values()]
    if (folder / "config.json").is_file() and (folder / "metrics.jsonl").is_file():
        return [_run(folder, _row_of_run_folder(folder, name))]
    raise DataError(
        f"{folder} is neither a sweep folder (results.jsonl) nor a run folder (config.json and "
        "metrics.jsonl); give one that flaxrec.sweep or train_main.py wrote."
    )


def _sweep_rows(path: Path) -> list[dict[str, Any]]:
    rows = _jsonl(path)
    for number, row in enumerate(rows, 1):
        missing = [key for key in _NEEDED if key not in row]
        if missing:
            raise DataError(
                f"{path}, row {number} has no {missing[0]!r}; give a file that flaxrec.sweep wrote."
            )
    return rows


def _run(folder: Path, row: dict[str, Any]) -> Run:
    finished = row["status"] == "finished"
    return Run(
        name=row["run"],
        kind=row["kind"],
        axes=row["axes"],
        seed=row.get("seed"),
        failure="" if finished else row.get("reason") or "no reason was kept",
        folder=folder / row.get("folder", ""),
        protocol=row.get("protocol") or "",
        metrics=row.get("metrics", {}).get("test", {}) if finished else {},
        labels=row.get("labels") or {},
        export_bytes=row.get("export_bytes"),
        row=row,
    )


def _row_of_run_folder(folder: Path, name: str) -> dict[str, Any]:
    """A run folder of train_main.py as a sweep would have noted it."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{folder / 'config.json'} is not JSON ({error}); restore it.") from error
    row = {"run": name, "kind": "trained", "axes": {"run": name}, "config": config}
    tests = [r for r in _jsonl(folder / "metrics.jsonl") if r.get("split") == "test"]
    if not tests:
        reason = "It has no test metrics yet; run train_main.py on it again."
        return row | {"status": "failed", "reason": reason}
    test, model = tests[-1], folder / "export" / "model.tflite"
    return row | {
        "status": "finished",
        "seed": config.get("seed"),
        "protocol": test["protocol"],
        "metrics": {"test": test["metrics"]},
        "labels": test.get("labels", {}),
        "best_step": test["step"],
        "best_epoch": test["epoch"],
        "export_bytes": model.stat().st_size if model.is_file() else None,
    }


def _jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows; a last line that a killed writer tore is left out."""
    try:
        return read_jsonl(path)
    except (json.JSONDecodeError, UnicodeDecodeError):
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            if number == len(lines):
                break
            raise DataError(f"{path}, line {number} is not JSON ({error}); remove it.") from error
    return rows
