"""Training: from a config to a run folder with checkpoints and metrics.

An epoch is a few `lax.scan`s over the shuffled labels; between them Python logs, checks and saves.
All randomness derives from config.seed and the epoch's number, so that a resumed run equals an
uninterrupted one to the bit (on the same device).
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flaxrec import config as config_lib
from flaxrec.config import Config
from flaxrec.data import contexts
from flaxrec.data.dataset import Dataset, prepare
from flaxrec.data.spec import ModelSpec
from flaxrec.devices import allocations_told
from flaxrec.errors import TrainingError
from flaxrec.evaluation import baselines as baselines_lib
from flaxrec.evaluation import cold as cold_lib
from flaxrec.evaluation import evaluator, per_label
from flaxrec.models import item_sums
from flaxrec.models.dual_encoder import Params
from flaxrec.terminal import stopping
from flaxrec.terminal.progress import progress
from flaxrec.training import (
    described,
    loggers,
    new_items,
    optimizers,
    pieces,
    processes,
    steps,
    transitions,
    warm_start,
)
from flaxrec.training import remarks as remarks_lib
from flaxrec.training.checkpoints import BestNotes, Checkpoints, Origin
from flaxrec.training.notes import Notes, best_notes
from flaxrec.training.pace import Pace
from flaxrec.training.pieces import Piece
from flaxrec.training.result import Result
from flaxrec.training.run_assets import RunAssets
from flaxrec.training.steps import Batches, Job, TrainState
from flaxrec.training.validation import validate
from flaxrec.training.workdir import MetricsLog, NoLog, Workdir

_LESS_MEMORY = (
    "lower config.train.batch_size, config.evaluation.batch_size, config.model.context_length or "
    "the widths of config.model, or give fewer data"
)
# Called with the config, the model's spec and `say`.
Before = Callable[[Config, ModelSpec, Callable[[str], None]], None]


def train(
    config: Config,
    workdir: Workdir,
    say: Callable[[str], None] = print,
    before: Before | None = None,
    *,
    baselines: bool = True,
) -> Result:
    """Trains, or resumes the folder's run, and evaluates the best checkpoint.

    Args:
      config: a validated config.
      workdir: the run folder; made if it does not exist.
      say: called with each line of progress.
      before: called before the first step of a new run, such as `exporting.trial.try_conversion`.
      baselines: False leaves out what config.evaluation.baselines asks for.

    Raises:
      TrainingError: the folder is another run's, the data changed, or the loss is not finite.
    """
    if not processes.is_first():
        say = _say_nothing
    with contextlib.ExitStack() as stack:
        stack.enter_context(allocations_told(_LESS_MEMORY))
        stack.enter_context(processes.losses_told())
        with processes.together():
            dataset = _prepared(config, workdir)
            config = dataset.config
            if before and processes.is_first() and not workdir.checkpoints.exists():
                before(config, dataset.spec, say)
            run = Run(config, dataset, workdir, say)
        if not processes.alone():  # from here on they stop together, in the test too
            stack.enter_context(stopping.later(at_end=False))
        run.open(stack)
        with jax.transfer_guard("disallow"):
            run.train()
            return run.test(baselines=baselines)


def _prepared(config: Config, workdir: Workdir) -> Dataset:
    """The data, with the config that is trained; first what can be refused without them."""
    chooses = config.recipe == "by_data"
    loggers.found(config)
    if not chooses:
        workdir.check(config)
    if config.train.warm_start and not workdir.has_checkpoint:
        warm_start.check(config)
    if not chooses:
        steps.mesh_of(config)
    dataset = prepare(config)
    if chooses:
        return dataclasses.replace(dataset, config=validate(dataset.config))
    return dataclasses.replace(dataset, config=config)


def _say_nothing(line: str) -> None:
    """What the first process says, the others do not repeat."""


@jax.jit
def _all_finite(tree: Any) -> jax.Array:
    return jnp.all(jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]))


class Run:
    """A run folder, its data on the device, and the compiled functions."""

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        workdir: Workdir,
        say: Callable[[str], None],
        job: Job | None = None,
    ):
        self.config, self.dataset, self.say = config, dataset, say
        self._workdir = workdir
        self.job = job = job or Job(config, dataset)
        self.mesh, self.structure = job.mesh, job.structure
        params = steps.initial_params(config, dataset)
        optimizer = optimizers.make_optimizer(config.optimizer, job.steps)
        self.state: TrainState = steps.first_state(params, optimizer, job.tables)
        self._targets = self.mesh.replicate(job.targets)
        self._steps = steps.make_steps(
            self.structure,
            dataset.spec,
            config,
            optimizer,
            job.most_values,
            job.teachers,
            job.tables,
        )
        self._piece: Piece | None = None  # compiled with the first batches
        for line in described.lines(config, dataset, job):
            say(line)
        self._trained_labels, self._trained_seconds = 0.0, 0.0

    def open(self, stack: contextlib.ExitStack) -> None:
        """Claims and locks the folder and restores its run; `stack` closes what is opened.

        Nothing is written before this call; config and data have been checked by then.
        """
        workdir, is_first = self._workdir, processes.is_first()
        with processes.together():
            if is_first:
                workdir.claim(self.config)
                stack.enter_context(workdir.lock())
        with processes.together():
            workdir.check_claimed(self.config)
        self._checkpoints = stack.enter_context(
            contextlib.closing(Checkpoints(workdir.checkpoints))
        )
        self.notes = self._resume()
        # A run from before judged labels existed gets them on resuming.
        lacks_assets = self._checkpoints.latest_step is None or not workdir.judged.exists()
        self._log: MetricsLog | NoLog = NoLog()
        with processes.together():
            if is_first:
                listening = loggers.begin(self.config, workdir.path)
                log = MetricsLog(workdir, self.notes.metrics_bytes, self.notes.step, listening)
                self._log = stack.enter_context(contextlib.closing(log))
                if lacks_assets:
                    self._write_assets()

    def train(self) -> None:
        """Trains until the config's epochs are done or validation no longer improves.

        Raises:
          Stopped: after a signal that the command handles; once what is trained is saved.
        """
        alone = processes.alone()
        with stopping.later(at_end=alone) as is_asked:
            grace = self.config.train.grace_seconds
            self._of_steps, self._of_batches = Pace(grace, is_asked), Pace(grace, is_asked)
            self.job.evaluator.after_batch = self._look
            while not self.notes.are_done(self.config):
                self._end_epoch(self._train_epoch())
                if alone and (number := is_asked()):
                    raise self._stopped(number)
        self.job.evaluator.after_batch = None if alone else self._look_in_test

    def test(self, *, baselines: bool = False) -> Result:
        """Evaluates the best checkpoint on the test labels and logs it.

        With `baselines` it also ranks the labels by counts, unless the config does not want that
        or is in reference mode.
        """
        split, notes, config = self.dataset.split, self.notes, self.config
        params, best = self._checkpoints.restore_best(
            self.job.tables.templates(self.structure.shapes), self.mesh.replicated, BestNotes
        )
        chosen = self._choose_head(params, best)
        params = self.job.tables.place(self._choose_bias(params))
        kept = config.evaluation.keep_per_label
        top = per_label.TOP if kept or len(split.cold) else 0
        ranks = self.job.evaluator(params, split.test, "test", top)
        means = ranks.means(config.evaluation.ks)
        cold = None
        if len(split.cold):
            cold = self.job.evaluator(params, split.cold, "cold", per_label.TOP if kept else 0)
        if kept and processes.is_first():
            per_label.write(self._workdir.per_label, ranks, self.dataset, cold)
        labels = evaluator.label_report(self.dataset.timelines, split, split.test)
        self._write_row("test", means, step=best.step, epoch=best.epoch, labels=labels)
        of_cold: dict[str, Any] = {}
        if cold is not None and ranks.top is not None:
            of_cold = self._test_cold(cold, ranks.top, best)
        counted, remarks = {}, [""]
        counts = config.evaluation.baselines and not config.reference_mode
        if baselines and counts and processes.is_first():
            counted = self._count(best)
        if len(split.validation):
            on_validation = {name: by["validation"] for name, by in counted.items()}
            own = chosen.get(config.train.select_metric, notes.best_metric)
            said = remarks_lib.counting_is_better(on_validation, own, config)
            remarks = [remarks_lib.last_is_best(config, best.epoch), said]
        return Result(
            self._workdir.path,
            split.protocol,
            means,
            labels,
            notes.best_step,
            self._trained_labels / self._trained_seconds if self._trained_seconds else 0.0,
            counted,
            tuple(filter(None, remarks)),
            self.dataset.spec.asked,
            **of_cold,
        )

    def _test_cold(
        self, ranks: evaluator.PerLabel, lists: np.ndarray, best: BestNotes
    ) -> dict[str, Any]:
        """Logs metrics of cold labels, of the model and of baselines; the fields of a `Result`.

        `lists` are the test users', int [n, k].
        """
        place, ks = {"step": best.step, "epoch": best.epoch}, self.config.evaluation.ks
        labels = cold_lib.report(self.dataset, lists)
        means = cold_lib.means(ranks, self.dataset, ks)
        self._write_row("cold", means, **place, labels=labels)
        beside: dict[str, dict[str, float]] = {}
        if self.config.evaluation.baselines and processes.is_first():
            counted = cold_lib.beside_run(self.dataset, self.config.split.seed)
            beside = {n: cold_lib.means(of, self.dataset, ks) for n, of in counted.items()}
            self._log.write(
                *(
                    self._row("cold", beside[name], baseline=name, **place)
                    | {"labels": {"labels": len(of.positions)}}
                    for name, of in counted.items()
                )
            )
        return {"cold": means, "cold_labels": labels, "cold_baselines": beside}

    # ---- beside the model ----

    def _count(self, best: BestNotes) -> dict[str, dict[str, dict[str, float]]]:
        """Logs the baselines' metrics, of the step and epoch of the best checkpoint."""
        beside = baselines_lib.beside_run(self.dataset, self.config.evaluation.ks)
        place = {"step": best.step, "epoch": best.epoch}
        self._log.write(
            *(
                self._row(split, means, labels={"labels": beside.labels[split]}, baseline=name)
                | place
                for name, by_split in beside.metrics.items()
                for split, means in by_split.items()
            )
        )
        sample = ", on an evenly spaced sample of the labels" if beside.sampled else ""
        self.say(f"baselines: {', '.join(beside.metrics)}; {beside.seconds:.1f} s{sample}")
        return beside.metrics

    def _choose_head(self, params: Params, best: BestNotes) -> dict[str, float]:
        """Chooses the weight of the transitions head, if there is one, and keeps the head.

        Returns the metrics on validation labels where the weight is not that of the epochs, and
        logs them, of the step and epoch of the best checkpoint; {} where they are logged already.
        """
        rank, labels, config = self.job.evaluator, self.dataset.split.validation, self.config
        if rank.head is None:
            return {}
        name = config.train.select_metric

        def metric_of(weight: float, labels: np.ndarray) -> float:
            rank.head = self.mesh.replicate(rank.head.weighing(weight))
            return rank(params, labels, "weight").means(config.evaluation.ks)[name]

        weight = of_epochs = config.model.transitions_weight or transitions.WEIGHTS[0]
        if not config.model.transitions_weight and len(labels):
            lower = remarks_lib.lower_is_better(name)
            weight = transitions.best_weight(metric_of, labels, lower_is_better=lower)
            self.say(f"transitions head: weight {weight:g}, chosen on validation labels")
        rank.head = self.mesh.replicate(rank.head.weighing(weight))
        if processes.is_first():
            RunAssets(self._workdir.assets).write_head(jax.device_get(rank.head), self.notes.run)
        if weight == of_epochs:
            return {}
        means = rank(params, labels, "validation").means(config.evaluation.ks)
        place = {"step": best.step, "epoch": best.epoch}
        self._write_row("validation", means, **place, transitions_weight=weight)
        return means

    def _choose_bias(self, params: Params) -> Params:
        """Chooses the bias of new items, if the model can have any, and keeps it.

        Returns the parameters, in which cold items have it.
        """
        dataset = self.dataset
        if new_items.BIAS not in params or not dataset.timelines.item_values:
            return params
        shapes = new_items.tower_shapes(self.config, dataset)
        tower = self._checkpoints.restore_tower(shapes, self.mesh.replicated)
        value = new_items.bias(
            self.config,
            dataset,
            self.structure,
            self.job.evaluator,
            params,
            tower,
            self.mesh.replicate,
        )
        if value is None:
            return params
        cold = dataset.split.cold_items
        self.say(f"new items: a bias of {value:.2f}, chosen on validation labels")
        if processes.is_first():
            RunAssets(self._workdir.assets).write_new_items(value, cold, self.notes.run)
        is_cold = np.arange(dataset.spec.candidates) >= dataset.spec.candidates - cold
        return new_items.with_bias(params, is_cold, value, self.mesh.replicate)

    # ---- inside an epoch ----

    def _train_epoch(self) -> float | None:
        """The mean loss of the scans that this process finished; None: it found them finished."""
        notes, config, scan_steps = self.notes, self.config.train, self.job.scan_steps
        batches = self.job.epoch(self.config.seed, notes.epoch)
        per_step = self.job.labels_per_step
        what = f"epoch {notes.epoch + 1}/{config.epochs}"
        saved_at, losses_of_scans = notes.step, []
        size = round(per_step * scan_steps) * self.job.scans
        done = notes.scans * scan_steps + len(notes.losses)
        with progress(what, size, "labels", round(per_step * done)) as advance:
            for scan in range(notes.scans, self.job.scans):
                batch = Batches(
                    self.mesh.shard(batches.positions[scan], axis=1),
                    self.mesh.shard(batches.counts[scan], axis=1),
                    self.mesh.replicate(batches.keys[scan]),
                )
                while notes.scans == scan:
                    count = min(self._of_steps.left, scan_steps - len(notes.losses))
                    seconds = self._run_piece(batch, count)
                    advance(round(per_step * count))
                    if is_whole := len(notes.losses) == scan_steps:
                        losses_of_scans.append(float(np.array(notes.losses, np.float32).mean()))
                        notes.scans, notes.losses = scan + 1, []
                        self._write_row("train", {"loss": losses_of_scans[-1]})
                    number = self._of_steps.did(count, seconds)
                    is_due = is_whole and notes.step - saved_at >= config.checkpoint_every
                    if (is_due or number) and notes.scans < self.job.scans:
                        self._save()
                        saved_at = notes.step
                        if number:
                            raise self._stopped(number)
        return float(np.mean(losses_of_scans)) if losses_of_scans else None

    def _run_piece(self, batch: Batches, count: int) -> float:
        """Runs the next steps of a scan; the seconds that they took."""
        first, notes = len(self.notes.losses), self.notes
        ends = (self.mesh.replicate(np.int32(at)) for at in (first, first + count))
        given = self.state, self.job.timelines, self._targets, batch, *ends
        is_first = self._piece is None
        if self._piece is None:
            self._piece = pieces.compiled(self._steps, given, _LESS_MEMORY)
        start = time.perf_counter()
        self.state, step_losses = self._piece(*given)
        step_losses = jax.device_get(step_losses)[first : first + count]
        seconds = time.perf_counter() - start
        if not is_first:  # which may also connect devices: its time does not count
            self._trained_seconds += seconds
            self._trained_labels += self.job.labels_per_step * count
        self._check_finite(step_losses)
        notes.step += count
        notes.losses += step_losses.tolist()
        return seconds

    def _check_finite(self, step_losses: np.ndarray) -> None:
        bad = np.flatnonzero(~np.isfinite(step_losses))
        if len(bad):
            self._stop_not_finite(f"the loss of step {self.notes.step + int(bad[0]) + 1}")

    def _check_parameters(self) -> None:
        if not jax.device_get(_all_finite(self.state)):
            self._stop_not_finite(f"a parameter after step {self.notes.step}")

    def _stop_not_finite(self, what: str) -> None:
        kept = self._checkpoints.latest_step
        remains = f"the checkpoint of step {kept} is kept" if kept else "there is no checkpoint yet"
        raise TrainingError(
            f"Training stopped: {what} is not a finite number; {remains}; lower "
            "config.optimizer.learning_rate or set config.optimizer.clip_norm, in a new workdir."
        )

    # ---- between epochs ----

    def _end_epoch(self, loss: float | None) -> None:
        self._check_parameters()  # before any of their metrics is logged
        # Its rows belong to the epoch that ends.
        row_epoch, config = self.notes.epoch + 1, self.config.train
        line = f"epoch {row_epoch}/{config.epochs}: train loss "
        line += "of an earlier command" if loss is None else f"{loss:.4f}"
        metric = None
        if not steps.is_evaluated(self.config, row_epoch):
            self.notes.skip_evaluation()
            self._save()
            self.say(line)
            return
        if len(self.dataset.split.validation):
            ranks = self.job.evaluator(
                self.job.whole(self.state.params), self.dataset.split.validation, "validation"
            )
            means = ranks.means(self.config.evaluation.ks)
            self._write_row("validation", means, epoch=row_epoch)
            metric = means[config.select_metric]
        better = self.notes.end_epoch(metric, config.select_metric)
        if metric is not None:
            line += f", validation {config.select_metric} {metric:.4f}{' (best)' if better else ''}"
        self._save()
        self.say(line)

    def _look(self, batches: int, seconds: float) -> None:
        """Called during validation: after a signal, what is trained is saved, without metrics."""
        if number := self._of_batches.did(batches, seconds):
            self._save()
            raise self._stopped(number)

    def _look_in_test(self, batches: int, seconds: float) -> None:
        """As `_look`, when all is trained and saved."""
        if number := self._of_batches.did(batches, seconds):
            raise stopping.Stopped(number=number)

    def _stopped(self, number: int) -> stopping.Stopped:
        text = (
            f"Stopped after step {self.notes.step}, which is saved; the same command goes on there."
        )
        return stopping.Stopped(text, number)

    # ---- files ----

    def _write_row(self, split: str, means: dict[str, float], **further: Any) -> None:
        if asked := self.dataset.spec.asked:
            further["asked"] = asked
        self._log.write(self._row(split, means, **further))

    def _row(self, split: str, means: dict[str, float], **further: Any) -> dict[str, Any]:
        row = {
            "step": self.notes.step,
            "epoch": self.notes.epoch,
            "split": split,
            "protocol": self.dataset.split.protocol,
            "metrics": means,
        }
        if there := self.dataset.split.sampled_from.get(split):
            row["sampled_from"] = there
        return row | further

    def _save(self) -> None:
        self._check_parameters()
        notes = self.notes
        notes.metrics_bytes = self._log.bytes
        state = self.job.tables.whole(self.state)
        self._checkpoints.save_latest(notes.step, state, dataclasses.asdict(notes))
        self._save_best_if_due()

    def _save_best_if_due(self) -> None:
        notes = self.notes
        if notes.best_step == notes.step:
            best, tower = best_notes(notes, notes.epoch), item_sums.parts(self.state.params)
            params = self.job.tables.whole(self.job.whole(self.state.params))
            self._checkpoints.save_best(notes.step, params, best, tower)

    def _resume(self) -> Notes:
        fingerprint = self.dataset.timelines.fingerprint()
        processes.check_same(f"{config_lib.to_json(self.config)} {fingerprint}")
        if self._checkpoints.latest_step is None:
            origin = self._begin_warm() if self.config.train.warm_start else None
            run = self._workdir.identity(fingerprint)
            return Notes(fingerprint=fingerprint, run=run, origin=origin)
        saved = self._checkpoints.latest_notes(Notes)
        if saved.fingerprint != fingerprint:
            raise TrainingError(
                f"The data have changed since {self._workdir.path} was begun; restore them, or use "
                "another --workdir."
            )
        self._workdir.check_parts(saved.run, fingerprint)
        self._workdir.check_metrics(saved.metrics_bytes)
        tables = self.job.tables
        state, _ = self._checkpoints.restore_latest(tables.templates(self.state))
        self.state = tables.place(state)
        self.notes = notes = saved
        self._save_best_if_due()
        self.say(f"resuming after step {notes.step} (epoch {notes.epoch + 1})")
        return notes

    def _begin_warm(self) -> Origin:
        tables = self.job.tables
        params, origin = warm_start.begin(
            self.config, self.dataset, self.job, tables.templates(self.state.params), self.say
        )
        self.state = dataclasses.replace(self.state, params=tables.place(params))
        return origin

    def _write_assets(self) -> None:
        gather = jax.jit(contexts.gatherer(self.config, self.dataset.spec.inputs))
        # On one device: the first process does it without the others.
        timelines = jax.tree.map(lambda x: x.addressable_data(0), self.job.timelines)
        device = jax.local_devices()[0]

        def inputs_before(labels: np.ndarray) -> dict[str, np.ndarray]:
            return jax.device_get(gather(timelines, jax.device_put(labels, device)))

        assets = RunAssets(self._workdir.assets)
        assets.write_of(self.config, self.dataset, inputs_before, self.notes.run)
        self._workdir.write_account(self.dataset)
