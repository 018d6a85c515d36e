"""Reads the runs of sweep and run folders and groups them to points of equal settings.

A run is one training or one baseline; of several rows of a run, the last counts. A point is all
finished runs that differ only in their seed. The order in which runs finished does not matter.
"""

import collections
import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flaxrec.errors import DataError
from flaxrec.evaluation import baselines
from flaxrec.files import inside, recover
from flaxrec.files.schemas import Reader
from flaxrec.research import result_rows
from flaxrec.research.row_places import without_places
from flaxrec.training.workdir import BESIDE, MetricsRow

_OF_BASELINES = ("data", "split")  # config sections that a baseline depends on


@dataclasses.dataclass(frozen=True)
class Run:
    """One training or baseline: its row of results.jsonl and its folder."""

    name: str  # unique in its folder
    kind: str  # 'trained' or 'baseline'
    axes: Mapping[str, Any]  # what the sweep set, by name
    seed: int | None  # of training; None for a baseline
    failure: str  # why it has no result; '' if it has one
    folder: Path  # its run folder, or the folder of the baseline
    protocol: str  # the split's name
    metrics: Mapping[str, float]  # on the test labels, by name
    labels: Mapping[str, float]  # facts about the test labels (`evaluator.label_report`)
    export_bytes: int | None  # size of the exported model; None without one
    row: Mapping[str, Any]  # the whole row

    @property
    def exported(self) -> Mapping[str, float]:
        """Metrics of the exported file on the test labels; empty if not measured."""
        return (self.row.get("exported") or {}).get("metrics", {})

    @property
    def select_metric(self) -> str:
        """The validation metric that selects the best checkpoint; '' if not known."""
        return self.row.get("config", {}).get("train", {}).get("select_metric", "")

    @property
    def asked(self) -> str:
        """When a model that knows the moment was asked, `ModelSpec.asked`; '' for others."""
        return self.row.get("asked") or ""

    def learning_curve(self) -> dict[int, float]:
        """The validation value of `select_metric` by epoch; empty without metrics.jsonl."""
        file = self.folder / "metrics.jsonl"
        return {
            row["epoch"]: row["metrics"][self.select_metric]
            for row in (_metrics(file) if file.exists() else ())
            if row["split"] == "validation"
            and not BESIDE & set(row)  # not of an epoch
            and self.select_metric in row["metrics"]
        }

    def of_cold_items(self) -> dict[str, dict[str, Any]]:
        """The rows of cold labels (protocol cold_items), '' for the model's; else by baseline."""
        file = self.folder / "metrics.jsonl"
        rows = _metrics(file) if file.exists() else []
        return {row.get("baseline", ""): row for row in rows if row["split"] == "cold"}


@dataclasses.dataclass(frozen=True)
class Point:
    """Finished runs that differ only in their seed, ordered by seed."""

    axes: Mapping[str, Any]
    runs: tuple[Run, ...]

    @property
    def is_baseline(self) -> bool:
        """Whether its runs are baselines."""
        return self.runs[0].kind == "baseline"

    @property
    def asked(self) -> str:
        """When the models were asked, if they know the moment; '' for others and baselines."""
        return self.runs[0].asked

    @property
    def name(self) -> str:
        """All axes as AXIS=VALUE,..."""
        return ",".join(f"{axis}={text(value)}" for axis, value in self.axes.items()) or "run"

    @property
    def protocol(self) -> str:
        """The split's name."""
        return self.runs[0].protocol

    @property
    def export_bytes(self) -> int | None:
        """Size of the first exported model; None without one."""
        return next((run.export_bytes for run in self.runs if run.export_bytes), None)

    @property
    def context_length(self) -> int | None:
        """The model's context length; None for baselines or if not known."""
        model = self.runs[0].row.get("config", {}).get("model", {})
        return None if self.is_baseline else model.get("context_length")

    def has(self, values: Mapping[str, str]) -> bool:
        """Whether its axes have these values, as `text` formats them."""
        return all(axis in self.axes and text(self.axes[axis]) == values[axis] for axis in values)

    def values(self, metric: str) -> list[float]:
        """The metric on the test labels, one value per seed; empty if a run lacks it."""
        return _complete([run.metrics for run in self.runs], metric)

    def exported_values(self, metric: str) -> list[float]:
        """The same for the exported files; empty if one was not measured."""
        return _complete([run.exported for run in self.runs], metric)


