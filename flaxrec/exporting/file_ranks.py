"""Measures a finished file: where it ranks the labels of a data set among all candidates.

run folder -> file, the published one or one of another recipe -> logits, one context at a time ->
ranks, as from evaluation

Ranks with seen items left out need more than the K items that a file returns; see `logits`.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from flaxrec.config import Config, ExportConfig
from flaxrec.data import contexts
from flaxrec.data.dataset import Dataset
from flaxrec.errors import ExportError, shown
from flaxrec.evaluation import since
from flaxrec.evaluation import unknown as unknown_lib
from flaxrec.evaluation.evaluator import PerLabel
from flaxrec.evaluation.since import Part
from flaxrec.evaluation.unknown import TITLES
from flaxrec.exporting import bundle, choice, coarse, exclusion, label_ranks, serving
from flaxrec.exporting.logits import LogitsModel
from flaxrec.files import temporary_folder
from flaxrec.tflite.export_folder import ExportFolder
from flaxrec.tflite.metadata import CANDIDATE_MASK
from flaxrec.training.checkpoints import Checkpoints
from flaxrec.training.notes import Notes
from flaxrec.training.workdir import Workdir

AUTO = "auto"
_AT_ONCE = 1024  # contexts gathered together


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """The metrics of a file.

    Attributes:
      recipe: how its weights are stored.
      bytes: of the file. Only a published file includes its metadata, some 700 bytes.
      published: whether it is the run's own export.
      unknown: what its contexts leave unknown, see `evaluation.unknown`; '': nothing.
      metrics: by split, metrics by name, as in metrics.jsonl but without a loss.
      by_since: by split, metrics by the time since the latest activity.
    """

    recipe: str
    bytes: int
    published: bool
    unknown: str = ""
    metrics: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    by_since: dict[str, list[Part]] = dataclasses.field(default_factory=dict)


def of_run(
    workdir: Workdir,
    dataset: Dataset,
    recipes: Sequence[str] = (AUTO,),
    splits: Sequence[str] = ("validation", "test"),
    unknown: Sequence[str] = (),
) -> list[Accuracy]:
    """Measures the best checkpoint's files, without training or evaluating the model again.

    Args:
      workdir: the run folder.
      dataset: the data that it was trained on.
      recipes: 'auto' is the run's own export, WORKDIR/export. Files of other recipes are made from
        the same weights.
      splits: whose labels are ranked; a split without labels has no metrics.
      unknown: the labels are ranked again for each of these that an input tells of, with contexts
        in which it is unknown.

    Returns:
      One result for each recipe, in their order, without repeats; after each those of `unknown`.

    Raises:
      TrainingError: the folder is no run, or has no checkpoint.
      ExportError: the data are not the run's; its export is missing, of another checkpoint or
        damaged; a recipe cannot be used.
    """
    config = workdir.read_config()
    options, own = _options(workdir, recipes, _best_step(workdir, dataset))
    found = []
    inputs = dataset.spec.inputs
    ways = ["", *(way for way in unknown if unknown_lib.concerns(way, inputs))]
    for file, content in _files(workdir, dataset, recipes, options, own):
        for way in ways:
            measured = dataclasses.replace(file, unknown=way, metrics={}, by_since={})
            for split in splits:
                positions = getattr(dataset.split, split)
                if len(positions):
                    ranked = ranks(
                        content,
                        config,
                        dataset,
                        positions,
                        excludes_context=options.exclude_context,
                        unknown=way,
                        what=", ".join(filter(None, (file.recipe, split, TITLES.get(way)))),
                    )
                    ks = config.evaluation.ks
                    measured.metrics[split] = ranked.means(ks)
                    measured.by_since[split] = since.parts(ranked, dataset.timelines, ks)
            found.append(measured)
    return found


def ranks(
    content: bytes,
    config: Config,
    dataset: Dataset,
    positions: np.ndarray,
    *,
    excludes_context: bool = False,
    unknown: str = "",
    top: int = 0,
    what: str = "labels",
) -> PerLabel:
    """Ranks labels by running a file on their contexts, one at a time as on a phone.

    Args:
      content: a finished .tflite of the model, in any recipe, without coarse labels.
      config: of its run.
      dataset: the data.
      positions: int32 [n], the labels' events.
      excludes_context: whether the graph leaves out the context's items.
      unknown: what the contexts leave unknown, see `evaluation.unknown`; '': nothing.
      top: length of the lists with seen items left out; 0: none.
      what: names the progress.

    Returns:
      As `evaluation.Evaluator`, without a loss.

    Raises:
      ExportError: the file does not run, or its logits are not found.
    """
    model = LogitsModel(content, dataset.spec, excludes_context=excludes_context)
    logits = map(model, _contexts(config, dataset, positions, unknown))
    return label_ranks.rank(logits, dataset, positions, top=top, what=what)


def _contexts(
    config: Config, dataset: Dataset, positions: np.ndarray, unknown: str
) -> Iterator[dict[str, np.ndarray]]:
    """Yields the context before each label, [length] by input name, gathered as in training."""
    timelines = contexts.to_device(
        dataset.timelines, jax.sharding.SingleDeviceSharding(serving.cpu())
    )
    gather = jax.jit(contexts.gatherer(config, dataset.spec.inputs))
    for begin in range(0, len(positions), _AT_ONCE):
        some = positions[begin : begin + _AT_ONCE]
        features = jax.device_get(gather(timelines, np.resize(some, _AT_ONCE)))
        if unknown:
            features = unknown_lib.without(unknown, features, dataset.spec.inputs)
        for row in range(len(some)):
            yield {name: values[row] for name, values in features.items()}


# ---- the files of a run -----------------------------------------------------------------------


def made(workdir: Workdir, recipes: Sequence[str], options: ExportConfig) -> dict[str, bytes]:
    """Makes files of a run's best checkpoint, by recipe: as exported, but without metadata.

    They have no coarse labels, even for a large catalogue: those change no list. No recipe is
    'auto'; `options.quantization` is ignored.

    Raises:
      TrainingError: there is no run or checkpoint.
      ExportError: a recipe is unknown or does not run for this graph; TensorFlow is missing.
    """
    model = serving.load(workdir)
    plain = dataclasses.replace(options, quantization=AUTO)
    with temporary_folder() as folder:
        float_file = bundle.make_float_file(model, plain, folder / "saved_model")
    return {recipe: choice.quantized(float_file, recipe) for recipe in recipes}


def _options(workdir: Workdir, recipes: Sequence[str], step: int) -> tuple[ExportConfig, str]:
    """The run's export options and its export's recipe; '' if there is no export and no 'auto'."""
    options = workdir.read_config().export
    if AUTO not in recipes and not workdir.export.exists():
        return options, ""
    metadata = _metadata(workdir, step)
    if "catalogue" in metadata:
        if AUTO not in recipes:
            return options, ""
        raise ExportError(
            f"{workdir.export} has the items of {shown(metadata['catalogue']['file'])}, not those "
            "that the run was trained on; name a recipe with --quantization."
        )
    options = dataclasses.replace(
        options,
        top_k=metadata["top_k"],
        exclude_context=metadata["excludes_context"],
        trust_ids=metadata["trusts_ids"],
        candidate_mask=any(i["source"] == CANDIDATE_MASK for i in metadata["inputs"]),
    )
    return options, (metadata.get("quantization") or {"recipe": choice.FLOAT})["recipe"]


def _files(
    workdir: Workdir,
    dataset: Dataset,
    recipes: Sequence[str],
    options: ExportConfig,
    own: str,
) -> Iterator[tuple[Accuracy, bytes]]:
    """Yields each recipe once, with a file that gives its ranks; `own` is the published recipe."""
    wanted = list(dict.fromkeys(own if recipe == AUTO else recipe for recipe in recipes))
    # The published float32 file of a catalogue this large has coarse labels.
    is_coarse = exclusion.rows_of(dataset.spec) >= coarse.FROM
    missing = [
        recipe for recipe in wanted if recipe != own or (recipe == choice.FLOAT and is_coarse)
    ]
    contents = made(workdir, missing, options) if missing else {}
    for recipe in wanted:
        file = ExportFolder(workdir.export).model if recipe == own else contents[recipe]
        yield Accuracy(recipe, len(file), recipe == own), contents.get(recipe, file)


def _metadata(workdir: Workdir, step: int) -> dict[str, Any]:
    """Reads metadata.json of the run's export; raises ExportError if it is of another step."""
    again = f"run export_tflite.py --workdir={workdir.path}"
    if not workdir.export.exists():
        raise ExportError(
            f"{workdir.path} has no export; {again}, or name a recipe with --quantization."
        )
    metadata = ExportFolder(workdir.export).metadata
    if metadata.get("step") != step:
        raise ExportError(
            f"{workdir.export} is of step {metadata.get('step')}, but the run's best checkpoint is "
            f"of step {step}; {again} again."
        )
    return metadata


def _best_step(workdir: Workdir, dataset: Dataset) -> int:
    """Step of the best checkpoint; raises ExportError unless the data are the run's."""
    checkpoints = Checkpoints(workdir.checkpoints, create=False)
    try:
        notes, step = checkpoints.latest_notes(Notes), checkpoints.best_step
    finally:
        checkpoints.close()
    workdir.check_parts(notes.run, notes.fingerprint)
    if notes.fingerprint != dataset.timelines.fingerprint():
        raise ExportError(
            f"The data are not those that {workdir.path} was trained on; give theirs with "
            "--config.data.path."
        )
    if step is None:
        raise ExportError(f"{workdir.path} has not finished an epoch; train it first.")
    return step
