"""From a finished sweep to starter models: the weights of seed 0, the figures of all seeds."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from flaxrec.config import Config, DataConfig
from flaxrec.data.spec import ModelSpec
from flaxrec.errors import ConfigError, DataError, ExportError
from flaxrec.exporting import assets as assets_lib
from flaxrec.exporting import serving
from flaxrec.reporting import results
from flaxrec.reporting.results import Point
from flaxrec.starters import figures as figures_lib
from flaxrec.starters import folder as folder_lib
from flaxrec.starters import write as write_lib
from flaxrec.starters.folder import Starter
from flaxrec.training.workdir import Workdir

AXIS = "starter"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_RELEASE = "ml-1m"  # the card is about it


def pack(
    sweep: Path,
    models: Path,
    *,
    device: str = "",
    replace: bool = False,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Writes models/NAME for every point of a sweep with the axis starter=NAME.

    The same sweep gives the same bytes. What was measured of a starter's file is kept as long as
    its weights are the same.

    Args:
      sweep: folder of `flaxrec.sweep`.
      models: folder of the starters; made if it is not there.
      device: what they were trained on, in words; '': as the rows name it.
      replace: whether starters there with other weights may be replaced.
      say: told what was written, a line at a time.

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
    made = {name: _beside(starter, models / name, replace) for name, starter in packed.items()}
    for name, starter in made.items():  # once all of them can be
        write_lib.write(starter, models / name)
        say(f"{models / name}: seed 0 of {len(starter.figures['seeds'])}")
    return [models / name for name in made]


def starter_of(name: str, point: Point, device: str = "") -> Starter:
    """The starter of a sweep's point; raises as `pack`."""
    if not _NAME.fullmatch(name):
        raise DataError(f"A starter cannot be called {name!r}; use small letters, digits and '_'.")
    figures = figures_lib.of(name, point, device)
    workdir = Workdir(point.runs[0].folder)
    model = serving.load(workdir)
    _check(name, model.config, model.spec)
    weights = {n: np.asarray(jax.device_get(value)) for n, value in model.params.items()}
    with np.errstate(over="ignore"):  # looked at next
        halves = {n: value.astype(np.float16) for n, value in weights.items()}
    for parameter, half in halves.items():
        if not np.isfinite(half).all():
            raise ExportError(
                f"The weights {parameter} of the starter {name} are not finite in float16; train "
                "it with a smaller config.optimizer.learning_rate."
            )
    figures = {"parameters": int(sum(value.size for value in weights.values())), **figures}
    config = _without_places(model.config, name, figures["recipe"])
    vocabularies = assets_lib.of_run(workdir, model.spec).vocabularies
    return Starter(config, model.spec, halves, vocabularies, figures)


def _check(name: str, config: Config, spec: ModelSpec) -> None:
    """Raises ConfigError where the card would not tell the truth, or the folder more than ids."""
    told = (config.data.source, config.data.release, config.split.protocol)
    if told != ("movielens", _RELEASE, "leave_one_out"):
        raise ConfigError(
            f"The starter {name} is of {' '.join(told)}; the cards are about movielens {_RELEASE} "
            "leave_one_out, use these in config.data and config.split."
        )
    if config.reference_mode:
        raise ConfigError(f"The starter {name} is of reference mode; set it to False.")
    if "item.title" in {i.source for i in spec.inputs}:
        raise ConfigError(
            f"The starter {name} takes titles, which may not be shipped; leave out item.title."
        )


def _without_places(config: Config, name: str, recipe: str) -> Config:
    """The config as it is shipped: no paths of the machine that trained it."""
    places = ("path", "items_path", "users_path", "cache_dir")
    defaults: dict[str, Any] = {place: getattr(DataConfig(), place) for place in places}
    return dataclasses.replace(
        config,
        name=name,
        data=dataclasses.replace(config.data, **defaults),
        export=dataclasses.replace(config.export, quantization=recipe),
    )


def _beside(starter: Starter, folder: Path, replace: bool) -> Starter:
    """The starter with what was measured of the one that is there, if that has the same weights.

    Raises:
      ExportError: another one is there, and it may not be replaced.
    """
    if not folder.exists():
        return starter
    new = write_lib.files_of(starter)
    kept = (folder_lib.WEIGHTS, folder_lib.CONFIG, folder_lib.SPEC)
    if all(
        (folder / path).is_file() and (folder / path).read_bytes() == new[path] for path in kept
    ):
        file = folder_lib.read(folder).figures.get("file")
        return dataclasses.replace(starter, figures=starter.figures | {"file": file})
    if not replace:
        raise ExportError(
            f"{folder} holds something else than this sweep's starter; pass --replace to replace "
            "it, or use another --output."
        )
    return starter
