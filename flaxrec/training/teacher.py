"""Models of finished runs that teach another (knowledge distillation).

The target of a label is, in part, what the softmax of the teachers' mean scores says instead of
the label alone (Hinton, Vinyals & Dean 2015, 'Distilling the knowledge in a neural network').
Shapes: B contexts of a step, n labels of each, C candidates, T the teacher's width.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp

from flaxrec.config import Config
from flaxrec.data import contexts
from flaxrec.data.contexts import DeviceTimelines
from flaxrec.data.dataset import Dataset
from flaxrec.data.spec import InputSpec, ModelSpec
from flaxrec.data.timelines import ITEM
from flaxrec.errors import ConfigError
from flaxrec.models import dual_encoder
from flaxrec.models.dual_encoder import Params, Structure
from flaxrec.training import finished
from flaxrec.training.run_assets import RunAssets
from flaxrec.training.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A model and how it reads the data.

    Attributes:
      structure: the modules.
      params: by name, on the host.
      inputs: its inputs, which the student has as well.
      context_length: of its contexts.
      most_values: see `contexts.most_values`.
      first_events: whether it tells what users' first events are.
    """

    structure: Structure
    params: Params
    inputs: tuple[InputSpec, ...]
    context_length: int
    most_values: dict[str, int]
    first_events: bool = False

    def encode(
        self, params: Params, timelines: DeviceTimelines, positions: jax.Array, labels: int
    ) -> tuple[jax.Array, jax.Array]:
        """Its contexts [B * n, T] and candidates [C, T], for contexts with n labels each.

        Args:
          params: of the teacher.
          timelines: the data.
          positions: int32 [B], the events of the contexts' last labels.
          labels: n.
        """
        model = self.structure.merge(params)
        features, windows = contexts.gather_windows(
            timelines,
            positions,
            self.inputs,
            context_length=self.context_length,
            labels=labels,
            most_values=self.most_values,
            first_events=self.first_events,
        )
        encoded = model.encode_context(features, windows)
        return encoded.reshape(-1, encoded.shape[-1]), model.label_encoder.all()


def _longer(config: Config, spec: ModelSpec, length: int) -> tuple[Config, ModelSpec]:
    """The same model with contexts of so many activities."""
    was = config.model.context_length
    model = dataclasses.replace(config.model, context_length=length)
    inputs = tuple(
        dataclasses.replace(one, length=length) if one.of_activity and one.length == was else one
        for one in spec.inputs
    )
    return dataclasses.replace(config, model=model), dataclasses.replace(spec, inputs=inputs)


def encode(
    teachers: Sequence[Teacher],
    params: Sequence[Params],
    timelines: DeviceTimelines,
    positions: jax.Array,
    labels: int,
) -> tuple[jax.Array, jax.Array] | None:
    """Contexts [B * n, T] and candidates [C, T]; whose products are the teachers' mean scores.

    None without teachers; otherwise T is the sum of their widths, and the arguments are those of
    `Teacher.encode`, with the parameters of each.
    """
    if not teachers:
        return None
    told = [
        teacher.encode(own, timelines, positions, labels)
        for teacher, own in zip(teachers, params, strict=True)
    ]
    contexts_, candidates = zip(*told, strict=True)
    together = jnp.concatenate(contexts_, axis=-1) / len(teachers)
    return together, jnp.concatenate(candidates, axis=-1)


def load(config: Config, dataset: Dataset) -> tuple[Teacher, ...]:
    """The teachers that the config names.

    Raises:
      ConfigError: one cannot teach this run.
      TrainingError: a folder is no run, or has no checkpoint.
      ExportError: a run's files are damaged.
    """
    return tuple(_load(folder, config, dataset) for folder in config.train.teachers)


def _load(folder: str, config: Config, dataset: Dataset) -> Teacher:
    workdir = Workdir(Path(folder))
    where = f"config.train.teachers has {folder}, but that model"
    own = workdir.read_config()
    assets = RunAssets(workdir.assets)
    if assets.vocabularies()[ITEM] != dataset.timelines.vocabularies[ITEM]:
        raise ConfigError(f"{where} knows other items; train it on these data.")
    if config.train.first_events and not own.train.first_events:
        raise ConfigError(
            f"{where} has not learned users' first events; train it with "
            "config.train.first_events=True, or this one with False."
        )
    spec = assets.spec()
    # The length of an input is that of its reader's contexts.
    here = {dataclasses.replace(one, length=0) for one in dataset.spec.inputs}
    missing = [one.name for one in spec.inputs if dataclasses.replace(one, length=0) not in here]
    if missing:
        raise ConfigError(
            f"{where} reads {', '.join(missing)}, which this one does not, or not in the same "
            "way; use a teacher whose inputs this model has."
        )
    structure = dual_encoder.structure_of(own, spec)
    if own.model.context_length < config.train.labels_per_context:
        own, spec = _longer(own, spec, config.train.labels_per_context)
        longer = dual_encoder.structure_of(own, spec)
        if longer.shapes != structure.shapes:
            raise ConfigError(
                f"{where} cannot read {config.train.labels_per_context} activities; lower "
                "config.train.labels_per_context to what it can, or use an LSTM as teacher."
            )
        structure = longer
    params, _ = finished.model(workdir, structure, jax.local_devices()[0])
    return Teacher(
        structure,
        jax.device_get(params),
        spec.inputs,
        own.model.context_length,
        contexts.most_values(dataset.timelines, spec.inputs, own.model.context_length),
        config.train.first_events,
    )
