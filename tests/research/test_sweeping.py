"""The sweep's folder: rows, what is finished, failures, kills."""

import json
import shutil
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
from tests.support.commands import Command, assert_one_sentence, run_all
from tests.support.shared_programs import shared_programs

QUIET = Options(together=False, export="none")


@pytest.fixture(scope="module", autouse=True)
def _shared_programs():
    with shared_programs():
        yield


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
    """Nor the state of the checkout, which may be edited between two sweeps, nor the checksum."""
    left_out = ("wall_seconds", "examples_per_second", "git", "crc32")
    return {k: v for k, v in row.items() if k not in left_out}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of two runs."""
    folder = tmp_path_factory.mktemp("unbroken") / "s"
    assert run(planned(a=1e-3, b=2e-3), folder)[0] == 0
    return folder


@pytest.fixture
def copied(unbroken: Path, tmp_path: Path) -> Path:
    """The finished sweep, in a folder of the test's own."""
    return shutil.copytree(unbroken, tmp_path / "s")


def test_a_row_tells_everything(unbroken: Path):
    (row, _, *baselines) = rows_of(unbroken)
    assert row["status"] == "finished"
    assert row["axes"] == {"rate": "a"}
    assert row["config_sha256"] == config_lib.sha256(
        config_lib.from_json(json.dumps(row["config"]))
    )
    logged = Workdir(unbroken / row["folder"]).read_metrics()
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
    assert all((unbroken / b["folder"] / "per_label/test.parquet").is_file() for b in baselines)


def test_any_failure_is_recorded_does_not_stop_the_rest_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What is finished is skipped."""
    runs = planned(bad=1e30, large=2e-3, good=1e-3)
    trained = []
    original = training.train

    def noted(config: Config, *arguments, **options) -> training.Result:
        trained.append(config.optimizer.learning_rate)
        if config.optimizer.learning_rate == 2e-3:
            raise MemoryError("no room")
        return original(config, *arguments, **options)

    monkeypatch.setattr(sweeping.training, "train", noted)
    failed, said = run(runs, tmp_path / "s")
    assert failed == 2
    assert trained == [1e30, 2e-3, 1e-3]
    rows = {row["run"]: row for row in rows_of(tmp_path / "s")}
    assert "not a finite number" in rows["rate=bad,seed=0"]["reason"]
    assert rows["rate=large,seed=0"]["reason"] == "MemoryError: no room"
    assert rows["rate=good,seed=0"]["status"] == "finished"
    assert any(line.startswith("failed: rate=bad") for line in said)
    trained.clear()
    assert run(runs, tmp_path / "s")[0] == 2
    assert trained == [1e30, 2e-3]


@pytest.mark.parametrize("together", [False, True])
def test_a_killed_sweep_ends_like_an_unbroken_one(
    together: bool, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    runs, options = planned(a=1e-3, b=2e-3), Options(together, "none")
    if together:
        unbroken = tmp_path / "unbroken"
        run(runs, unbroken, options)
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
    rows = [list(map(without_times, rows_of(f))) for f in (unbroken, tmp_path / "broken")]
    assert rows[0] == rows[1]


def test_a_finished_run_with_another_config_is_refused(unbroken: Path):
    before = (unbroken / "results.jsonl").read_bytes()
    with pytest.raises(TrainingError, match="with another config"):
        run(planned(a=2e-3), unbroken)
    assert (unbroken / "results.jsonl").read_bytes() == before


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(TrainingError, match="not a sweep"):
        run(planned(a=1e-3), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_exports_are_added_to_finished_runs(copied: Path):
    pytest.importorskip("tensorflow")
    runs = planned(a=1e-3)
    assert run(runs, copied, Options(False, "first"))[0] == 0
    row = {row["run"]: row for row in rows_of(copied)}["rate=a,seed=0"]
    file = copied / row["folder"] / "export" / "model.tflite"
    assert row["export_bytes"] == file.stat().st_size
    # The file ranks as well, once it is asked for: float32 here, so it ranks as the model.
    assert "exported" not in row
    accurate = Options(False, "first", exported_accuracy=True)
    assert run(runs, copied, accurate)[0] == 0
    row = {row["run"]: row for row in rows_of(copied)}["rate=a,seed=0"]
    exported = row["exported"]
    assert (exported["bytes"], exported["recipe"]) == (row["export_bytes"], "none")
    for split, metrics in {"test": "metrics", "validation": "validation"}.items():
        expected = {name: v for name, v in row["metrics"][split].items() if name != "loss"}
        assert exported[metrics] == pytest.approx(expected, abs=2e-3)
    count = len(rows_of(copied))
    assert run(runs, copied, accurate)[0] == 0
    assert len(rows_of(copied)) == count
    (point,) = [p for p in results.read([copied]).points if p.axes.get("rate") == "a"]
    assert point.exported_values("recall@10") == [exported["metrics"]["recall@10"]]


def test_the_command_tells_wrong_use_in_one_sentence(tmp_path: Path):
    smoke = ["--sweep=configs/sweeps/smoke.py", "--workdir=s"]
    wrong = {
        "--workdir is missing": smoke[:1],
        "There is no sweep file 'nope.py'": ["--sweep=nope.py", smoke[1]],
        "config has no field 'nope'": [*smoke, "--config.nope.x=1"],
        "should be one of": [*smoke, "--export=sometimes"],
        "use --export=first or all": [*smoke, "--export=none", "--exported_accuracy"],
    }
    commands = {told: Command("here", given, "flaxrec/sweep.py") for told, given in wrong.items()}
    for message, done in run_all(tmp_path, commands).items():
        assert message in assert_one_sentence(done)
    assert not (tmp_path / "here" / "s").exists()
