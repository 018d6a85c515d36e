"""Trains runs that differ only in seed, learning rate or weight decay as one compiled program.

    configs -> one state with a leading axis of members -> vmap over the training steps
            -> a finished run folder for each member, as `training.Run` leaves it

Where one small model leaves an accelerator mostly idle, all members cost little more than one.
Each member's result equals that of `training.train` with its config, within rounding.
Shapes: M members (padded to a multiple of the devices), S steps per scan, B labels per step.
"""

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flaxrec import config as config_lib
from flaxrec.config import Config
from flaxrec.data import contexts
from flaxrec.data.contexts import DeviceTimelines
from flaxrec.data.dataset import Dataset, prepare
from flaxrec.devices import Mesh
from flaxrec.errors import ConfigError, TrainingError
from flaxrec.models import item_sums
from flaxrec.terminal.progress import progress
from flaxrec.training import loggers, optimizers, steps
from flaxrec.training.checkpoints import Checkpoints
from flaxrec.training.notes import Notes, best_notes
from flaxrec.training.run import Before, Result, Run
from flaxrec.training.steps import Batches, Job, Targets, TrainState, make_steps
from flaxrec.training.validation import validate
from flaxrec.training.workdir import MetricsLog, MetricsRow, Workdir

MAY_DIFFER = ("seed", "optimizer.learning_rate", "optimizer.weight_decay")


def train(
    configs: Sequence[Config],
    workdirs: Sequence[Workdir],
    folder: Path,
    say: Callable[[str], None] = print,
    before: Before | None = None,
) -> list[Result | TrainingError]:
    """Trains the configs together or resumes them; evaluates the best parameters of each.

    Args:
      configs: validated; they may differ only in `MAY_DIFFER`.
      workdirs: one run folder per config, new or from an earlier call.
      folder: keeps the common state during training; removed at the end.
      say: called with one line of progress at a time.
      before: as for `training.train`.

    Returns:
      One result or error per config, in order; a member whose loss is not finite stops alone.

    Raises:
      ConfigError: the configs differ in other fields, have config.train.warm_start, or split
        tables.
      TrainingError: a folder is another run's, or the data changed.
    """
    for config, workdir in zip(configs, workdirs, strict=True):
        different = set(config_lib.differences(configs[0], config)) - set(MAY_DIFFER)
        if different:
            raise ConfigError(
                f"Runs side by side differ in config.{sorted(different)[0]}; only "
                f"{', '.join(MAY_DIFFER)} may differ, train others one by one."
            )
        if config.train.warm_start:
            raise ConfigError(
                "Runs side by side do not begin with config.train.warm_start; train them one by "
                "one."
            )
        if config.train.model_shards > 1:
            raise ConfigError(
                f"Runs side by side have whole tables, but config.train.model_shards is "
                f"{config.train.model_shards}; use 1, or train them one by one."
            )
        if config.recipe != "by_data":
            workdir.check(config)  # before the data are read, which may take long
    loggers.found(configs[0])
    dataset = prepare(configs[0])
    configs = [validate(dataset.resolved(config)) for config in configs]
    for config, workdir in zip(configs, workdirs, strict=True):
        workdir.check(config)
    if before and not folder.exists():
        before(configs[0], dataset.spec, say)
    members = Members(configs, dataset, folder, say)
    with contextlib.closing(members), jax.transfer_guard("disallow"):
        members.train()
    results: list[Result | TrainingError] = []
    for i, (member, workdir) in enumerate(zip(members.members, workdirs, strict=True)):
        if member.failure:
            results.append(TrainingError(member.failure))
            continue
        members.write_run(i, workdir)
        run = Run(member.config, dataset, workdir, lambda line: None, members.job)
        with contextlib.ExitStack() as stack:
            run.open(stack)
            stack.enter_context(jax.transfer_guard("disallow"))
            reached = run.test()
        speed = members.examples_per_second
        results.append(dataclasses.replace(reached, examples_per_second=speed))
    shutil.rmtree(folder)
    return results


@dataclasses.dataclass(frozen=True)
class _Saved:
    """Notes of the common checkpoint: a value for each member."""

    members: list[Notes]
    rows: list[list[MetricsRow]]
    failures: list[str]
    configs: list[str]  # SHA-256


@dataclasses.dataclass
class _Member:
    """One run: its progress, its rows of metrics.jsonl, and why it failed, if it did."""

    config: Config
    notes: Notes
    asked: str | None = None  # see `ModelSpec.asked`
    sampled_from: dict[str, int] = dataclasses.field(default_factory=dict)  # see `Split`
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    failure: str = ""

    @property
    def is_active(self) -> bool:
        return not self.failure and not self.notes.are_done(self.config)

    def add_row(self, split: str, metrics: dict[str, float], **other: Any) -> None:
        row = {"step": self.notes.step, "epoch": self.notes.epoch, "split": split}
        row |= {"protocol": self.config.split.protocol, "metrics": metrics}
        if there := self.sampled_from.get(split):
            row["sampled_from"] = there
        self.rows.append(row | other | ({"asked": self.asked} if self.asked else {}))


