"""Compiled training steps, and what they stand on: the data on the device, scans of equal length.

Shapes: S steps of a scan, B labels a step, C candidates.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from flaxrec import evaluation, losses
from flaxrec.config import Config
from flaxrec.data import contexts
from flaxrec.data.contexts import DeviceTimelines
from flaxrec.data.dataset import Dataset
from flaxrec.errors import ConfigError
from flaxrec.evaluation import Evaluator
from flaxrec.features import ModelSpec
from flaxrec.models import dual_encoder
from flaxrec.models.dual_encoder import Params, Structure
from flaxrec.parallel import Mesh
from flaxrec.quirks import Quirks


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """What a step changes."""

    params: Params
    opt_state: optax.OptState


Steps = Callable[[TrainState, DeviceTimelines, jax.Array, jax.Array], tuple[TrainState, jax.Array]]


class Job:
    """What runs of one config share, whatever their seeds: data on the device, compiled evaluation.

    Attributes:
      scans: compiled scans of an epoch.
      scan_steps: S, steps of each.
      steps_per_epoch: their product.
      steps: of the whole run.

    Raises:
      ConfigError: there are fewer training labels than a batch has, or the devices do not fit.
    """

    def __init__(self, config: Config, dataset: Dataset):
        self.config, self.dataset = config, dataset
        batch_size = config.train.batch_size
        steps = len(dataset.split.train) // batch_size
        if not steps:
            raise ConfigError(
                f"config.train.batch_size is {batch_size}, but there are only "
                f"{len(dataset.split.train)} training labels; use a smaller batch."
            )
        # Scans of equal length compile once; the few steps that do not fill one are left out of
        # an epoch's shuffled order, as are the labels that do not fill a batch.
        most = max(1, steps // config.train.log_every)
        self.scans = min(range(most, most // 2, -1), key=lambda scans: steps % scans)
        self.scan_steps = steps // self.scans
        self.steps_per_epoch = self.scans * self.scan_steps
        self.steps = self.steps_per_epoch * config.train.epochs
        self.mesh = Mesh(config.train.devices, batch_size)
        self.structure = dual_encoder.structure_of(config, dataset.spec)
        self.timelines = contexts.to_device(dataset.timelines, self.mesh.replicated)
        self.log_q = log_frequency(dataset)
        self.evaluator = Evaluator(
            self.structure,
            dataset.spec,
            config,
            self.timelines,
            evaluation.histories(dataset.timelines),
            self.mesh,
        )

    def epoch_order(self, seed: int, epoch: int) -> np.ndarray:
        """Label positions of all steps of an epoch, int32 [scans, S, B]."""
        random = np.random.default_rng([seed, epoch])
        shuffled = random.permutation(self.dataset.split.train)
        used = self.steps_per_epoch * self.config.train.batch_size
        return shuffled[:used].reshape(self.scans, self.scan_steps, -1)


def make_scan(
    structure: Structure,
    spec: ModelSpec,
    config: Config,
    optimizer: optax.GradientTransformationExtraArgs,
) -> Steps:
    """`make_steps`, compiled; the state is donated."""
    return jax.jit(make_steps(structure, spec, config, optimizer), donate_argnums=0)


def make_steps(
    structure: Structure,
    spec: ModelSpec,
    config: Config,
    optimizer: optax.GradientTransformationExtraArgs,
) -> Steps:
    """Training steps, not yet compiled.

    Returns:
      A function of the state, the data, log of the candidates' training frequency
      float32 [C] and label positions int32 [S, B]; it returns the new state and the loss of each
      step, float32 [S].
    """
    quirks = Quirks.of(config.reference_mode)
    gather = contexts.gatherer(config, spec.inputs)

    def loss_fn(
        params: Params,
        taps: Params,
        timelines: DeviceTimelines,
        log_q: jax.Array,
        positions: jax.Array,
    ) -> jax.Array:
        model = structure.merge(params, taps)
        features = gather(timelines, positions)
        labels = timelines.item[positions] - spec.first_candidate
        if config.loss.name == "global_softmax":
            return jnp.mean(losses.global_softmax(model.logits(features), labels))
        context = model.encode_context(features)
        scores = model.score(context, model.label_encoder.some(labels))
        loss = losses.batch_softmax(
            scores,
            labels,
            log_q=log_q[labels] if config.loss.logq_correction else None,
            duplicates_are_negatives=quirks.batch_duplicates_are_negatives,
        )
        return jnp.mean(loss)

    def scan(
        state: TrainState, timelines: DeviceTimelines, log_q: jax.Array, positions: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        def step(state: TrainState, batch: jax.Array) -> tuple[TrainState, jax.Array]:
            loss, (grads, squares) = jax.value_and_grad(loss_fn, argnums=(0, 1))(
                state.params, structure.zero_taps(), timelines, log_q, batch
            )
            row_norms = {name: jnp.sqrt(square) for name, square in squares.items()}
            updates, opt_state = optimizer.update(
                grads, state.opt_state, state.params, row_norms=row_norms
            )
            params = optax.apply_updates(state.params, updates)
            return TrainState(params, opt_state), loss

        return jax.lax.scan(step, state, positions)

    return scan


def log_frequency(dataset: Dataset) -> np.ndarray:
    """Log of each candidate's share of the training labels, float32 [C]."""
    labels = dataset.timelines.item[dataset.split.train] - dataset.spec.first_candidate
    counts = np.bincount(labels, minlength=dataset.spec.candidates)
    return np.log(np.maximum(counts, 1) / len(labels)).astype(np.float32)
