"""Loads a starter for export: its weights, joined with the user's copy of MovieLens.

models/NAME + ratings and movies -> the same vocabularies as in training -> titles, genres, counts,
labels to judge quantised files by
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp

from flaxrec.config import Config
from flaxrec.data import contexts
from flaxrec.data.dataset import Dataset, prepare
from flaxrec.data.sources.download import fetch
from flaxrec.data.timelines import ITEM
from flaxrec.errors import ConfigError, DataError, ExportError
from flaxrec.exporting import serving
from flaxrec.exporting.assets import Assets
from flaxrec.exporting.serving import ServingModel
from flaxrec.starters import folder as folder_lib
from flaxrec.starters import sample_contexts
from flaxrec.starters.folder import Starter
from flaxrec.training.run_assets import items_of, judged_of

NO_DATA = "none"


def load(folder: Path, movielens: str | None = None) -> tuple[ServingModel, Assets]:
    """A starter's model and assets for export, like `flaxrec.reference.published.load`.

    Args:
      folder: models/NAME.
      movielens: folder of the release that it was trained on; None or '': the cached download;
        'none': no data, so ids without titles.

    Raises:
      ExportError: the folder is damaged, or the model needs more than ids and there are no data.
      DataError: the data cannot be loaded, or differ from the training data.
    """
    starter = folder_lib.read(folder)
    if movielens == NO_DATA and starter.joined:
        raise ExportError(
            f"The starter {folder.name} takes {' and '.join(starter.joined)}, which are joined "
            "from MovieLens; leave --movielens out to download it, or pass --movielens=DIR."
        )
    dataset = None if movielens == NO_DATA else data_of(starter, movielens)
    return model_of(starter), assets_of(starter, dataset)


def model_of(starter: Starter) -> ServingModel:
    """The model in float32 on the CPU, with the values of the float16 weights."""
    structure = serving.structure_of(starter.config, starter.spec)
    with jax.default_device(serving.cpu()):
        params = {name: jnp.asarray(w, jnp.float32) for name, w in starter.weights.items()}
    return ServingModel(starter.config, starter.spec, structure, params, starter.facts.get("step"))


# ---- the data -------------------------------------------------------------------------------


def data_of(starter: Starter, movielens: str | None) -> Dataset:
    """The training data, from a folder or the cached download.

    Raises:
      DataError: they cannot be loaded, or differ from the training data.
    """
    release = starter.config.data.release
    path = movielens or _download(starter.config)
    data = dataclasses.replace(starter.config.data, path=str(path))
    try:
        dataset = prepare(dataclasses.replace(starter.config, data=data))
    except (ConfigError, DataError) as error:
        # The message names the flag of training; name this command's flag instead.
        raise DataError(str(error).replace("--config.data.path", "--movielens")) from error
    spec = dataclasses.replace(dataset.spec, clock=starter.spec.clock)  # version 0.1.0 has none
    if spec != starter.spec or dataset.timelines.vocabularies != starter.vocabularies:
        raise DataError(
            f"{path} is not the {release} that {starter.facts['name']} was trained on: its items "
            f"by count are others; pass --movielens=DIR with the files of {release}, or leave it "
            "out to download them."
        )
    return dataset


def _download(config: Config) -> Path:
    try:
        return fetch(config.data.release, config.data.cache_dir)
    except DataError as error:
        reason = str(error).partition(";")[0]
        raise DataError(
            f"{reason}; put the files of {config.data.release} into a folder and pass "
            f"--movielens=DIR, or pass --movielens={NO_DATA} for ids without titles, which models "
            "of ids alone can do with."
        ) from error


# ---- what goes with the model ---------------------------------------------------------------


def assets_of(starter: Starter, dataset: Dataset | None) -> Assets:
    """The assets of an export; without data it has no titles and no labels to judge by."""
    config, spec, facts = starter.config, starter.spec, starter.facts
    test = {"protocol": facts["protocol"], "metrics": facts["trained"], "labels": facts["labels"]}
    sample = sample_contexts.draw(config, spec, dataset.timelines if dataset else None)
    if dataset is None:
        ids = starter.vocabularies[ITEM].entries[spec.first_candidate :]
        return Assets(starter.vocabularies, [{"id": int(i)} for i in ids], sample, [test])
    cpu = serving.cpu()
    with jax.default_device(cpu):
        gather = jax.jit(contexts.gatherer(config, spec.inputs))
        timelines = contexts.to_device(dataset.timelines, jax.sharding.SingleDeviceSharding(cpu))
        judged = judged_of(config, dataset, lambda at: jax.device_get(gather(timelines, at)))
    items = items_of(dataset.timelines)
    return Assets(starter.vocabularies, items, sample, [test], judged=judged)
