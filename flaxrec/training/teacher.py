"""The model of a finished run that teaches another (knowledge distillation).

The target of a label is, in part, what the teacher's softmax says instead of the label alone
(Hinton, Vinyals & Dean 2015, 'Distilling the knowledge in a neural network').
Shapes: B contexts of a step, n labels of each, C candidates, T the teacher's width.
"""

import dataclasses
from pathlib import Path

import jax

from flaxrec.config import Config
from flaxrec.data import contexts
from flaxrec.data.contexts import DeviceTimelines
from flaxrec.data.dataset import Dataset
from flaxrec.data.spec import InputSpec
from flaxrec.data.timelines import ITEM
from flaxrec.errors import ConfigError
from flaxrec.models import dual_encoder
from flaxrec.models.dual_encoder import Params, Structure
from flaxrec.training.checkpoints import Checkpoints
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
    """

    structure: Structure
    params: Params
    inputs: tuple[InputSpec, ...]
    context_length: int
    most_values: dict[str, int]

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
        )
        encoded = model.encode_context(features, windows)
        return encoded.reshape(-1, encoded.shape[-1]), model.label_encoder.all()


def load(config: Config, dataset: Dataset) -> Teacher | None:
    """The teacher that the config names; None: it names none.

    Raises:
      ConfigError: it cannot teach this run.
      TrainingError: the folder is no run, or has no checkpoint.
      ExportError: the run's files are damaged.
    """
    if not config.train.teacher:
        return None
    workdir = Workdir(Path(config.train.teacher))
    where = f"config.train.teacher is {config.train.teacher}, but that model"
    own = workdir.read_config()
    assets = RunAssets(workdir.assets)
    if assets.vocabularies()[ITEM] != dataset.timelines.vocabularies[ITEM]:
        raise ConfigError(f"{where} knows other items; train it on these data.")
    spec = assets.spec()
    missing = [one.name for one in spec.inputs if one not in dataset.spec.inputs]
    if missing:
        raise ConfigError(
            f"{where} reads {', '.join(missing)}, which this one does not, or not in the same "
            "way; use a teacher whose inputs this model has."
        )
    if own.model.context_length < config.train.labels_per_context:
        raise ConfigError(
            f"{where} has contexts of {own.model.context_length} activities, fewer than "
            f"config.train.labels_per_context={config.train.labels_per_context}; lower that."
        )
    structure = dual_encoder.structure_of(own, spec)
    checkpoints = Checkpoints(workdir.checkpoints, create=False)
    try:
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        params, _ = checkpoints.restore_best(structure.shapes, here)
    finally:
        checkpoints.close()
    return Teacher(
        structure,
        jax.device_get(params),
        spec.inputs,
        own.model.context_length,
        contexts.most_values(dataset.timelines, spec.inputs, own.model.context_length),
    )