@dataclasses.dataclass(frozen=True)
class Results:
    """The points and failed runs of all folders."""

    # Trained ones in the order of their axes' values, those that know the moment after the others;
    # then baselines.
    points: tuple[Point, ...]
    failed: tuple[Run, ...]  # runs without a result


def read(folders: Iterable[str | os.PathLike]) -> Results:
    """Reads sweep and run folders.

    Args:
      folders: where two hold runs with equal axes but different settings, an axis `folder` is
        added.

    Raises:
      DataError: a folder is neither kind, a row cannot be read, or no run is finished.
    """
    by_place: dict[Path, Path] = {}
    for folder in folders:
        by_place.setdefault(Path(folder).resolve(), Path(folder))
    named = zip(_shortest_ends(list(by_place)), by_place.values(), strict=True)
    runs = [(name, run) for name, place in named for run in _read_folder(place, name)]
    points = _points([(name, run) for name, run in runs if not run.failure])
    failed = {(run.name, run.failure): run for _, run in runs if run.failure}
    if not points:
        reasons = "".join(f"; {name}: {failure.rstrip('.')}" for name, failure in sorted(failed))
        raise DataError(
            f"{', '.join(map(str, by_place.values()))} holds no finished run{reasons}; let one "
            "finish first."
        )
    axes = [*axes_of(points), "baseline", "data"]
    points.sort(
        key=lambda p: (
            (p.is_baseline, bool(p.asked)),
            [rank(p.axes.get(a)) for a in axes],
            p.protocol,
            p.name,
        )
    )
    return Results(tuple(points), tuple(failed[key] for key in sorted(failed)))


def axes_of(points: Iterable[Point]) -> list[str]:
    """All axes of trained points, in an order that is independent of which run finished first."""
    in_order = sorted(
        (p for p in points if not p.is_baseline), key=lambda p: (-len(p.axes), p.name)
    )
    return list(dict.fromkeys(axis for point in in_order for axis in point.axes))


# ---- values of axes -------------------------------------------------------------------------


def text(value: Any) -> str:
    """Formats a value of an axis for tables and names."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return "-".join(map(text, value))
    return "none" if value is None else str(value)


def is_number(value: Any) -> bool:
    """Whether a value of an axis is a number; truth values are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def rank(value: Any) -> tuple[int, float, str]:
    """Sort key of an axis's values: numbers by size, then others by text."""
    return (0, float(value), "") if is_number(value) else (1, 0.0, text(value))


# ---- runs -----------------------------------------------------------------------------------


def _read_folder(folder: Path, name: str) -> list[Run]:
    """The runs of a sweep folder, or the single run of a run folder, with this name."""
    if (folder / result_rows.NAME).is_file():
        rows = result_rows.read(folder / result_rows.NAME, DataError)
        return [_run(folder, row) for row in {row["run"]: row for row in rows}.values()]
    if (folder / "config.json").is_file() and (folder / "metrics.jsonl").is_file():
        return [_run(folder, _row_of_run_folder(folder, name))]
    raise DataError(
        f"{folder} is neither a sweep folder (results.jsonl) nor a run folder (config.json and "
        "metrics.jsonl); give one that flaxrec.sweep or train_main.py wrote."
    )


