"""Plans a sweep: reads a file whose `sweep(add)` adds points, and lists their runs.

For example:

    def sweep(add):
        for length in (5, 10):
            config = presets.example_network("bow", None)
            config.model.context_length = length
            add(config, seeds=5, context_length=length)
"""

import copy
import dataclasses
import itertools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from flaxrec import config as config_lib
from flaxrec.config import Config, paths
from flaxrec.config.bounds import Range
from flaxrec.config.loading import find, function_of, load_module
from flaxrec.errors import ConfigError, shown
from flaxrec.research.row_places import PLACES
from flaxrec.research.side_by_side import MAY_DIFFER
from flaxrec.training.validation import checked

_DATA_SECTIONS = ("data", "split", "reference_mode")  # what data and candidates depend on
_OF_LABELS = ("train.first_events",)  # and training labels, which baselines count
_MOST_SEEDS, _MOST_OF_NAME = 10_000, 255
_Seeds = Annotated[int, Range(1, _MOST_SEEDS)]
_IN_NAME = ("data.source", "data.release", "split.protocol")


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One point with one seed."""

    name: str  # unique, such as 'encoder=bow,context_length=5,seed=0'; also that of its folder
    axes: dict[str, Any]  # the point's axes and values, as the sweep file names them
    config: Config  # validated
    first: bool  # whether this is the point's first seed


def read(file: str | Path, overrides: Mapping[str, str]) -> list[PlannedRun]:
    """The runs of a sweep file, in its order.

    Args:
      file: a path, or the name of a shipped sweep. The file has `def sweep(add)`;
        `add(config, *, seeds=1, **axes)` takes a Config, a number of seeds (0, 1, ...) or the seeds
        themselves, and the point's axes: numbers or texts.
      overrides: text by dotted path ('data.path', 'model.activity_groups[0].encoder'), parsed and
        set in every config.

    Raises:
      ConfigError: the file or a config cannot be used, or two points have the same axes.
    """
    file = find(str(file), "sweep")
    runs: dict[str, PlannedRun] = {}

    def add(config: Config, *, seeds: int | Iterable[int] = 1, **axes: Any) -> None:
        _check_point(file, config, axes)
        if not isinstance(seeds, Iterable):
            seeds = range(paths.fit(_Seeds, seeds, f"seeds of the point {shown(axes)} of {file}"))
        chosen = tuple(itertools.islice(seeds, _MOST_SEEDS + 1))
        if not 0 < len(chosen) <= _MOST_SEEDS:
            count = "no seeds" if not chosen else "too many seeds"
            raise ConfigError(
                f"The point {shown(axes)} of {file} has {count}; give 1 to {_MOST_SEEDS}."
            )
        for seed in chosen:
            own = copy.deepcopy(config)
            paths.put(own, "seed", seed)
            paths.override(own, overrides)
            if own.recipe == "by_data":
                own.set_by_hand = (*own.set_by_hand, *overrides)
            name = _name(axes, seed)
            if name.lower() in map(str.lower, runs):  # one folder on macOS and Windows
                raise ConfigError(
                    f"{file} adds two points {name!r}; tell them apart by one more axis."
                )
            runs[name] = PlannedRun(name, dict(axes), _checked(own, name), seed == chosen[0])

    module = load_module(file, "sweep")
    function_of(module, "sweep", add)(add)
    if not runs:
        raise ConfigError(f"{file} adds no points; call add(config, axis=value) in sweep(add).")
    return list(runs.values())


def side_by_side(runs: Iterable[PlannedRun]) -> list[list[PlannedRun]]:
    """Groups of runs that may train as one program, in order."""
    groups: dict[str, list[PlannedRun]] = {}
    for run in runs:
        if run.config.train.warm_start:  # the older run is read for each
            groups[run.name] = [run]
            continue
        common = copy.deepcopy(run.config)
        for path in MAY_DIFFER:
            paths.put(common, path, paths.get(Config(), path))
        groups.setdefault(config_lib.to_json(common), []).append(run)
    return list(groups.values())


def same_run(a: Config, b: Config) -> bool:
    """Whether two configs make the same run; its name and the places of its data may differ."""
    return set(config_lib.differences(a, b)) <= {*PLACES, "name"}


def data_of(config: Config) -> str:
    """A readable name of data and split: 'ml-1m leave_one_out min_rating=2'.

    It lists the fields that differ from the default. Configs with the same name have the same data,
    labels and candidates, as far as configs show; of a path only the last part counts.
    """
    data, name = config.data, "synthetic"
    if data.source == "movielens":
        name = Path(data.path).name or data.release
    elif data.source != "synthetic":
        name = Path(data.path).stem
    parts = [name, config.split.protocol]
    for path in config_lib.differences(Config(), config):
        section, _, _ = path.partition(".")
        is_of_data = section in _DATA_SECTIONS or path in _OF_LABELS
        if is_of_data and path not in (*PLACES, *_IN_NAME):
            parts.append(f"{path.rpartition('.')[2]}={paths.get(config, path)}")
    return " ".join(parts)


def _check_point(file: Path, config: object, axes: Mapping[str, Any]) -> None:
    """Raises ConfigError for arguments of `add` that make no point."""
    if not isinstance(config, Config):
        raise ConfigError(
            f"{file} adds {shown(config)}; call add(config, axis=value) with a flaxrec.config."
            "Config."
        )
    for axis, value in axes.items():
        is_number = isinstance(value, int | float) and abs(value) <= 1e300
        if not (value is None or isinstance(value, str) or is_number):
            raise ConfigError(
                f"The axis {shown(axis)} of {file} is {shown(value)}; use a finite number or a "
                "text of Python."
            )


def _checked(config: Config, name: str) -> Config:
    try:
        return checked(config)
    except ConfigError as error:
        raise ConfigError(f"The run {name!r} cannot be used: {error}") from error


def _name(axes: Mapping[str, Any], seed: int) -> str:
    parts = [f"{axis}={value}" for axis, value in axes.items()] + [f"seed={seed}"]
    name = re.sub(r"[^\w.,=+-]+", "-", ",".join(parts))
    if len(name.encode()) > _MOST_OF_NAME:
        raise ConfigError(
            f"The point {shown(name)} has a name of more than {_MOST_OF_NAME} bytes, which is its "
            "folder's; use shorter values of axes."
        )
    return name
