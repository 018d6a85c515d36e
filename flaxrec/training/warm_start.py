"""A run that begins with the parameters of an older one, on newer data.

Tables go by the entries of their vocabularies, whose order changes with the counts; all other
parameters as they are. So a known item is read and ranked as the older run's best checkpoint does;
a new one has the vector of its features, or the mean of those that are carried over.
Shapes: R rows of a table, padding and 'unknown' included; D width.
"""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from flaxrec import config as config_lib
from flaxrec.config import Config
from flaxrec.data import moments
from flaxrec.data.dataset import Dataset
from flaxrec.data.item_features import Known
from flaxrec.data.vocabulary import ITEM, Vocabulary
from flaxrec.errors import ConfigError, DataError, TrainingError, shown
from flaxrec.models import dual_encoder, item_sums, smoothing
from flaxrec.models.dual_encoder import Params
from flaxrec.training import finished
from flaxrec.training.checkpoints import Origin
from flaxrec.training.run_assets import RunAssets
from flaxrec.training.steps import Job, forget_cold
from flaxrec.training.workdir import Workdir

Arrays = dict[str, np.ndarray]  # by the parameter's name
# Fields of config.model that say how it is trained, or what is counted anew.
_MAY_DIFFER = (
    "dropout",
    "id_dropout",
    "feature_dropout",
    "table_deviation",
    "item_table",
    "transitions",
    "transitions_to_self",
    "transitions_weight",
    "compute_dtype",
)


@dataclasses.dataclass(frozen=True)
class Rows:
    """How the rows of a vocabulary change.

    Attributes:
      before: int [R], the row that each row had; that of 'unknown' for new ones.
      is_new: bool [R].
      gone: how many of the older run's entries there are no more.
    """

    before: np.ndarray
    is_new: np.ndarray
    gone: int

    @classmethod
    def between(cls, old: Vocabulary, now: Vocabulary) -> "Rows":
        """The rows of the one in the order of the other."""
        found = old.lookup(now.entries[1:])
        before = np.concatenate([[0], found, [old.unknown_row]])
        is_new = np.concatenate([[False], found == old.unknown_row, [False]])
        return cls(before, is_new, len(old.entries) - 1 - len(set(found) - {old.unknown_row}))

    @property
    def kept(self) -> int:
        """How many entries are carried over."""
        return len(self.before) - 2 - int(self.is_new.sum())

    def carried(self, value: np.ndarray) -> np.ndarray:
        """A table [R before, ...] in the new order; new rows are the mean of those carried over."""
        made = value[self.before]
        known = ~self.is_new
        known[[0, -1]] = False
        if known.any():
            made[self.is_new] = made[known].mean(axis=0)
        return made


def check(config: Config) -> None:
    """Checks that a run can begin with config.train.warm_start, before the data are read.

    Raises:
      ConfigError: that is a run of another model, or another split.
      TrainingError, ExportError, DataError: it is no run, or damaged.
    """
    workdir = Workdir(Path(config.train.warm_start))
    old = workdir.read_config()
    if config.recipe == "as_set":  # otherwise again once it is chosen
        _check_same(workdir, old, config)
    assets = RunAssets(workdir.assets)
    assets.vocabularies()
    _known(workdir, assets, old)


def begin(
    config: Config, dataset: Dataset, job: Job, params: Params, say: Callable[[str], None]
) -> tuple[Params, Origin]:
    """The first parameters of a run that has config.train.warm_start, and what it began with.

    Args:
      config: the run's.
      dataset: its data.
      job: likewise.
      params: those that it would begin with otherwise, as they are trained.
      say: called with lines of what is carried over.

    Raises:
      DataError: none of the items is one of the older run's.
      ConfigError, TrainingError, ExportError: as `check`.
    """
    workdir = Workdir(Path(config.train.warm_start))
    old = workdir.read_config()
    _check_same(workdir, old, config)
    assets = RunAssets(workdir.assets)
    known, before = _known(workdir, assets, old), assets.vocabularies()
    spec, device = assets.spec(), jax.local_devices()[0]
    restored, notes = finished.model(workdir, dual_encoder.structure_of(config, spec), device)
    host: Arrays = {name: np.asarray(value) for name, value in jax.device_get(restored).items()}
    rows = {
        name: Rows.between(before[name], now)
        for name, now in dataset.timelines.vocabularies.items()
        if name in before
    }
    _check_shared(workdir, rows[ITEM], dataset)
    rows |= _of_moments(rows, before, dataset)
    made = _tables(host, rows, dataset, params)
    counts = dict(rows)
    if known:
        tower = jax.device_get(finished.tower(workdir, known, config.model.embedding_dim, device))
        tower, of_tower = _tower(workdir, tower, known, dataset)
        counts |= of_tower
        made |= _apart(made, tower, rows[ITEM], job, dataset)
    made = smoothing.unsmoothed(made, job.targets.kernels)
    begun = {name: jnp.asarray(value, jnp.float32) for name, value in made.items()}
    forget_cold(begun, job.structure, dataset)
    for line in _lines(workdir, notes.step, counts):
        say(line)
    sha256 = config_lib.sha256(old)
    return begun, Origin(name=old.name, run=notes.run, step=notes.step, config_sha256=sha256)


# ---- what is refused --------------------------------------------------------------------------