def _run(folder: Path, row: dict[str, Any]) -> Run:
    finished = row["status"] == "finished"
    return Run(
        name=row["run"],
        kind=row["kind"],
        axes={axis: _new_name(axis, value) for axis, value in row["axes"].items()},
        seed=row.get("seed"),
        failure="" if finished else row.get("reason") or "no reason was kept",
        folder=inside(folder, row.get("folder") or ".", folder / result_rows.NAME),
        protocol=row.get("protocol") or "",
        metrics=row.get("metrics", {}).get("test", {}) if finished else {},
        labels=row.get("labels") or {},
        export_bytes=row.get("export_bytes"),
        row=row,
    )


def _new_name(axis: str, value: Any) -> Any:
    return baselines.OLD_NAMES.get(str(value), value) if axis == "baseline" else value


def _row_of_run_folder(folder: Path, name: str) -> dict[str, Any]:
    """The row that a sweep would have written for a run folder of train_main.py."""
    reader = Reader(DataError, "restore it")
    config = reader.object(folder / "config.json", result_rows.Config)
    row = {"run": name, "kind": "trained", "axes": {"run": name}, "config": config}
    rows = _metrics(folder / "metrics.jsonl")
    tests = [row for row in rows if row["split"] == "test" and "baseline" not in row]
    if not tests:
        reason = "It has no test metrics yet; run train_main.py on it again."
        return row | {"status": "failed", "reason": reason}
    recover(folder / "export")
    test, model = tests[-1], folder / "export" / "model.tflite"
    return row | {
        "status": "finished",
        "seed": config.get("seed"),
        "protocol": test["protocol"],
        "metrics": {"test": test["metrics"]},
        "labels": test.get("labels") or {},
        **({"asked": test["asked"]} if test.get("asked") else {}),
        "best_step": test["step"],
        "best_epoch": test["epoch"],
        "export_bytes": model.stat().st_size if model.is_file() else None,
    }


def _metrics(file: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, without an incomplete last one from a killed writer."""
    reader = Reader(DataError, "restore the line, or remove it")
    return reader.rows(file, MetricsRow, of_log=True, may_be_torn=True)


def _shortest_ends(places: Sequence[Path]) -> list[str]:
    """The shortest unique end of each path."""
    names = []
    for own in places:
        others = [other.parts for other in places if other != own]
        ends = (own.parts[-n:] for n in range(1, len(own.parts)))
        alone = (end for end in ends if all(other[-len(end) :] != end for other in others))
        names.append("/".join(next(alone, own.parts)))
    return names


# ---- points ---------------------------------------------------------------------------------


def _complete(by_run: Sequence[Mapping[str, float]], metric: str) -> list[float]:
    """One value per run; none if one of them lacks it."""
    return [own[metric] for own in by_run] if all(metric in own for own in by_run) else []


def _points(runs: Iterable[tuple[str, Run]]) -> list[Point]:
    """Groups runs by axes, and by folder where the rest of the config differs between folders."""
    groups: dict[str, dict[str, list[Run]]] = {}
    for folder, run in runs:
        key = json.dumps([run.kind, run.protocol, dict(run.axes)], sort_keys=True)
        groups.setdefault(key, collections.defaultdict(list))[folder].append(run)
    points = []
    for by_folder in groups.values():
        together = [run for own in by_folder.values() for run in own]
        if len(by_folder) == 1 or len({_setting(run) for run in together}) == 1:
            points.append(_point(together[0].axes, together))
        else:
            points += [_point({**own[0].axes, "folder": f}, own) for f, own in by_folder.items()]
    return points


def _point(axes: Mapping[str, Any], runs: Iterable[Run]) -> Point:
    by_seed: dict[Any, Run] = {}
    for run in runs:  # a seed in two folders counts once
        by_seed.setdefault(run.seed, run)
    return Point(axes, tuple(by_seed[seed] for seed in sorted(by_seed, key=rank)))


def _setting(run: Run) -> str:
    """The settings common to a point's runs: all but names, places and the seed."""
    config = without_places(run.row.get("config", {}))
    kept = _OF_BASELINES if run.kind == "baseline" else config.keys() - {"name", "seed"}
    settings = {name: config[name] for name in kept if name in config}
    return json.dumps([run.row.get("data"), settings], sort_keys=True)
