"""What a run gives to others: to its export, to a student, to a run that begins with it."""

import contextlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from flaxrec.data.item_features import Known
from flaxrec.models import item_sums
from flaxrec.models.dual_encoder import Params, Structure
from flaxrec.training.checkpoints import BestNotes, Checkpoints
from flaxrec.training.workdir import Workdir


def model(workdir: Workdir, structure: Structure, device: jax.Device) -> tuple[Params, BestNotes]:
    """The best checkpoint's parameters, on the device, and its notes.

    Raises:
      TrainingError: there is none, it cannot be read, or config and data are of another run.
      ExportError: the assets are.
    """
    sharding = jax.sharding.SingleDeviceSharding(device)
    with contextlib.closing(Checkpoints(workdir.checkpoints, create=False)) as checkpoints:
        params, notes = checkpoints.restore_best(structure.shapes, sharding, BestNotes)
    workdir.check_parts(notes.run, notes.fingerprint)
    return params, notes


def tower(workdir: Workdir, known: Mapping[str, Known], width: int, device: jax.Device) -> Params:
    """The best parameters of the label tower, by `item_sums.PREFIX` and the feature's name.

    Args:
      workdir: the run.
      known: its features, from `RunAssets.label_features`.
      width: config.model.embedding_dim.
      device: to place them on.

    Raises:
      TrainingError: they cannot be read.
    """
    shapes = {
        item_sums.PREFIX + name: jax.ShapeDtypeStruct((of.rows, width), jnp.float32)
        for name, of in known.items()
    }
    sharding = jax.sharding.SingleDeviceSharding(device)
    with contextlib.closing(Checkpoints(workdir.checkpoints, create=False)) as checkpoints:
        return checkpoints.restore_tower(shapes, sharding)