def _check_same(workdir: Workdir, old: Config, config: Config) -> None:
    """Raises ConfigError for the first field by which the model is another."""
    for path in config_lib.differences(old, config):
        section, _, field = path.partition(".")
        if section not in ("reference_mode", "split", "model") or field in _MAY_DIFFER:
            continue
        if field.endswith("].file"):  # of vectors: it holds other items now
            continue
        here, there = (_value(one, path) for one in (config, old))
        raise ConfigError(
            f"config.{path} is {here}, but the run {workdir.path} of config.train.warm_start has "
            f"{there}; make it the same, or train anew, without warm_start."
        )


def _value(config: Config, path: str) -> str:
    try:
        return shown(config_lib.get(config, path))
    except ConfigError:
        return "nothing there"


def _known(workdir: Workdir, assets: RunAssets, old: Config) -> dict[str, Known]:
    known = assets.label_features()
    if known.keys() != {feature.name for feature in old.model.label_features}:
        raise TrainingError(
            f"{workdir.path} did not keep its label tower, as a run of an earlier version; train "
            "anew, without config.train.warm_start."
        )
    return known


def _check_shared(workdir: Workdir, items: Rows, dataset: Dataset) -> None:
    if not items.kept:
        first = dataset.timelines.vocabularies[ITEM].entries[1]
        raise DataError(
            f"None of the {dataset.spec.candidates:,} items, such as {shown(first)}, is one that "
            f"{workdir.path} was trained on; give the ids as its data have them, or train without "
            "config.train.warm_start."
        )


# ---- parameters -------------------------------------------------------------------------------


def _of_moments(
    rows: dict[str, Rows], before: dict[str, Vocabulary], dataset: Dataset
) -> Iterator[tuple[str, Rows]]:
    """Of times, values beyond the largest begin as the largest, which they counted as."""
    for spec in dataset.spec.inputs:
        if spec.source in moments.OF_NOW and spec.vocabulary in rows:
            of = rows[spec.vocabulary]
            largest = len(before[spec.vocabulary].entries) - 1
            place = np.where(of.is_new, largest, of.before)
            yield spec.vocabulary, dataclasses.replace(of, before=place)


def _tables(host: Arrays, rows: dict[str, Rows], dataset: Dataset, params: Params) -> Arrays:
    """All parameters of the model, whole (see `steps.whole`), with the rows of these data."""
    of_input = {spec.name: spec.vocabulary for spec in dataset.spec.inputs}
    made = {}
    for name, value in host.items():
        _, is_table, of = name.rpartition("/tables/")
        if is_table:
            made[name] = rows[of_input[of]].carried(value)
        elif name in ("label_encoder/table", "label_encoder/bias"):
            ends = [(1, 1)] + [(0, 0)] * (value.ndim - 1)
            made[name] = rows[ITEM].carried(np.pad(value, ends))[1:-1]
        else:
            made[name] = value
        if (shape := np.shape(params[name])) != made[name].shape:
            raise TrainingError(
                f"The parameter {name} has the shape {shape} here and {made[name].shape} in the "
                "run of config.train.warm_start; use the code and the settings of that run."
            )
    return made


def _tower(
    workdir: Workdir, tower: Params, known: dict[str, Known], dataset: Dataset
) -> tuple[Arrays, dict[str, Rows]]:
    """The label tower's parameters as these data read them, and the rows of its vocabularies."""
    made, rows = {}, {}
    for name, of in dataset.timelines.item_values.items():
        value, old, now = np.asarray(tower[item_sums.PREFIX + name]), known[name], of.known
        if now.vocabulary is not None and old.vocabulary is not None:
            rows[name] = Rows.between(old.vocabulary, now.vocabulary)
            value = value[rows[name].before]  # new ones begin as 'unknown', as they were read
        elif now.rows != old.rows:
            raise TrainingError(
                f"The vectors of the feature {name!r} have {now.rows} numbers, but those that "
                f"{workdir.path} was trained with had {old.rows}; make them with the same model, "
                "or train without config.train.warm_start."
            )
        else:
            value = value * np.float32(now.deviation / old.deviation)
        made[item_sums.PREFIX + name] = value
    return made, rows


def _apart(whole: Arrays, tower: Arrays, items: Rows, job: Job, data: Dataset) -> Arrays:
    """The items' own vectors, so that the sums of known ones are as they were.

    New ones have what stands for items without one.
    """
    name, first = item_sums.label_table(job.structure, data.spec)
    with jax.default_matmul_precision("float32"):
        values = {n: jnp.asarray(of.values) for n, of in data.timelines.item_values.items()}
        vectors = {n: jnp.asarray(value) for n, value in tower.items()}
        of_features = np.asarray(item_sums.of_features(vectors, values))
    table, rows = whole[name].copy(), slice(first, first + data.spec.candidates)
    parts = {name: jnp.asarray(table)}
    nobody = np.asarray(item_sums.without_id(job.structure, data.spec, parts))
    table[rows] = np.where(items.is_new[1:-1, None], nobody, table[rows] - of_features)
    return {name: table, **tower}


# ---- what is said -----------------------------------------------------------------------------


def _lines(workdir: Workdir, step: int, rows: dict[str, Rows]) -> Iterator[str]:
    yield f"warm start: {workdir.path}, step {step:,}; rows carried over, new, gone:"
    for name, of in rows.items():
        yield f"  {name}: {of.kept:,}, {int(of.is_new.sum()):,}, {of.gone:,}"
    yield (
        "the optimiser and its schedule begin anew; figures are those of a training anew only if "
        "that run was not trained on what is held out here, as with later interactions added"
    )
