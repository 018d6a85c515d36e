"""Packs a finished sweep into starter models: the weights of seed 0, the facts of all seeds."""

import contextlib
import copy
import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from flaxrec.config import Config, paths
from flaxrec.errors import ConfigError, DataError, ExportError
from flaxrec.exporting import serving
from flaxrec.exporting.serving import ServingModel
from flaxrec.reporting import results
from flaxrec.reporting.results import Point
from flaxrec.research import statistics
from flaxrec.research.row_places import PLACES
from flaxrec.starters import folder as folder_lib
from flaxrec.starters.card import METRICS
from flaxrec.starters.folder import Starter
from flaxrec.training.run_assets import RunAssets
from flaxrec.training.workdir import Workdir

AXIS = "starter"
SEEDS = 3  # minimum; seed 0 is shipped
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_DATA = ("movielens", "ml-1m", "leave_one_out")  # what the card describes
_DIGITS = 6


def pack(
    sweep: Path,
    models: Path,
    *,
    device: str = "",
    replace: bool = False,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Writes models/NAME for every point of a sweep with the axis starter=NAME.

    The same sweep gives the same bytes. Measurements of a starter's file are kept while its weights
    stay the same.

    Args:
      sweep: folder of `flaxrec.sweep`.
      models: folder of the starters; made if it does not exist.
      device: description of the training device; '': as the rows name it.
      replace: whether to replace existing starters with other weights.
      say: called with one line per written folder.

    Returns:
      The starters' folders.

    Raises:
      DataError: the sweep cannot be read, or has no point that can be a starter.
      ExportError: a run's model is missing, models/NAME is another starter, or cannot be written.
    """
    packed: dict[str, Starter] = {}
    for point in results.read([sweep]).points:
        if point.is_baseline or AXIS not in point.axes:
            continue
        name = str(point.axes[AXIS])
        if name in packed:
            raise DataError(f"{sweep} has several points of the starter {name}; keep one.")
        packed[name] = starter_of(name, point, device)
    if not packed:
        raise DataError(
            f"{sweep} has no point with the axis {AXIS!r}; add them by add(config, {AXIS}=NAME)."
        )
    for name, starter in packed.items():
        packed[name] = _with_measured(starter, models / name, replace)
    for name, starter in packed.items():  # after all checks
        folder_lib.write(starter, models / name)
        say(f"{models / name}: seed 0 of {len(starter.facts['seeds'])}")
    return [models / name for name in packed]


def starter_of(name: str, point: Point, device: str = "") -> Starter:
    """The starter of a sweep's point; raises what `pack` raises."""
    if not _NAME.fullmatch(name):
        raise DataError(f"A starter cannot be called {name!r}; use small letters, digits and '_'.")
    facts = facts_of(name, point, device)
    workdir = Workdir(point.runs[0].folder)
    model = serving.load(workdir)
    _check(name, model)
    with np.errstate(over="ignore"):  # infinite weights are refused below
        weights = {n: jax.device_get(w).astype(np.float16) for n, w in model.params.items()}
    for parameter, half in weights.items():
        if not np.isfinite(half).all():
            raise ExportError(
                f"The weights {parameter} of the starter {name} are not finite in float16; train "
                "it with a smaller config.optimizer.learning_rate."
            )
    facts = {"parameters": int(sum(half.size for half in weights.values())), **facts}
    config = _without_places(model.config, name, facts["recipe"])
    vocabularies = RunAssets(workdir.assets).vocabularies()
    return Starter(config, model.spec, weights, vocabularies, facts)


def _check(name: str, model: ServingModel) -> None:
    """Raises ConfigError if the card would be wrong or the folder would hold titles."""
    config = model.config
    data = (config.data.source, config.data.release, config.split.protocol)
    if data != _DATA:
        raise ConfigError(
            f"The starter {name} is of {' '.join(data)}; the cards are about {' '.join(_DATA)}, "
            "use these in config.data and config.split."
        )
    if config.reference_mode:
        raise ConfigError(f"The starter {name} is of reference mode; set it to False.")
    if model.head is not None:
        raise ConfigError(
            f"The starter {name} has a transitions head, which a starter's folder does not keep; "
            "set config.model.transitions to 0."
        )
    if "item.title" in {i.source for i in model.spec.inputs}:
        raise ConfigError(
            f"The starter {name} takes titles, which may not be shipped; leave out item.title."
        )


def _without_places(config: Config, name: str, recipe: str) -> Config:
    """The shipped config, without paths of the training machine."""
    shipped = copy.deepcopy(config)
    for place in PLACES:
        paths.put(shipped, place, paths.get(Config(), place))
    shipped.name, shipped.export.quantization = name, recipe
    return shipped


def _with_measured(starter: Starter, folder: Path, replace: bool) -> Starter:
    """The starter with the measurements of the existing folder, if that has the same weights.

    Raises:
      ExportError: the folder holds something else and may not be replaced.
    """
    if not folder.exists():
        return starter
    with contextlib.suppress(ExportError):
        there = folder_lib.read(folder)
        same = (there.config, there.spec) == (starter.config, starter.spec)
        weights = [np.array_equal(w, starter.weights[n]) for n, w in there.weights.items()]
        if same and all(weights):
            return dataclasses.replace(starter, facts=starter.facts | {"file": there.facts["file"]})
    if not replace:
        raise ExportError(
            f"{folder} holds something else than this sweep's starter; pass --replace to replace "
            "it, or use another --output."
        )
    return starter


# ---- facts ----------------------------------------------------------------------------------


def facts_of(name: str, point: Point, device: str = "") -> dict[str, Any]:
    """The content of figures.json; the same point gives the same facts.

    If every seed's row has metrics of its exported file (`exported`: bytes, recipe, metrics on the
    test labels), the facts have those; otherwise they have the trained model's.

    Args:
      name: of the starter.
      point: at least three finished runs, seed 0 among them.
      device: description of the training device; '': as the rows name it.

    Raises:
      DataError: there are too few seeds, a metric is missing, or the seeds' recipes differ.
    """
    runs, seeds = point.runs, [run.seed for run in point.runs]
    if len(seeds) < SEEDS or seeds[0] != 0:
        raise DataError(
            f"The starter {name} has finished runs of seed {', '.join(map(str, seeds))}; let the "
            f"sweep finish {SEEDS} seeds, 0 among them."
        )
    row, of_files = runs[0].row, all(run.exported for run in runs)
    values = point.exported_values if of_files else point.values
    git = row.get("git") or {}
    revision = f"{git['revision']}+" if git.get("revision") and git.get("dirty") else None
    return {
        "name": name,
        "protocol": point.protocol,
        "labels": dict(runs[0].labels),
        "seeds": seeds,
        "measured_on": "exported" if of_files else "trained",
        "recipe": _recipe(name, point),
        "bytes": (row.get("exported") or {}).get("bytes") or row.get("export_bytes"),
        "metrics": {metric: _summary(name, metric, values(metric)) for metric in METRICS},
        # Metrics of seed 0 before float16; an export's metadata has them too.
        "trained": {m: round(float(runs[0].metrics[m]), _DIGITS) for m in METRICS},
        "step": row.get("best_step"),
        "epochs": [run.row.get("best_epoch") for run in runs],
        "training": {
            "device": device or row.get("device"),
            "seconds": round(sum(run.row["wall_seconds"] for run in runs) / len(runs), 1),
            "side_by_side": row.get("side_by_side", 1),
            "revision": revision or git.get("revision"),  # '+': with uncommitted changes
            "versions": row.get("versions") or {},
        },
        "file": None,  # filled by `measure` with facts about the exported file
    }


def _recipe(name: str, point: Point) -> str:
    """The quantisation recipe of the runs' files; raises DataError if they differ."""
    asked = point.runs[0].row["config"]["export"]["quantization"]
    found = {(run.row.get("exported") or {}).get("recipe", asked) for run in point.runs}
    if len(found) > 1 or found == {"auto"}:
        raise DataError(
            f"The runs of the starter {name} were exported by {' and '.join(sorted(found))}; set "
            "config.export.quantization to one recipe for all seeds."
        )
    return found.pop()


def _summary(name: str, metric: str, values: list[float]) -> dict[str, Any]:
    if not values:
        raise DataError(
            f"The runs of the starter {name} have no {metric}; put 10 into config.evaluation.ks."
        )
    found = statistics.over_seeds(values)
    return {
        "seeds": [round(float(value), _DIGITS) for value in values],
        "mean": round(found.mean, _DIGITS),
        "deviation": round(found.deviation or 0.0, _DIGITS),
        "next_run": [round(end, _DIGITS) for end in statistics.next_run(values)],
    }
