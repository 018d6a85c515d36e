"""Results: the runs of sweep and run folders, grouped to points of equal settings.

A point is all finished runs that differ in nothing but their seed. What is read does not depend on
the order in which runs finished.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flaxrec.errors import DataError
from flaxrec.reporting.runs import Run, read_folder

Axes = Mapping[str, Any]

# What runs of one setting may differ in: names, places and the seed.
_NO_SETTING = {"": ("name", "seed"), "data": ("path", "items_path", "users_path", "cache_dir")}
_OF_BASELINES = ("data", "split")  # the sections that a baseline depends on


@dataclasses.dataclass(frozen=True)
class Point:
    """Finished runs that differ in their seed only, in the seeds' order."""

    axes: Axes
    runs: tuple[Run, ...]

    @property
    def is_baseline(self) -> bool:
        """Whether it was not trained."""
        return self.runs[0].kind == "baseline"

    @property
    def name(self) -> str:
        """AXIS=VALUE,... of all axes."""
        return ",".join(f"{axis}={text(value)}" for axis, value in self.axes.items()) or "run"

    @property
    def protocol(self) -> str:
        """The split's name."""
        return self.runs[0].protocol

    @property
    def export_bytes(self) -> int | None:
        """Size of the exported model, the first of the runs'; None without one."""
        return next((run.export_bytes for run in self.runs if run.export_bytes), None)

    @property
    def context_length(self) -> int | None:
        """Length of the context that the model sees; None where there is none."""
        if self.is_baseline:
            return None
        return self.runs[0].row.get("config", {}).get("model", {}).get("context_length")

    def values(self, metric: str) -> list[float]:
        """The metric on the test labels, one value a seed; empty if a run lacks it."""
        return _of_all([run.metrics for run in self.runs], metric)

    def exported_values(self, metric: str) -> list[float]:
        """The same of the exported files, where the sweep ranked with them."""
        return _of_all([run.exported for run in self.runs], metric)


@dataclasses.dataclass(frozen=True)
class Results:
    """All that the folders hold.

    Attributes:
      points: trained ones in the order of their axes' values, then baselines.
      failed: runs without a result.
    """

    points: tuple[Point, ...]
    failed: tuple[Run, ...]


def read(folders: Iterable[str | os.PathLike]) -> Results:
    """Reads sweep and run folders.

    Args:
      folders: as given; where two hold runs of equal axes but other settings, an axis `folder` is
        added.

    Raises:
      DataError: a folder is neither, a row cannot be read, or no run is finished.
    """
    by_place: dict[Path, Path] = {}
    for folder in folders:
        by_place.setdefault(Path(folder).resolve(), Path(folder))
    places = list(by_place.values())
    names = _shortest_ends(places)
    runs = [
        (name, run)
        for place, name in zip(places, names, strict=True)
        for run in read_folder(place, name)
    ]
    points = _points([(name, run) for name, run in runs if not run.failure])
    failed = {(run.name, run.failure): run for _, run in runs if run.failure}
    if not points:
        reasons = "".join(f"; {name}: {failure.rstrip('.')}" for name, failure in sorted(failed))
        raise DataError(
            f"{', '.join(map(str, places))} holds no finished run{reasons}; let one finish first."
        )
    return Results(
        tuple(sorted(points, key=_sort_key(points))), tuple(failed[key] for key in sorted(failed))
    )


def axes_of(points: Iterable[Point]) -> list[str]:
    """All axes of trained points, in an order that does not depend on which run finished first."""
    in_order = sorted(
        (p for p in points if not p.is_baseline), key=lambda p: (-len(p.axes), p.name)
    )
    return list(dict.fromkeys(axis for point in in_order for axis in point.axes))


def text(value: Any) -> str:
    """A value of an axis as tables and names show it."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return "-".join(map(text, value))
    return "none" if value is None else str(value)


def is_number(value: Any) -> bool:
    """Whether a value of an axis has a place on a line; truth values have none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def rank(value: Any) -> tuple[int, float, str]:
    """What values of an axis are sorted by: numbers by size, then all else by its text."""
    return (0, float(value), "") if is_number(value) else (1, 0.0, text(value))


def _of_all(metrics: Sequence[Mapping[str, float]], name: str) -> list[float]:
    """One value each; none if one of them lacks it."""
    values = [of_run[name] for of_run in metrics if name in of_run]
    return values if len(values) == len(metrics) else []


def _points(runs: Sequence[tuple[str, Run]]) -> list[Point]:
    """Groups by axes; where folders disagree about the rest of the config, also by folder."""
    groups: dict[str, dict[str, list[Run]]] = {}
    for folder, run in runs:
        key = json.dumps([run.kind, run.protocol, dict(run.axes)], sort_keys=True)
        groups.setdefault(key, {}).setdefault(folder, []).append(run)
    points = []
    for by_folder in groups.values():
        settings = {_setting(run) for of_folder in by_folder.values() for run in of_folder}
        if len(by_folder) == 1 or len(settings) == 1:
            together = [run for of_folder in by_folder.values() for run in of_folder]
            points.append(_point(together[0].axes, together))
        else:
            points += [_point({**own[0].axes, "folder": f}, own) for f, own in by_folder.items()]
    return points


def _point(axes: Axes, runs: Iterable[Run]) -> Point:
    by_seed: dict[Any, Run] = {}
    for run in runs:  # a seed that two folders hold counts once
        by_seed.setdefault(run.seed, run)
    return Point(axes, tuple(by_seed[seed] for seed in sorted(by_seed, key=rank)))


def _setting(run: Run) -> str:
    kept: dict[str, Any] = {"": run.row.get("data")}
    for name, value in run.row.get("config", {}).items():
        if run.kind == "baseline" and name not in _OF_BASELINES:
            continue
        if isinstance(value, dict):
            left_out = _NO_SETTING.get(name, ())
            kept[name] = {key: v for key, v in value.items() if key not in left_out}
        elif name not in _NO_SETTING[""]:
            kept[name] = value
    return json.dumps(kept, sort_keys=True)


def _sort_key(points: Sequence[Point]) -> Callable[[Point], tuple]:
    axes = [*axes_of(points), "baseline", "data"]
    return lambda point: (
        point.is_baseline,
        [rank(point.axes.get(axis)) for axis in axes],
        point.protocol,
        point.name,
    )


def _shortest_ends(places: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that no other has."""
    parts = [place.resolve().parts for place in places]
    names = []
    for own in parts:
        others = [other for other in parts if other != own]
        ends = (n for n in range(1, len(own)) if all(own[-n:] != other[-n:] for other in others))
        names.append("/".join(own[-next(ends, len(own)) :]))
    return names
