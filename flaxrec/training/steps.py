"""Compiled training steps: the data on the device, and scans of equal length.

Shapes: S steps of a scan, B contexts a step, n labels of a context, C candidates, N events.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from flaxrec import config as config_lib
from flaxrec.config import Config
from flaxrec.data import buckets, contexts, cooccurrence, windows
from flaxrec.data.contexts import DeviceTimelines
from flaxrec.data.dataset import Dataset
from flaxrec.data.spec import ModelSpec
from flaxrec.devices import Mesh, check_memory, device_memory
from flaxrec.errors import ConfigError
from flaxrec.evaluation import evaluator
from flaxrec.evaluation.evaluator import Evaluator
from flaxrec.models import dual_encoder, item_sums, rounded_tables, smoothing
from flaxrec.models.dual_encoder import Params, Structure
from flaxrec.models.encoders import known_encoders
from flaxrec.models.features import forget
from flaxrec.models.split_tables import SplitTables, spec_of
from flaxrec.scoring.losses import sampled_softmax
from flaxrec.training import objective, transitions
from flaxrec.training import teacher as teacher_lib
from flaxrec.training.teacher import Teacher


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """The state that a step updates."""

    params: Params
    opt_state: optax.OptState


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Targets:
    """Statistics of the training labels.

    Attributes:
      log_q: float32 [C], log of each candidate's share of them; without cold items, which are the
        last candidates: nothing is trained with those.
      trained: bool [N], whether each event is one; None if contexts have one label each.
      item_values: int32 [C, m] or float32 [C, V] by name of config.model.label_features, see
        `item_sums`.
      kernels: float32 [R, R] by input of time, see `smoothing.smoothed`.
      teachers: the teachers' parameters.
      draw_ends: uint32 [C], what negatives are drawn by, see `sampled_softmax.draw_ends`.
    """

    log_q: jax.Array
    trained: jax.Array | None = None
    item_values: dict[str, jax.Array] = dataclasses.field(default_factory=dict)
    kernels: dict[str, jax.Array] = dataclasses.field(default_factory=dict)
    teachers: tuple[Params, ...] = ()
    draw_ends: jax.Array | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batches:
    """The steps of a scan.

    Attributes:
      positions: int32 [S, B], the events of the contexts' labels (the last ones, if n > 1); packed
        [S, B, L], of all labels.
      counts: int32 [S, B], how many of a context's last n labels are trained with it.
      keys: uint32 [S, 2], random key of each step.
    """

    positions: jax.Array
    counts: jax.Array
    keys: jax.Array


Steps = Callable[[TrainState, DeviceTimelines, Targets, Batches], tuple[TrainState, jax.Array]]


class Job:
    """Shared by runs that differ only in their seed: data on the device, compiled evaluation.

    Attributes:
      targets: on the host.
      buckets: the events of the training labels in each of config.data.buckets.
      scans: scans per epoch.
      scan_steps: S, steps per scan.
      steps_per_epoch: their product.
      steps: steps of the whole run.
      labels_per_step: mean number of training labels per step.
      most_values: see `contexts.most_values`.
      teachers: models that teach this one.
      tables: how parameters lie on the devices.

    Raises:
      ConfigError: there are fewer training labels than a batch needs, or the devices do not fit.
    """

    def __init__(self, config: Config, dataset: Dataset):
        self.config, self.dataset = config, dataset
        batch_size, labels = config.train.batch_size, config.train.labels_per_context
        self.buckets = buckets.divided(dataset.timelines, dataset.split.train, config.data.buckets)
        self._runs = None
        count = len(dataset.split.train)
        if config.train.packed:
            _check_packed(config, dataset, min(len(of) for of in self.buckets))
            count = count // config.model.context_length
        elif labels > 1:
            _check_windows(config, dataset.spec)
            self._runs = [windows.label_runs(dataset.timelines, of) for of in self.buckets]
            count = sum(windows.expected(runs, labels) for runs in self._runs)
        steps = count // batch_size
        if not steps:
            is_label = self._runs is None and not config.train.packed
            raise ConfigError(
                f"config.train.batch_size is {batch_size}, but there are only {count} "
                f"{'training labels' if is_label else 'contexts to train on'}; use a smaller batch."
            )
        # Scans of equal length compile once. An epoch drops the few steps that do not fill a scan
        # and the labels that do not fill a batch.
        most = max(1, steps // config.train.log_every)
        self.scans = min(range(most, most // 2, -1), key=lambda scans: steps % scans)
        self.scan_steps = steps // self.scans
        self.steps_per_epoch = self.scans * self.scan_steps
        self.steps = self.steps_per_epoch * config.train.epochs
        self.mesh = mesh_of(config)
        self.structure = dual_encoder.structure_of(config, dataset.spec)
        self.tables = SplitTables(self.mesh, self.structure.shapes)
        _check_memory(config, self.structure, dataset.spec, self.mesh)
        self.timelines = contexts.to_device(dataset.timelines, self.mesh.replicated)
        self.labels_per_step = len(dataset.split.train) / count * batch_size
        self.teachers = teacher_lib.load(config, dataset)
        self.targets = targets_of(dataset, config)
        told = tuple(teacher.params for teacher in self.teachers)
        self.targets = dataclasses.replace(self.targets, teachers=told)
        self.most_values = contexts.most_values(
            dataset.timelines, dataset.spec.inputs, config.model.context_length
        )

        def made(params: Params, targets: Targets) -> Params:
            parts = self.tables.trimmed(params)
            return self.tables.padded(whole(config, self.structure, dataset.spec, parts, targets))

        self._whole = jax.jit(made)
        self.evaluator = Evaluator(
            self.structure,
            dataset.spec,
            config,
            self.timelines,
            evaluator.earlier_events(dataset.timelines),
            self.mesh,
            transitions.head_of(config, dataset),
            self.tables,
        )

    def whole(self, params: Params) -> Params:
        """A model's parameters from those that are trained, see the function `whole`."""
        is_whole = self.config.train.quantization == "none"
        if is_whole and not self.targets.item_values and not self.targets.kernels:
            return params
        needed = dataclasses.replace(self.targets, trained=None, teachers=())
        return self._whole(params, self.mesh.replicate(needed))

    def epoch(self, seed: int, epoch: int) -> Batches:
        """All steps of an epoch, on the host: [scans, S, ...]."""
        random, config = np.random.default_rng([seed, epoch]), self.config.train
        used = self.steps_per_epoch * config.batch_size // len(self.buckets)
        of_buckets = []
        for bucket in range(len(self.buckets)):
            # Never depends on another bucket, so that machines need not know of each other's.
            own = random
            if len(self.buckets) > 1:
                own = np.random.default_rng([seed, epoch, bucket + 1])
            positions, counts = self._contexts(bucket, own)
            # The number of windows varies with their offsets: `resize` may repeat or drop some.
            drawn = np.resize(own.permutation(len(positions)), used)
            order = drawn.reshape(self.scans, self.scan_steps, -1)
            of_buckets.append((positions[order], counts[order]))
        positions, counts = (np.concatenate(of, axis=2) for of in zip(*of_buckets, strict=True))
        keys = random.integers(0, 2**32, (self.scans, self.scan_steps, 2), np.uint32)
        return Batches(positions, counts, keys)  # type: ignore[arg-type]

    def _contexts(self, bucket: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Positions and counts of an epoch's contexts in a bucket, as in `Batches`, in order."""
        labels, config = self.buckets[bucket], self.config
        if config.train.packed:
            length = config.model.context_length
            positions = windows.pack(self.dataset.timelines, labels, length, random)
            return positions, np.full(len(positions), length, np.int32)
        if self._runs is None:
            return labels, np.ones_like(labels)
        return windows.draw(self._runs[bucket], config.train.labels_per_context, random)


def initial_params(config: Config, dataset: Dataset) -> Params:
    """A model's parameters before the first step, from config.seed and config.model.item_table."""
    structure, params = dual_encoder.create(config, dataset.spec)
    forget_cold(params, structure, dataset)
    # Zero: the noise of first values would stay in what few items have, and in new items' vectors.
    for name, of in dataset.timelines.item_values.items():
        params[item_sums.PREFIX + name] = jnp.zeros((of.rows, config.model.embedding_dim))
    if config.model.item_table == "random":
        return params
    first, candidates = dataset.spec.first_candidate, dataset.spec.candidates
    for name in structure.item_tables(dataset.spec):
        table = params[name]
        of_items = cooccurrence.item_vectors(
            dataset.timelines, dataset.split, dataset.spec, table.shape[1]
        )
        if not of_items.any():  # zeros would stay zeros
            continue
        begin = 0 if len(table) == candidates else first
        params[name] = table.at[begin : begin + candidates].set(of_items)
    return params


def forget_cold(params: Params, structure: Structure, dataset: Dataset) -> None:
    """Makes cold items' own vectors zero: no step changes them, and drawn ones would be noise."""
    end = dataset.spec.candidates
    for name in structure.item_tables(dataset.spec) if dataset.split.cold_items else ():
        table = params[name]
        first = 0 if len(table) == end else dataset.spec.first_candidate
        params[name] = table.at[first + end - dataset.split.cold_items : first + end].set(0.0)


def whole(
    config: Config,
    structure: Structure,
    spec: ModelSpec,
    params: Params,
    targets: Targets,
    key: jax.Array | None = None,
    only: jax.Array | None = None,
) -> Params:
    """A model's parameters from those that are trained.

    Sums of items and their features, smoothed tables of time, tables rounded as in the file.
    With a key, that of a training step, config.model.id_dropout leaves out items' own vectors.
    `only` as in `item_sums.summed`.
    """
    share = config.model.id_dropout
    kept = jnp.arange(spec.candidates) < len(targets.log_q)  # cold items have no own vector
    if key is not None and share:
        kept &= jax.random.bernoulli(key, 1 - share, (spec.candidates,))
    split = config.train.model_shards > 1
    summed = item_sums.summed(structure, spec, params, targets.item_values, kept, only, split)
    smooth = smoothing.smoothed(summed, targets.kernels)
    return rounded_tables.rounded(smooth, structure.item_tables(spec), config.train.quantization)


def mesh_of(config: Config) -> Mesh:
    """The devices of a run; raises ConfigError as `Mesh`."""
    train = config.train
    return Mesh(train.devices, train.batch_size, train.model_shards)


def first_state(
    params: Params, optimizer: optax.GradientTransformation, tables: SplitTables
) -> TrainState:
    """The state before the first step, on the devices; `params` are whole."""
    if not tables.names:
        return tables.place(TrainState(params, jax.jit(optimizer.init)(params)))
    placed = tables.place(params)
    # Made of padded tables: no device has an optimiser's state of whole ones.
    return TrainState(placed, jax.jit(lambda p: tables.padded(optimizer.init(p)))(placed))


def is_evaluated(config: Config, epoch: int) -> bool:
    """Whether the validation labels are ranked after an epoch, counted from 1."""
    return epoch % config.evaluation.every == 0 or epoch == config.train.epochs


def ones_of(positions: jax.Array) -> Batches:
    """Batches of contexts with one label each, at int32 [S, B], with zero random keys."""
    counts, keys = jnp.ones(positions.shape, jnp.int32), jnp.zeros((len(positions), 2), jnp.uint32)
    return Batches(positions, counts, keys)


def make_scan(
    structure: Structure,
    spec: ModelSpec,
    config: Config,
    optimizer: optax.GradientTransformationExtraArgs,
    most_values: dict[str, int] | None = None,
    teachers: tuple[Teacher, ...] = (),
    tables: SplitTables | None = None,
) -> Steps:
    """`make_steps`, compiled; the state is donated."""
    steps = make_steps(structure, spec, config, optimizer, most_values, teachers, tables)
    return jax.jit(steps, donate_argnums=0)


def make_steps(
    structure: Structure,
    spec: ModelSpec,
    config: Config,
    optimizer: optax.GradientTransformationExtraArgs,
    most_values: dict[str, int] | None = None,
    teachers: tuple[Teacher, ...] = (),
    tables: SplitTables | None = None,
) -> Steps:
    """Training steps, not yet compiled.

    The optimizer is from `optimizers.make_optimizer`. `most_values` is from `contexts.most_values`;
    it is needed if a context has several labels. `tables`: how the state lies on the devices.

    Returns:
      A function of state, timelines, targets and batches; it returns the new state and each step's
      loss, float32 [S].
    """
    read = objective.reader(config, spec, most_values or {})
    loss_of = objective.loss(config)

    def loss_fn(
        params: Params,
        taps: Params,
        timelines: DeviceTimelines,
        targets: Targets,
        batch: Batches,
    ) -> jax.Array:
        keys = jax.random.split(jax.random.wrap_key_data(batch.keys))
        of_ids = jax.random.fold_in(keys[0], 2)
        params = params if tables is None else tables.trimmed(params)
        examples = read(timelines, targets.trained, batch.positions, batch.counts)
        only = objective.needed(config, structure, spec, examples, targets.draw_ends, keys[1])
        made = whole(config, structure, spec, params, targets, of_ids, only)
        model = structure.merge(made, taps)
        features = examples.features
        if config.model.feature_dropout:
            own = jax.random.fold_in(keys[0], 1)
            features = forget(features, spec.inputs, config.model.feature_dropout, own)
        context = model.encode_context(
            features, examples.prefixes, keys[0] if config.model.dropout else None
        )
        context = context.reshape(-1, context.shape[-1])
        n = config.train.labels_per_context
        taught = teacher_lib.encode(teachers, targets.teachers, timelines, batch.positions, n)
        return loss_of(model, context, examples, targets.log_q, keys[1], taught, targets.draw_ends)

    def scan(
        state: TrainState, timelines: DeviceTimelines, targets: Targets, batches: Batches
    ) -> tuple[TrainState, jax.Array]:
        def step(state: TrainState, batch: Batches) -> tuple[TrainState, jax.Array]:
            loss, (grads, squares) = jax.value_and_grad(loss_fn, argnums=(0, 1))(
                state.params,
                structure.zero_taps(),
                timelines,
                targets,
                batch,
            )
            row_norms = {name: jnp.sqrt(square) for name, square in squares.items()}
            updates, opt_state = optimizer.update(
                grads, state.opt_state, state.params, row_norms=row_norms
            )
            params = optax.apply_updates(state.params, updates)
            return TrainState(params, opt_state), loss

        new, losses = jax.lax.scan(step, state, batches)
        return new if tables is None else tables.padded(new), losses

    return scan


def targets_of(dataset: Dataset, config: Config) -> Targets:
    """The targets, on the host."""
    rows = dataset.timelines.item[dataset.split.train] - dataset.spec.first_candidate
    counts = np.bincount(rows, minlength=dataset.spec.candidates - dataset.split.cold_items)
    counts = np.maximum(counts, 1)
    log_q = np.log(counts / len(rows)).astype(np.float32)
    ends = sampled_softmax.draw_ends(counts, config.loss.negatives_power)
    values = {name: of.values for name, of in dataset.timelines.item_values.items()}
    kernels = smoothing.weights(dataset.timelines, dataset.split.train)
    trained = None
    if config.train.labels_per_context > 1:
        trained = np.zeros(len(dataset.timelines.item), bool)
        trained[dataset.split.train] = True
    return Targets(log_q, trained, values, kernels, draw_ends=ends)  # type: ignore[arg-type]


def _check_packed(config: Config, dataset: Dataset, fewest: int) -> None:
    """Raises ConfigError if contexts of several users cannot be trained in one row.

    `fewest` are the training labels of the smallest bucket.
    """
    where = "config.train.packed is True, but"
    encoders, length = known_encoders(config), config.model.context_length
    if fewest < length:  # a row would repeat its labels, and see them
        of = " in a bucket" if config.data.buckets > 1 else ""
        raise ConfigError(
            f"{where} there are only {fewest} training labels{of}, and "
            f"config.model.context_length={length} are a row; use a shorter context, or False."
        )
    for path, group in config_lib.groups(config.model):
        if not encoders[group.encoder].encodes_packed:
            raise ConfigError(
                f"{where} the {group.encoder} of config.{path} reads one user's context at a time; "
                "use bow, recency_bow, lstm or attention, or False."
            )
    for spec in dataset.spec.inputs:
        if spec.of_label:
            continue
        if not spec.of_activity or spec.multi_valued or spec.length != length:
            raise ConfigError(
                f"{where} the input {spec.name} does not have one value for each activity of the "
                "context; leave it out, or use False."
            )
    train, user = dataset.split.train, dataset.timelines.user
    if ((np.diff(train) != 1) & (user[train[1:]] == user[train[:-1]])).any():
        raise ConfigError(
            f"{where} the split {dataset.split.protocol} leaves gaps between a user's training "
            "labels; use the protocol leave_one_out, global_time or cold_items, or False."
        )


def _check_memory(config: Config, structure: Structure, spec: ModelSpec, mesh: Mesh) -> None:
    """Raises ConfigError if parameters, or what enters a step, are beyond the device's memory."""
    parameters = sum(
        math.prod(of.shape) // (mesh.shards if spec_of(name, of.shape, mesh.shards) else 1)
        for name, of in structure.shapes.items()
    )
    there = device_memory()
    # Each with its gradient and the optimiser's averages, all in float32.
    copies = 3 if config.optimizer.name == "adagrad" else 4
    check_memory(
        f"Training {parameters:,} parameters with config.optimizer.name={config.optimizer.name}",
        4 * copies * parameters,
        there,
        "lower config.model.embedding_dim, the widths of config.model, or vocab_size of a feature",
    )
    values = sum(i.length for i in spec.inputs)
    check_memory(
        f"A step of {config.train.batch_size:,} contexts of {values:,} values",
        4 * values * config.train.batch_size,
        there * mesh.rows,
        "lower config.train.batch_size or config.model.context_length",
    )
    if config.evaluation.max_megabytes:
        return
    check_memory(
        f"The scores of {config.evaluation.batch_size:,} labels and {spec.candidates:,} items",
        4 * (spec.candidates + values) * config.evaluation.batch_size,
        there * mesh.size,
        "lower config.evaluation.batch_size, or set config.evaluation.max_megabytes",
    )


def _check_windows(config: Config, spec: ModelSpec) -> None:
    """Raises ConfigError if a context's prefixes cannot be separated in its encoding."""
    specs = {i.name: i for i in spec.inputs}
    encoders, length = known_encoders(config), config.model.context_length
    for path, group in config_lib.groups(config.model):
        of = [specs[feature.name] for feature in group.features]
        if not of[0].of_activity:
            continue
        apart = any(i.multi_valued or i.length != length for i in of)
        too_long = any(i.length > length and not i.multi_valued for i in of)
        if (
            too_long
            or (apart and not encoders[group.encoder].encodes_ranges)
            or (any(i.multi_valued for i in of) and len(of) > 1)
        ):
            raise ConfigError(
                f"config.train.labels_per_context is {config.train.labels_per_context}, but "
                f"config.{path} does not read one value for each activity of the context; give it "
                "the bow encoder (a multi-valued feature in a group of its own), or use 1."
            )
