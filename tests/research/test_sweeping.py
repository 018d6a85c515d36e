"""The sweep's folder: rows, what is finished, failures, kills."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flaxrec import config as config_lib
from flaxrec.config import Config
from flaxrec.config.presets import example_network
from flaxrec.errors import TrainingError
from flaxrec.reporting import results
from flaxrec.research import plan, sweeping
from flaxrec.research.sweeping import Options
from flaxrec.training import run as training
from flaxrec.training.validation import validate
from flaxrec.training.workdir import Workdir
from tests.support.places import ROOT

QUIET = Options(together=False, export="none")


def planned(**rates: float) -> list[plan.PlannedRun]:
    """One run a learning rate."""
    runs = []
    for name, rate in rates.items():
        config = example_network("bow", "smoke")
        config.data.synthetic.users, config.optimizer.learning_rate = 60, rate
        config = validate(config_lib.from_json(config_lib.to_json(config)))
        runs.append(plan.PlannedRun(f"rate={name},seed=0", {"rate": name}, config, True))
    return runs


def run(
    runs: list[plan.PlannedRun], folder: Path, options: Options = QUIET
) -> tuple[int, list[str]]:
    said: list[str] = []
    return sweeping.run(runs, folder, options, said.append), said


def rows_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def without_times(row: dict) -> dict:
    return {k: v for k, v in row.items() if k not in ("wall_seconds", "examples_per_second")}


def test_a_row_tells_everything(tmp_path: Path):
    failed, _ = run(planned(low=1e-3), tmp_path / "s")
    (row, *baselines) = rows_of(tmp_path / "s")
    assert failed == 0
    assert row["status"] == "finished"
    assert row["axes"] == {"rate": "low"}
    assert row["config_sha256"] == config_lib.sha256(
        config_lib.from_json(json.dumps(row["config"]))
    )
    logged = Workdir(tmp_path / "s" / row["folder"]).read_metrics()
    by_split = {entry["split"]: entry["metrics"] for entry in logged}
    assert row["metrics"]["test"] == by_split["test"]
    assert row["metrics"]["validation"] == by_split["validation"]
    assert row["best_epoch"] == 1
    assert row["versions"]["jax"]
    assert row["wall_seconds"] > 0
    assert row["export_bytes"] is None
    assert [b["axes"]["baseline"] for b in baselines] == list(sweeping.baselines.BASELINES)
    assert all("loss" not in b["metrics"]["test"] for b in baselines)  # counts are no probabilities
    assert all(0 <= b["metrics"]["test"]["filtered/recall@10"] <= 1 for b in baselines)
    assert all(
        (tmp_path / "s" / b["folder"] / "per_label/test.parquet").is_file() for b in baselines
    )


def test_what_is_finished_is_skipped_and_failures_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    runs = planned(bad=1e30, good=1e-3)
    failed, said = run(runs, tmp_path / "s")
    assert failed == 1
    first = {row["run"]: row for row in rows_of(tmp_path / "s")}
    assert "not a finite number" in first["rate=bad,seed=0"]["reason"]
    assert first["rate=good,seed=0"]["status"] == "finished"
    assert any(line.startswith("failed: rate=bad") for line in said)

    trained = []
    original = training.train

    def noted(config: Config, *arguments) -> training.Result:
        trained.append(config.optimizer.learning_rate)
        return original(config, *arguments)

    monkeypatch.setattr(sweeping.training, "train", noted)
    assert run(runs, tmp_path / "s")[0] == 1
    assert trained == [1e30]


def test_any_exception_is_recorded_and_does_not_stop_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    original = training.train

    def out_of_memory(config: Config, *arguments) -> training.Result:
        if config.optimizer.learning_rate == 1e-3:
            raise MemoryError("no room")
        return original(config, *arguments)

    monkeypatch.setattr(sweeping.training, "train", out_of_memory)
    assert run(planned(a=1e-3, b=2e-3), tmp_path / "s")[0] == 1
    rows = {row["run"]: row for row in rows_of(tmp_path / "s")}
    assert rows["rate=a,seed=0"]["reason"] == "MemoryError: no room"
    assert rows["rate=b,seed=0"]["status"] == "finished"


@pytest.mark.parametrize("together", [False, True])
def test_a_killed_sweep_ends_like_an_unbroken_one(
    together: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    runs, options = planned(a=1e-3, b=2e-3), Options(together, "none")
    run(runs, tmp_path / "unbroken", options)
    calls = []
    original = sweeping.per_label.write if together else training.Run._save

    def killed(*arguments) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        original(*arguments)

    target = (training.per_label, "write") if together else (training.Run, "_save")
    monkeypatch.setattr(*target, killed)
    with pytest.raises(KeyboardInterrupt):
        run(runs, tmp_path / "broken", options)
    monkeypatch.undo()
    if (tmp_path / "broken/results.jsonl").exists():  # as a writer killed in the middle leaves it
        with open(tmp_path / "broken/results.jsonl", "a") as file:
            file.write('{"run": "rate=b,se')
    run(runs, tmp_path / "broken", options)
    rows = [list(map(without_times, rows_of(tmp_path / name))) for name in ("unbroken", "broken")]
    assert rows[0] == rows[1]


def test_a_finished_run_with_another_config_is_refused(tmp_path: Path):
    run(planned(a=1e-3), tmp_path / "s")
    changed = planned(a=2e-3)
    with pytest.raises(TrainingError, match="with another config"):
        run(changed, tmp_path / "s")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(TrainingError, match="not a sweep"):
        run(planned(a=1e-3), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_exports_are_added_to_finished_runs(tmp_path: Path):
    pytest.importorskip("tensorflow")
    runs = planned(a=1e-3)
    run(runs, tmp_path / "s")
    assert run(runs, tmp_path / "s", Options(False, "first"))[0] == 0
    row = {row["run"]: row for row in rows_of(tmp_path / "s")}["rate=a,seed=0"]
    file = tmp_path / "s" / row["folder"] / "export" / "model.tflite"
    assert row["export_bytes"] == file.stat().st_size
    # The file ranks as well, once it is asked for: float32 here, so it ranks as the model.
    assert "exported" not in row
    accurate = Options(False, "first", exported_accuracy=True)
    assert run(runs, tmp_path / "s", accurate)[0] == 0
    row = {row["run"]: row for row in rows_of(tmp_path / "s")}["rate=a,seed=0"]
    exported = row["exported"]
    assert (exported["bytes"], exported["recipe"]) == (row["export_bytes"], "none")
    for split, metrics in {"test": "metrics", "validation": "validation"}.items():
        expected = {name: v for name, v in row["metrics"][split].items() if name != "loss"}
        assert exported[metrics] == pytest.approx(expected, abs=2e-3)
    count = len(rows_of(tmp_path / "s"))
    assert run(runs, tmp_path / "s", accurate)[0] == 0
    assert len(rows_of(tmp_path / "s")) == count
    (point,) = [p for p in results.read([tmp_path / "s"]).points if not p.is_baseline]
    assert point.exported_values("recall@10") == [exported["metrics"]["recall@10"]]


def test_the_command_tells_wrong_use_in_one_sentence(tmp_path: Path):
    def command(*arguments: str) -> subprocess.CompletedProcess:
        program = [sys.executable, "-m", "flaxrec.sweep", *arguments]
        return subprocess.run(program, capture_output=True, text=True, cwd=ROOT, timeout=120)

    smoke = ("--sweep=configs/sweeps/smoke.py", f"--workdir={tmp_path / 's'}")
    for arguments, message in {
        smoke[:1]: "--workdir is missing",
        ("--sweep=nope.py", smoke[1]): "There is no sweep file 'nope.py'",
        (*smoke, "--config.nope.x=1"): "config has no field 'nope'",
        (*smoke, "--export=sometimes"): "should be one of",
        (*smoke, "--export=none", "--exported_accuracy"): "use --export=first or all",
    }.items():
        done = command(*arguments)
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not (tmp_path / "s").exists()
