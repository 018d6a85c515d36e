"""Runs a sweep: trains and exports what is not finished; every run gets a row in results.jsonl.

results.jsonl  runs/NAME/ (run folders)  baselines/DATA/NAME/  side_by_side/ (while training)
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import platform
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from flaxrec import config as config_lib
from flaxrec.config import Config
from flaxrec.data.dataset import Dataset, prepare
from flaxrec.errors import (
    ConfigError,
    DiskError,
    FlaxrecError,
    TrainingError,
    printable,
    show_unforeseen,
    write_errors_as,
)
from flaxrec.evaluation import baselines, evaluator, per_label
from flaxrec.exporting import converter, trial
from flaxrec.files import JsonLog
from flaxrec.research import plan, result_rows, side_by_side
from flaxrec.research.plan import PlannedRun
from flaxrec.training import run as training
from flaxrec.training.workdir import Workdir, occupied

EXPORTS = ("first", "all", "none")
_PACKAGES = ("flaxrec", "jax", "jaxlib", "flax", "optax", "numpy")


@dataclasses.dataclass(frozen=True)
class Options:
    """How to run a sweep."""

    together: bool  # train runs that differ in seed, learning rate or weight decay as one program
    # Runs to export where TensorFlow is installed: each point's 'first' seed (files of other seeds
    # have the same size), 'all' or 'none'.
    export: str = "first"
    exported_accuracy: bool = False  # also rank the labels with the exported, quantised files


def run(
    runs: Sequence[PlannedRun],
    workdir: Path,
    options: Options,
    say: Callable[[str], None] = print,
) -> int:
    """Does the unfinished work; returns the number of failures: of runs, exports and measurements.

    Of several rows of a run in results.jsonl, the last counts.

    Raises:
      TrainingError: another process uses the folder, or it is not a sweep's or holds another
        config's run.
    """
    file = workdir / result_rows.NAME
    if workdir.exists() and not file.exists() and any(workdir.iterdir()):
        raise TrainingError(f"{workdir} exists and is not a sweep; use another --workdir.")
    with write_errors_as(TrainingError, workdir, "use another --workdir"):
        workdir.mkdir(parents=True, exist_ok=True)
    try:
        log = JsonLog(file)
    except BlockingIOError as error:
        raise occupied(workdir) from error
    with contextlib.closing(log):
        rows = {row["run"]: row for row in result_rows.read(file, TrainingError)}
        return _Sweep(runs, workdir, options, log, rows, lambda line: say(printable(line))).run()


@dataclasses.dataclass
class _Sweep:
    runs: Sequence[PlannedRun]
    workdir: Path
    options: Options
    log: JsonLog
    rows: dict[str, dict[str, Any]]  # the last one by the run's name
    say: Callable[[str], None]
    failed: int = 0  # exports, and measurements of exported files

    def __post_init__(self):
        device = jax.devices()[0].device_kind
        self.origin = {"git": _git(), "versions": _versions(), "device": device}
        missing = [converter.missing(run.config.export) for run in self.runs]
        self.missing = next(filter(None, missing), "")
        self.exports = self.options.export != "none" and not self.missing

    def run(self) -> int:
        todo = [run for run in self.runs if not self._is_finished(run)]
        done = len(self.runs) - len(todo)
        self.say(f"{len(self.runs)} runs, {done} of them finished")
        if self.options.export != "none" and not self.exports:
            self.say(
                f"{self.missing} is not installed, so there are no .tflite files: run the same "
                "command on this folder where it is, and they are added."
            )
        groups = plan.side_by_side(todo) if self.options.together else [[run] for run in todo]
        start, trained = time.perf_counter(), 0
        for group in groups:
            more = f" and {len(group) - 1} more" if len(group) > 1 else ""
            left = ""
            if trained:
                seconds = (time.perf_counter() - start) / trained * (len(todo) - trained)
                left = f", about {seconds / 60:,.0f} min left"
            number = done + trained + 1
            self.say(f"run {number} of {len(self.runs)}: {group[0].name}{more}{left}")
            self._train(group)
            trained += len(group)
        for run in self.runs:
            self._export(run)
        self._add_baselines()
        failed = [row for row in map(self._row, self.runs) if row.get("status") != "finished"]
        for row in failed:
            self.say(f"failed: {row.get('run')}: {row.get('reason')}")
        self.say(f"{len(self.runs) - len(failed)} of {len(self.runs)} runs finished")
        return len(failed) + self.failed

    def _row(self, run: PlannedRun) -> dict[str, Any]:
        """The run's last row; empty if there is none."""
        return self.rows.get(run.name, {})

    def _add(self, row: dict[str, Any]) -> None:
        self.log.write(row)
        self.rows[row["run"]] = row

    def _folder(self, run: PlannedRun) -> Workdir:
        return Workdir(self.workdir / "runs" / run.name)

    def _is_finished(self, run: PlannedRun) -> bool:
        row = self._row(run)
        if row.get("status") != "finished":
            return False
        try:
            config = config_lib.from_json(json.dumps(row.get("config")))
        except ConfigError as error:
            raise TrainingError(
                f"{self.workdir / result_rows.NAME} has a row of {run.name!r} whose config cannot "
                f"be read: {error} Remove the row, or use another --workdir."
            ) from error
        if not plan.same_run(config, run.config):
            raise TrainingError(
                f"{self.workdir} holds a finished run {run.name!r} with another config; use "
                "another --workdir, or name the difference as an axis."
            )
        return True

    # ---- training ----

    def _train(self, group: list[PlannedRun]) -> None:
        start = time.perf_counter()
        reached: list[training.Result | Exception]
        configs, folders = [run.config for run in group], [self._folder(run) for run in group]
        before = trial.try_conversion if any(map(self._is_exported, group)) else None
        try:
            if len(group) == 1:
                alone = configs[0], folders[0], self._indented, before
                reached = [training.train(*alone, baselines=False)]  # the sweep has its own
            else:
                key = hashlib.sha256("\n".join(run.name for run in group).encode()).hexdigest()
                shared = self.workdir / "side_by_side" / key[:16]
                reached = list(side_by_side.train(configs, folders, shared, self._indented, before))
                with contextlib.suppress(OSError):  # not empty if an earlier group failed
                    shared.parent.rmdir()
        except DiskError:
            raise  # of the other runs too; they are not failed, but go on when there is room
        except Exception as error:  # noted in the row; the other points continue
            show_unforeseen(error)
            reached = [error] * len(group)
        seconds = (time.perf_counter() - start) / len(group)
        for run, result in zip(group, reached, strict=True):
            self._add(self._trained_row(run, result, seconds, len(group)))
            if isinstance(result, Exception):
                self.say(f"  failed: {run.name}: {_reason(result)}")

    def _indented(self, line: str) -> None:
        self.say(f"  {line}")

    def _trained_row(
        self, run: PlannedRun, result: training.Result | Exception, seconds: float, members: int
    ) -> dict[str, Any]:
        config = run.config
        row: dict[str, Any] = {"run": run.name, "kind": "trained", "axes": run.axes}
        row |= {"seed": config.seed, "folder": f"runs/{run.name}"}
        row |= {"protocol": config.split.protocol, "data": plan.data_of(config)}
        if isinstance(result, Exception):
            row |= {"status": "failed", "reason": _reason(result), "metrics": {}}
        else:
            logged = self._folder(run).read_metrics()
            best = {r["split"]: r for r in logged if r["step"] == result.best_step}
            best.pop("train", None)
            metrics = {split: r["metrics"] for split, r in best.items()}
            row |= {"status": "finished", "reason": "", "metrics": metrics, "labels": result.labels}
            row |= {"asked": result.asked} if result.asked else {}
            row |= {"best_step": result.best_step, "best_epoch": best["test"]["epoch"]}
            row |= {"examples_per_second": result.examples_per_second}
        row |= {"wall_seconds": seconds, "side_by_side": members, "export_bytes": None}
        return row | _noted(config) | self.origin

    # ---- exports ----

    def _is_exported(self, run: PlannedRun) -> bool:
        wanted = run.config.export.enabled and (run.first or self.options.export == "all")
        return bool(self.exports and wanted)

    def _export(self, run: PlannedRun) -> None:
        """Exports a finished run and ranks labels with its file, where requested and not done."""
        row = self._row(run)
        if row.get("status") != "finished":
            return
        if self._is_exported(run) and not row.get("export_bytes"):
            from flaxrec.exporting.bundle import export

            try:
                bundle = export(self._folder(run))
                row = row | {"export_bytes": (bundle.folder / "model.tflite").stat().st_size}
            except Exception as error:
                show_unforeseen(error)
                self.failed += 1
                self.say(f"  export failed: {run.name}: {_reason(error)}")
                row = row | {"reason": f"export: {_reason(error)}"}
            self._add(row)
        if not (self.options.exported_accuracy and row.get("export_bytes")):
            return
        if not row.get("exported"):
            from flaxrec.exporting import file_ranks

            try:
                (file,) = file_ranks.of_run(self._folder(run), prepare(run.config))
            except Exception as error:
                show_unforeseen(error)
                self.failed += 1
                self.say(f"  accuracy of the export failed: {run.name}: {_reason(error)}")
                return
            validation = file.metrics.get("validation", {})
            metrics = {"metrics": file.metrics["test"], "validation": validation}
            self._add(row | {"exported": {"bytes": file.bytes, "recipe": file.recipe, **metrics}})

    # ---- baselines ----

    def _add_baselines(self) -> None:
        """Ranks every baseline on each data set and split of the sweep."""
        configs: dict[str, Config] = {}
        for run in self.runs:
            if self._row(run).get("status") == "finished":
                configs.setdefault(plan.data_of(run.config), run.config)
        for data, config in configs.items():
            folder = re.sub(r"[^\w.=+-]+", "-", data)
            names = {name: f"baseline={name},data={folder}" for name in baselines.BASELINES}
            missing = [n for n in names if self.rows.get(names[n], {}).get("status") != "finished"]
            if not missing:
                continue
            try:
                dataset = prepare(config)
            except FlaxrecError as error:
                self.say(f"  no baselines on {data}: {_reason(error)}")
                continue
            for name in missing:
                row: dict[str, Any] = {"run": names[name], "kind": "baseline"}
                row |= {"axes": {"baseline": name, "data": data}, "seed": None, "data": data}
                row |= {"folder": f"baselines/{folder}/{name}"}
                self._add_baseline(row, config, dataset)

    def _add_baseline(self, row: dict[str, Any], config: Config, dataset: Dataset) -> None:
        start, name = time.perf_counter(), row["axes"]["baseline"]
        row |= {"protocol": config.split.protocol}
        try:
            metrics = {}
            for part in ("validation", "test"):
                positions = getattr(dataset.split, part)
                if not len(positions):
                    continue
                ranks = baselines.rank(name, dataset, positions, top=per_label.TOP)
                metrics[part] = ranks.means(config.evaluation.ks)
            per_label.write(self.workdir / row["folder"] / "per_label", ranks, dataset)
            labels = evaluator.label_report(dataset.timelines, dataset.split, dataset.split.test)
            row |= {"status": "finished", "reason": "", "metrics": metrics, "labels": labels}
        except FlaxrecError as error:
            row |= {"status": "failed", "reason": _reason(error), "metrics": {}}
        row |= {"wall_seconds": time.perf_counter() - start, "export_bytes": None}
        self._add(row | _noted(config) | self.origin)
        self.say(f"  baseline {name} on {row['data']}: {row['status']}")


def _noted(config: Config) -> dict[str, Any]:
    sections = json.loads(config_lib.to_json(config))
    return {"config": sections, "config_sha256": config_lib.sha256(config)}


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:500]
    return text if isinstance(error, FlaxrecError) else f"{type(error).__name__}: {text}"


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _git() -> dict[str, Any]:
    """The revision of the running checkout; None where there is none."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, check=True
        )
        return done.stdout.decode().strip()

    try:
        return {"revision": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return {"revision": None, "dirty": None}
