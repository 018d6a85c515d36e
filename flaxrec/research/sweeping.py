"""A sweep's work: runs what is not finished, one row in results.jsonl a run, whatever happens.

results.jsonl  runs/NAME/ (run folders)  baselines/DATA/NAME/  side_by_side/ (while training)
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from flaxrec import config as config_lib
from flaxrec.config import Config
from flaxrec.data.dataset import prepare
from flaxrec.errors import FlaxrecError, TrainingError
from flaxrec.evaluation import evaluator, per_label
from flaxrec.files import read_jsonl
from flaxrec.research import baselines, plan, side_by_side
from flaxrec.research.plan import PlannedRun
from flaxrec.training import run as training
from flaxrec.training import workdir as workdir_lib
from flaxrec.training.workdir import Workdir

EXPORTS = ("first", "all", "none")
_PACKAGES = ("flaxrec", "jax", "jaxlib", "flax", "optax", "numpy")


@dataclasses.dataclass(frozen=True)
class Options:
    """How a sweep is run.

    Attributes:
      together: whether runs that differ in seed, learning rate or weight decay train as one
        program.
      export: whose model is exported where TensorFlow is installed: of each point's 'first' seed
        (files of other seeds have the same size), of 'all' runs or of 'none'.
      exported_accuracy: whether the exported files rank the labels as well, quantised as they are.
    """

    together: bool
    export: str = "first"
    exported_accuracy: bool = False


class ResultsLog:
    """results.jsonl: appended to, row by row; the last row of a run counts.

    Attributes:
      rows: by the run's name.
    """

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "a+b")  # noqa: SIM115
        workdir_lib.lock(self._file, path.parent)
        self._file.seek(0)
        self._file.truncate(self._file.read().rfind(b"\n") + 1)  # a killed writer's torn line
        self.rows = {row["run"]: row for row in read_jsonl(path)}

    def add(self, row: dict[str, Any]) -> None:
        """Appends a row, to disk before it returns."""
        self._file.write((json.dumps(row) + "\n").encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.rows[row["run"]] = row

    def close(self) -> None:
        """Closes the file and frees it for others."""
        self._file.close()


def run(
    runs: Sequence[PlannedRun],
    workdir: Path,
    options: Options,
    say: Callable[[str], None] = print,
) -> int:
    """Runs what is not finished yet; returns how many runs failed.

    Raises:
      TrainingError: another process works in the folder, or it is something else's.
    """
    if workdir.exists() and not (workdir / "results.jsonl").exists() and any(workdir.iterdir()):
        raise TrainingError(f"{workdir} exists and is not a sweep; use another --workdir.")
    results = ResultsLog(workdir / "results.jsonl")
    with contextlib.closing(results):
        return _Sweep(runs, workdir, options, results, say).run()


class _Sweep:
    def __init__(
        self,
        runs: Sequence[PlannedRun],
        workdir: Path,
        options: Options,
        results: ResultsLog,
        say: Callable[[str], None],
    ):
        self.runs, self.workdir, self.options = runs, workdir, options
        self.results, self.say = results, say
        self.origin = {
            "git": _git(),
            "versions": _versions(),
            "device": jax.devices()[0].device_kind,
        }
        self.exports = options.export != "none" and importlib.util.find_spec("tensorflow")
        self.failed = 0

    def run(self) -> int:
        todo = [run for run in self.runs if not self._is_finished(run)]
        done = len(self.runs) - len(todo)
        self.say(f"{len(self.runs)} runs, {done} of them finished")
        if self.options.export != "none" and not self.exports:
            self.say(
                "TensorFlow is not installed, so there are no .tflite files: run the same command "
                "on this folder where it is, and they are added."
            )
        groups = plan.side_by_side(todo) if self.options.together else [[run] for run in todo]
        start, trained = time.perf_counter(), 0
        for group in groups:
            names = (
                group[0].name if len(group) == 1 else f"{group[0].name} and {len(group) - 1} more"
            )
            left = ""
            if trained:
                seconds = (time.perf_counter() - start) / trained * (len(todo) - trained)
                left = f", about {seconds / 60:,.0f} min left"
            self.say(f"run {done + trained + 1} of {len(self.runs)}: {names}{left}")
            self._train(group)
            trained += len(group)
        for run in self.runs:
            self._add_export(run)
            self._add_accuracy(run)
        self._add_baselines()
        rows = [self.results.rows.get(run.name, {}) for run in self.runs]
        failed = [row for row in rows if row.get("status") != "finished"]
        for row in failed:
            self.say(f"failed: {row.get('run')}: {row.get('reason')}")
        self.say(f"{len(self.runs) - len(failed)} of {len(self.runs)} runs finished")
        return len(failed) + self.failed

    def _folder(self, run: PlannedRun) -> Workdir:
        return Workdir(self.workdir / "runs" / run.name)

    def _is_finished(self, run: PlannedRun) -> bool:
        row = self.results.rows.get(run.name)
        if row is None or row["status"] != "finished":
            return False
        if not plan.same_run(config_lib.from_json(json.dumps(row["config"])), run.config):
            raise TrainingError(
                f"{self.workdir} holds a finished run {run.name!r} with another config; use "
                "another --workdir, or name the difference as an axis."
            )
        return True

    # ---- training ----

    def _train(self, group: list[PlannedRun]) -> None:
        start = time.perf_counter()
        reached: list[training.Result | Exception]
        try:
            if len(group) == 1:
                (run,) = group
                reached = [training.train(run.config, self._folder(run), self._indented)]
            else:
                folders = [self._folder(run) for run in group]
                key = hashlib.sha256("\n".join(run.name for run in group).encode()).hexdigest()
                aside = self.workdir / "side_by_side" / key[:16]
                configs = [run.config for run in group]
                reached = list(side_by_side.train(configs, folders, aside, self._indented))
                with contextlib.suppress(OSError):  # not empty: a group that failed before
                    aside.parent.rmdir()
        except Exception as error:  # whatever it was: the other points go on, and the row says it
            reached = [error] * len(group)
        seconds = (time.perf_counter() - start) / len(group)
        for run, result in zip(group, reached, strict=True):
            self.results.add(self._row(run, result, seconds, len(group)))
            if isinstance(result, Exception):
                self.say(f"  failed: {run.name}: {_reason(result)}")

    def _indented(self, line: str) -> None:
        self.say(f"  {line}")

    def _row(
        self, run: PlannedRun, result: training.Result | Exception, seconds: float, members: int
    ) -> dict[str, Any]:
        row: dict[str, Any] = {"run": run.name, "kind": "trained", "axes": run.axes}
        row |= {"seed": run.config.seed, "folder": f"runs/{run.name}"}
        row |= {"protocol": run.config.split.protocol, "data": plan.data_of(run.config)}
        if isinstance(result, Exception):
            row |= {"status": "failed", "reason": _reason(result), "metrics": {}}
        else:
            best = [
                logged
                for logged in self._folder(run).read_metrics()
                if logged["split"] != "train" and logged["step"] == result.best_step
            ]
            by_split = {logged["split"]: logged["metrics"] for logged in best}
            row |= {"status": "finished", "reason": ""}
            row |= {"metrics": by_split, "labels": result.labels}
            row |= {"best_step": result.best_step, "best_epoch": best[-1]["epoch"]}
            row |= {"examples_per_second": result.examples_per_second}
        row |= {"wall_seconds": seconds, "side_by_side": members, "export_bytes": None}
        row |= {"config": dataclasses.asdict(run.config)}
        row |= {"config_sha256": config_lib.sha256(run.config)}
        return row | self.origin

    # ---- exports ----

    def _add_export(self, run: PlannedRun) -> None:
        row = self.results.rows.get(run.name, {})
        wanted = run.config.export.enabled and (run.first or self.options.export == "all")
        if not (self.exports and wanted) or row.get("status") != "finished" or row["export_bytes"]:
            return
        from flaxrec.exporting.bundle import export

        try:
            # The run's own config: its data may lie elsewhere than where they were trained on.
            bundle = export(self._folder(run))
            size = (bundle.folder / "model.tflite").stat().st_size
        except Exception as error:
            self.failed += 1
            self.say(f"  export failed: {run.name}: {_reason(error)}")
            self.results.add(row | {"reason": f"export: {_reason(error)}"})
            return
        self.results.add(row | {"export_bytes": size})

    def _add_accuracy(self, run: PlannedRun) -> None:
        row = self.results.rows.get(run.name, {})
        is_exported = row.get("status") == "finished" and row["export_bytes"]
        if not (self.options.exported_accuracy and is_exported) or row.get("exported"):
            return
        from flaxrec.exporting import file_ranks

        try:
            (file,) = file_ranks.of_run(self._folder(run), prepare(run.config))
        except Exception as error:
            self.failed += 1
            self.say(f"  accuracy of the export failed: {run.name}: {_reason(error)}")
            return
        by_split = {"metrics": file.metrics["test"]}
        by_split["validation"] = file.metrics.get("validation", {})
        measured = {"bytes": file.bytes, "recipe": file.recipe, **by_split}
        self.results.add(row | {"exported": measured})

    # ---- baselines ----

    def _add_baselines(self) -> None:
        """Every baseline on each data and split of the sweep."""
        of_data: dict[str, Config] = {}
        for run in self.runs:
            row = self.results.rows.get(run.name, {})
            if row.get("status") == "finished":
                of_data.setdefault(plan.data_of(run.config), run.config)
        for data, config in of_data.items():
            missing = [
                name
                for name in baselines.BASELINES
                if self.results.rows.get(_baseline_name(name, data), {}).get("status") != "finished"
            ]
            if not missing:
                continue
            try:
                dataset = prepare(config)
            except FlaxrecError as error:
                self.say(f"  no baselines on {data}: {_reason(error)}")
                continue
            for name in missing:
                self._add_baseline(name, data, config, dataset)

    def _add_baseline(self, name: str, data: str, config: Config, dataset: Any) -> None:
        start = time.perf_counter()
        row: dict[str, Any] = {"run": _baseline_name(name, data), "kind": "baseline"}
        row |= {"axes": {"baseline": name, "data": data}, "seed": None, "data": data}
        row |= {"folder": f"baselines/{_file_name(data)}/{name}", "protocol": config.split.protocol}
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
        row |= {"config": dataclasses.asdict(config), "config_sha256": config_lib.sha256(config)}
        self.results.add(row | self.origin)
        self.say(f"  baseline {name} on {data}: {row['status']}")


def _baseline_name(name: str, data: str) -> str:
    return f"baseline={name},data={_file_name(data)}"


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.=+-]+", "-", text)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return (
        text[:500] if isinstance(error, FlaxrecError) else f"{type(error).__name__}: {text[:500]}"
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _git() -> dict[str, Any]:
    """The revision of the checkout that runs; None where there is none."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()

    if shutil.which("git") is None:
        return {"revision": None, "dirty": None}
    try:
        return {"revision": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except subprocess.CalledProcessError:
        return {"revision": None, "dirty": None}