class Members:
    """All members' states in one pytree, the notes of each, and one common checkpoint."""

    def __init__(
        self, configs: Sequence[Config], dataset: Dataset, folder: Path, say: Callable[[str], None]
    ):
        self.dataset, self.say = dataset, say
        fingerprint = dataset.timelines.fingerprint()
        asked = dataset.spec.asked
        self.members = [
            _Member(c, Notes(fingerprint=fingerprint), asked, dataset.split.sampled_from)
            for c in configs
        ]
        self.config = configs[0]
        self.job = Job(self.config, dataset)
        devices = min(len(configs), self.config.train.devices or len(jax.devices()))
        slots = -(-len(configs) // devices) * devices
        self._mesh = Mesh(devices, slots)
        # Unused slots repeat the last config; their results are ignored.
        self._configs = [*configs, *[configs[-1]] * (slots - len(configs))]
        self._timelines = contexts.to_device(dataset.timelines, self._mesh.replicated)
        self._targets = self._mesh.replicate(self.job.targets)
        rates = {
            name: np.array([getattr(c.optimizer, name) for c in self._configs], np.float32)
            for name in ("learning_rate", "weight_decay")
        }
        self._rates = jax.tree.map(self._mesh.shard, rates)
        initial = [self._initial(config) for config in self._configs]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *initial)
        self.state: TrainState = jax.tree.map(self._mesh.shard, stacked)
        self.best = jax.tree.map(np.copy, stacked.params)  # on the host
        self.examples_per_second = 0.0
        self._seconds, self._labels = 0.0, 0
        self._compile()
        self._checkpoints = Checkpoints(folder)
        self._resume(folder)

    def close(self) -> None:
        """Waits for pending writes."""
        self._checkpoints.close()

    def train(self) -> None:
        """Trains until every member has reached its last epoch or the end of its patience."""
        seeds = ", ".join(str(member.config.seed) for member in self.members)
        self.say(f"{len(self.members)} runs side by side (seeds {seeds})")
        while active := [i for i, member in enumerate(self.members) if member.is_active]:
            losses = self._train_epoch(active)
            self._end_epoch([i for i in active if not self.members[i].failure], losses)
        if self._seconds:
            self.examples_per_second = self._labels / self._seconds

    def write_run(self, i: int, workdir: Workdir) -> None:
        """Writes the run folder of member i as `training.train` would."""
        member = self.members[i]
        workdir.claim(member.config)
        shutil.rmtree(workdir.checkpoints, ignore_errors=True)
        listening = loggers.begin(member.config, workdir.path)
        with contextlib.closing(MetricsLog(workdir, 0, 0, listening)) as log:
            for row in member.rows:
                log.write(row)
            run = workdir.identity(member.notes.fingerprint)
            notes = dataclasses.replace(member.notes, metrics_bytes=log.bytes, run=run)
        state = self._take(jax.device_get(self.state), i)
        params = self._take(self.best, i)
        best, tower = self.job.whole(params), item_sums.parts(params)
        with contextlib.closing(Checkpoints(workdir.checkpoints)) as checkpoints:
            checkpoints.save_latest(notes.step, state, dataclasses.asdict(notes))
            epoch = notes.best_step // self.job.steps_per_epoch
            checkpoints.save_best(notes.best_step, best, best_notes(notes, epoch), tower)

    # ---- compiled functions ----

    def _initial(self, config: Config) -> TrainState:
        params = steps.initial_params(config, self.dataset)
        optimizer = optimizers.make_optimizer(config.optimizer, self.job.steps)
        return jax.device_get(TrainState(params, optimizer.init(params)))

    def _compile(self) -> None:
        config, spec, steps = self.config, self.dataset.spec, self.job.steps

        def member(
            state: TrainState,
            rates: dict[str, Any],
            active: jax.Array,
            batches: Batches,
            timelines: DeviceTimelines,
            targets: Targets,
        ) -> tuple[TrainState, jax.Array, jax.Array]:
            own = dataclasses.replace(config.optimizer, **rates)
            optimizer = optimizers.make_optimizer(own, steps)
            scan = make_steps(
                self.job.structure, spec, config, optimizer, self.job.most_values, self.job.teachers
            )
            new, losses = scan(state, timelines, targets, batches)
            # A finished member keeps its state.
            kept = jax.tree.map(lambda n, o: jnp.where(active, n, o), new, state)
            finite = jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(kept)]).all()
            return kept, losses, finite

        axes = (0, 0, 0, 0, None, None)
        self._scan = jax.jit(jax.vmap(member, axes), donate_argnums=0)

    def _take(self, tree: Any, i: int) -> Any:
        """Moves member i's part of a host tree to the devices for evaluation."""
        return self.job.mesh.replicate(jax.tree.map(lambda x: x[i], tree))

    # ---- epochs ----

    def _train_epoch(self, active: list[int]) -> np.ndarray:
        """The mean loss of each slot, float [M]."""
        epoch = self.members[active[0]].notes.epoch
        drawn = [self.job.epoch(config.seed, epoch) for config in self._configs]
        epochs = jax.tree.map(lambda *members: np.stack(members), *drawn)
        mask = self._mesh.shard(np.isin(np.arange(len(self._configs)), active))
        per_scan = round(self.job.labels_per_step * self.job.scan_steps)
        means = []
        what = f"epoch {epoch + 1}/{self.config.train.epochs} of {len(active)} runs"
        with progress(what, per_scan * self.job.scans, "labels") as advance:
            for scan in range(self.job.scans):
                start = time.perf_counter()
                batches = jax.tree.map(lambda x, s=scan: self._mesh.shard(x[:, s]), epochs)
                self.state, losses, finite = self._scan(
                    self.state, self._rates, mask, batches, self._timelines, self._targets
                )
                losses, finite = jax.device_get((losses, finite))
                if self._labels or epoch or scan:  # the very first scan also compiles
                    self._seconds += time.perf_counter() - start
                    self._labels += per_scan * len(active)
                means.append(losses.mean(axis=1))
                for i in active:
                    member = self.members[i]
                    if member.failure:
                        continue
                    member.notes.step += self.job.scan_steps
                    if not (np.isfinite(losses[i]).all() and finite[i]):
                        member.failure = (
                            f"Training stopped: the loss or a parameter before step "
                            f"{member.notes.step} is not a finite number; lower "
                            "config.optimizer.learning_rate or set config.optimizer.clip_norm."
                        )
                    member.add_row("train", {"loss": float(means[-1][i])})
                advance(per_scan)
        return np.mean(means, axis=0)

    def _end_epoch(self, kept: list[int], losses: np.ndarray) -> None:
        """Evaluates members that did not fail; saves the best parameters and a checkpoint."""
        validation, name = self.dataset.split.validation, self.config.train.select_metric
        params, reached = jax.device_get(self.state.params), []
        for i in kept:
            member, metric = self.members[i], None
            if not steps.is_evaluated(self.config, member.notes.epoch + 1):
                member.notes.skip_evaluation()
                continue
            if len(validation):
                own = self.job.whole(self._take(params, i))
                ranks = self.job.evaluator(own, validation, "validation")
                means = ranks.means(self.config.evaluation.ks)
                member.add_row("validation", means, epoch=member.notes.epoch + 1)
                metric = means[name]
                reached.append(metric)
            if member.notes.end_epoch(metric, name):
                for key, value in params.items():
                    self.best[key][i] = value[i]
        self._save()
        if not kept:
            return
        epoch, epochs = self.members[kept[0]].notes.epoch, self.config.train.epochs
        line = f"epoch {epoch}/{epochs}: train loss {losses[kept].mean():.4f}"
        if reached:
            line += f", validation {name} {np.mean(reached):.4f}"
            line += f" ({min(reached):.4f} to {max(reached):.4f})"
        self.say(line)

    # ---- the common checkpoint ----

    def _save(self) -> None:
        notes = {
            "members": [dataclasses.asdict(member.notes) for member in self.members],
            "rows": [member.rows for member in self.members],
            "failures": [member.failure for member in self.members],
            "configs": [config_lib.sha256(member.config) for member in self.members],
        }
        step = max(member.notes.step for member in self.members)
        self._checkpoints.save_latest(step, (self.state, self.best), notes)

    def _resume(self, folder: Path) -> None:
        if self._checkpoints.latest_step is None:
            return
        saved = self._checkpoints.latest_notes(_Saved)
        ours = [config_lib.sha256(member.config) for member in self.members]
        fingerprints = {notes.fingerprint for notes in saved.members}
        lengths = {len(saved.members), len(saved.rows), len(saved.failures), len(ours)}
        if (
            saved.configs != ours
            or fingerprints != {self.members[0].notes.fingerprint}
            or len(lengths) > 1
        ):
            raise TrainingError(
                f"{folder} holds runs with other configs or on other data; remove it, or use "
                "another --workdir."
            )
        template = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), self.state
        )
        (self.state, best), _ = self._checkpoints.restore_latest((template, self.best))
        self.best = jax.tree.map(np.array, best)
        found = zip(saved.members, saved.rows, saved.failures, strict=True)
        for member, (notes, rows, failure) in zip(self.members, found, strict=True):
            member.notes, member.failure = notes, failure
            member.rows = [dict(row) for row in rows]
        step = max(member.notes.step for member in self.members)
        self.say(f"resuming side by side after step {step}")
