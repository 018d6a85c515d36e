"""Runs that differ only in seed, learning rate or weight decay, trained as one compiled program.

    configs -> one state with a leading axis of members -> vmap over the training steps
            -> a finished run folder for each member, as `training.Run` leaves it

On an accelerator that a single small model leaves idle, the members cost little more than one of
them. Each member is the run that `training.train` makes of its config, within rounding.
Shapes: M members (padded to a multiple of the devices), S steps of a scan, B labels a step.
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
from flaxrec.models import dual_encoder
from flaxrec.progress import progress
from flaxrec.training import optimizers
from flaxrec.training.checkpoints import Checkpoints
from flaxrec.training.run import Notes, Result, Run
from flaxrec.training.steps import Batches, Job, Targets, TrainState, make_steps
from flaxrec.training.workdir import MetricsLog, Workdir

MAY_DIFFER = ("seed", "optimizer.learning_rate", "optimizer.weight_decay")


def train(
    configs: Sequence[Config],
    workdirs: Sequence[Workdir],
    folder: Path,
    say: Callable[[str], None] = print,
) -> list[Result | TrainingError]:
    """Trains the configs together, or goes on where they stopped; evaluates each one's best.

    Args:
      configs: validated; they differ in `MAY_DIFFER` at most.
      workdirs: one run folder a config; each must be new, or this function's own of before.
      folder: keeps the state of all while they train; removed at the end.
      say: told what happens, a line at a time.

    Returns:
      What each reached, in order, or why it failed; a member whose loss is not finite stops alone.

    Raises:
      ConfigError: the configs differ in more.
      TrainingError: a folder is another run's, or the data changed.
    """
    for config, workdir in zip(configs, workdirs, strict=True):
        different = set(config_lib.differences(configs[0], config)) - set(MAY_DIFFER)
        if different:
            raise ConfigError(
                f"Runs side by side differ in config.{sorted(different)[0]}; only "
                f"{', '.join(MAY_DIFFER)} may differ, train others one by one."
            )
        workdir.check(config)
    dataset = prepare(configs[0])
    members = Members(configs, dataset, folder, say)
    with contextlib.closing(members), jax.transfer_guard("disallow"):
        members.train()
    results: list[Result | TrainingError] = []
    for i, (config, workdir) in enumerate(zip(configs, workdirs, strict=True)):
        if members.failures[i]:
            results.append(TrainingError(members.failures[i]))
            continue
        members.write_run(i, workdir)
        run = Run(config, dataset, workdir, lambda line: None, members.job)
        with contextlib.ExitStack() as stack:
            run.open(stack)
            with jax.transfer_guard("disallow"):
                reached = run.test()
        results.append(
            dataclasses.replace(reached, examples_per_second=members.examples_per_second)
        )
    shutil.rmtree(folder)
    return results


class Members:
    """All members' states in one pytree, each member's notes and rows, and one checkpoint."""

    def __init__(
        self, configs: Sequence[Config], dataset: Dataset, folder: Path, say: Callable[[str], None]
    ):
        self.configs, self.dataset, self.say = configs, dataset, say
        self.config = config = configs[0]
        self.job = Job(config, dataset)
        count = len(configs)
        devices = min(count, config.train.devices or len(jax.devices()))
        slots = -(-count // devices) * devices
        self._mesh = Mesh(devices, slots)
        # Places that no config fills repeat the last one; nothing is read of them.
        self._configs = [*configs, *[configs[-1]] * (slots - count)]
        self._timelines = contexts.to_device(dataset.timelines, self._mesh.replicated)
        self._targets = self._mesh.replicate(self.job.targets)
        self._hyper = {
            name: self._mesh.shard(np.array([read(c) for c in self._configs], np.float32))
            for name, read in {
                "learning_rate": lambda c: c.optimizer.learning_rate,
                "weight_decay": lambda c: c.optimizer.weight_decay,
            }.items()
        }
        made = [self._initial(config) for config in self._configs]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *made)
        self.state: TrainState = jax.tree.map(self._mesh.shard, stacked)
        self.best = jax.tree.map(jnp.copy, self.state.params)
        self.notes = [Notes(fingerprint=dataset.timelines.fingerprint()) for _ in configs]
        self.rows: list[list[dict[str, Any]]] = [[] for _ in configs]
        self.failures = [""] * count
        self.examples_per_second = 0.0
        self._seconds, self._labels = 0.0, 0
        self._compile()
        self._checkpoints = Checkpoints(folder)
        self._resume(folder)

    def close(self) -> None:
        """Waits for what is being written."""
        self._checkpoints.close()

    def train(self) -> None:
        """Trains until every member's epochs or patience are over."""
        names = ", ".join(str(config.seed) for config in self.configs)
        self.say(f"{len(self.configs)} runs side by side (seeds {names})")
        while active := self._active():
            losses = self._train_epoch(active)
            self._end_epoch(active, losses)
        if self._seconds:
            self.examples_per_second = self._labels / self._seconds

    def write_run(self, i: int, workdir: Workdir) -> None:
        """Makes the folder of member i as its own training would have left it."""
        workdir.claim(self.configs[i])
        shutil.rmtree(workdir.checkpoints, ignore_errors=True)
        with contextlib.closing(MetricsLog(workdir, 0, 0)) as log:
            for row in self.rows[i]:
                log.write(row)
            notes = dataclasses.replace(self.notes[i], metrics_bytes=log.bytes)
        state, best = self._take(self.state, i), self._take(self.best, i)
        with contextlib.closing(Checkpoints(workdir.checkpoints)) as checkpoints:
            checkpoints.save_latest(notes.step, state, dataclasses.asdict(notes))
            epoch = notes.best_step // self.job.steps_per_epoch
            described = {"step": notes.best_step, "epoch": epoch, "metric": notes.best_metric}
            checkpoints.save_best(notes.best_step, best, described)

    # ---- compiled functions ----

    def _initial(self, config: Config) -> TrainState:
        _, params = dual_encoder.create(config, self.dataset.spec)
        optimizer = optimizers.make_optimizer(config.optimizer, self.job.steps)
        return jax.device_get(TrainState(params, optimizer.init(params)))

    def _compile(self) -> None:
        config, spec, steps = self.config, self.dataset.spec, self.job.steps

        def member(
            state: TrainState,
            hyper: dict[str, Any],
            active: jax.Array,
            batches: Batches,
            timelines: DeviceTimelines,
            targets: Targets,
        ) -> tuple[TrainState, jax.Array, jax.Array]:
            own = dataclasses.replace(config.optimizer, **hyper)
            optimizer = optimizers.make_optimizer(own, steps)
            scan = make_steps(self.job.structure, spec, config, optimizer, self.job.most_values)
            new, losses = scan(state, timelines, targets, batches)
            # A member that is done stays as it was.
            kept = jax.tree.map(lambda n, o: jnp.where(active, n, o), new, state)
            finite = jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(kept)]).all()
            return kept, losses, finite

        axes = (0, 0, 0, 0, None, None)
        self._scan = jax.jit(jax.vmap(member, axes), donate_argnums=0)
        self._keep_best = jax.jit(
            lambda best, params, better: jax.tree.map(
                lambda b, p: jnp.where(better.reshape(-1, *[1] * (b.ndim - 1)), p, b), best, params
            )
        )

    def _take(self, tree: Any, i: int) -> Any:
        """Member i's part, on the devices of evaluation."""
        return self.job.mesh.replicate(jax.tree.map(lambda x: x[i], jax.device_get(tree)))

    # ---- epochs ----

    def _active(self) -> list[int]:
        return [
            i
            for i, notes in enumerate(self.notes)
            if not self.failures[i] and not notes.are_done(self.config)
        ]

    def _train_epoch(self, active: list[int]) -> np.ndarray:
        epoch = self.notes[active[0]].epoch
        drawn = [self.job.epoch(config.seed, epoch) for config in self._configs]
        epochs = jax.tree.map(lambda *members: np.stack(members), *drawn)
        mask = np.array([i in active for i in range(len(self._configs))])
        on_device = self._mesh.shard(mask)
        per_scan = round(self.job.labels_per_step * self.job.scan_steps)
        means = []
        what = f"epoch {epoch + 1}/{self.config.train.epochs} of {len(active)} runs"
        with progress(what, per_scan * self.job.scans, "labels") as advance:
            for scan in range(self.job.scans):
                start = time.perf_counter()
                batches = jax.tree.map(lambda x, s=scan: self._mesh.shard(x[:, s]), epochs)
                self.state, losses, finite = self._scan(
                    self.state, self._hyper, on_device, batches, self._timelines, self._targets
                )
                losses, finite = jax.device_get((losses, finite))
                if self._labels or epoch or scan:  # the first scan of all also compiles
                    self._seconds += time.perf_counter() - start
                    self._labels += per_scan * len(active)
                means.append(losses.mean(axis=1))
                for i in [i for i in active if not self.failures[i]]:
                    self.notes[i].step += self.job.scan_steps
                    if not (np.isfinite(losses[i]).all() and finite[i]):
                        self._fail(i)
                    self._add_row(i, "train", {"loss": float(means[-1][i])})
                advance(per_scan)
        return np.mean(means, axis=0)

    def _fail(self, i: int) -> None:
        self.failures[i] = (
            f"Training stopped: the loss or a parameter before step {self.notes[i].step} is not a "
            "finite number; lower config.optimizer.learning_rate or set config.optimizer.clip_norm."
        )

    def _end_epoch(self, active: list[int], losses: np.ndarray) -> None:
        validation, name = self.dataset.split.validation, self.config.train.select_metric
        better = np.zeros(len(self._configs), bool)
        params = jax.device_get(self.state.params)
        reached = []
        for i in [i for i in active if not self.failures[i]]:
            metric = None
            if len(validation):
                own = self.job.mesh.replicate({key: value[i] for key, value in params.items()})
                ranks = self.job.evaluator(own, validation, "validation")
                means = ranks.means(self.config.evaluation.ks)
                self._add_row(i, "validation", means, self.notes[i].epoch + 1)
                metric = means[name]
                reached.append(metric)
            better[i] = self.notes[i].end_epoch(metric, name)
        self.best = self._keep_best(self.best, self.state.params, self._mesh.shard(better))
        self._save()
        kept = [i for i in active if not self.failures[i]]
        if not kept:
            return
        line = f"epoch {self.notes[kept[0]].epoch}/{self.config.train.epochs}: train loss "
        line += f"{losses[kept].mean():.4f}"
        if reached:
            line += f", validation {name} {np.mean(reached):.4f}"
            line += f" ({min(reached):.4f} to {max(reached):.4f})"
        self.say(line)

    def _add_row(
        self, i: int, split: str, means: dict[str, float], epoch: int | None = None
    ) -> None:
        notes = self.notes[i]
        row: dict[str, Any] = {"step": notes.step, "epoch": notes.epoch if epoch is None else epoch}
        row |= {"split": split, "protocol": self.dataset.split.protocol, "metrics": means}
        self.rows[i].append(row)

    # ---- the common checkpoint ----

    def _save(self) -> None:
        notes = {
            "members": [dataclasses.asdict(n) for n in self.notes],
            "rows": self.rows,
            "failures": self.failures,
            "configs": [config_lib.sha256(config) for config in self.configs],
        }
        step = max(n.step for n in self.notes)
        self._checkpoints.save_latest(step, (self.state, self.best), notes)

    def _resume(self, folder: Path) -> None:
        if self._checkpoints.latest_step is None:
            return
        template = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
            (self.state, self.best),
        )
        saved = self._checkpoints.latest_notes()
        ours = [config_lib.sha256(config) for config in self.configs]
        fingerprints = {member["fingerprint"] for member in saved["members"]}
        if saved["configs"] != ours or fingerprints != {self.notes[0].fingerprint}:
            raise TrainingError(
                f"{folder} holds runs with other configs or on other data; remove it, or use "
                "another --workdir."
            )
        (self.state, self.best), _ = self._checkpoints.restore_latest(template)
        self.notes = [Notes(**member) for member in saved["members"]]
        self.rows, self.failures = saved["rows"], saved["failures"]
        self.say(f"resuming side by side after step {max(n.step for n in self.notes)}")
