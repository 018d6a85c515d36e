"""Several processes of `train_main.py` train one run: as one does, they stop and go on together.

The fast part is one pair of processes; the others are marked long.
"""

import json
import signal
import time

import numpy as np
import pytest

from flaxrec.config import loading
from flaxrec.errors import TrainingError
from flaxrec.files import read_jsonl
from flaxrec.training import run as training
from flaxrec.training.validation import checked
from flaxrec.training.workdir import Workdir
from tests.support.processes import SMALL, Group
from tests.support.shared_programs import shared_programs


def losses_of(folder) -> list[tuple[int, float]]:
    rows = read_jsonl(folder / "metrics.jsonl")
    return [(row["step"], row["metrics"]["loss"]) for row in rows if row["split"] == "train"]


def metrics_of(folder) -> dict[str, dict]:
    rows = read_jsonl(folder / "metrics.jsonl")
    return {f"{r['split']} {r['step']}": r["metrics"] for r in rows}


def finish_alone(folder, **fields) -> None:
    """Goes on with a run in this process, or makes it."""
    settings = SMALL | {name.replace("__", "."): value for name, value in fields.items()}
    given = {name: str(value) for name, value in settings.items()}
    config = loading.load("quickstart:smoke", given).config
    training.train(checked(config), Workdir(folder), lambda line: None)


def assert_close(folder, expected, rel=1e-5) -> None:
    ours, theirs = losses_of(folder), losses_of(expected)
    assert [step for step, _ in ours] == [step for step, _ in theirs]
    np.testing.assert_allclose([x for _, x in ours], [x for _, x in theirs], rtol=rel)
    ours, theirs = metrics_of(folder), metrics_of(expected)
    assert list(ours) == list(theirs)
    for name in theirs:
        assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-4), name


def test_two_stop_at_one_step_and_one_goes_on_as_if_it_had_been_alone(tmp_path):
    # Steps for some seconds, and few checkpoints.
    fields = {"data__synthetic__users": 3000, "train__epochs": 1, "train__log_every": 20}
    folder = tmp_path / "two"
    with Group(folder, 2, **fields) as group:
        group.wait_for_rows(1)
        with (
            pytest.raises(TrainingError, match="Another process trains in"),
            Workdir(folder).lock(),
        ):
            pass
        group.send(signal.SIGTERM, 1)
        assert group.statuses() == [143, 143], group.said
    first, second = group.last_lines()
    assert first == second
    (step,) = (int(path.name) for path in (folder / "checkpoints/latest").iterdir())
    assert first == (
        f"flaxrec: Stopped after step {step}, which is saved; the same command goes on there."
    )
    assert "epoch" not in group.said[1]  # the first one speaks for both
    with shared_programs():
        finish_alone(folder, **fields)
        finish_alone(tmp_path / "one", **fields)
    assert losses_of(folder)[-1][0] > step
    assert_close(folder, tmp_path / "one")


# ---- ends: which process, which moment ----------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("whole", [True, False], ids=["parent", "child"])
@pytest.mark.parametrize("process", [0, 1])
@pytest.mark.parametrize("moment", ["training", "preparation"])
def test_when_one_is_killed_the_others_end_in_a_sentence(tmp_path, moment, process, whole):
    """Process 0 is also the coordinator. The third one tells whether all of them end."""
    users = 3_000 if moment == "training" else 100_000
    fields = {"data__synthetic__users": users, "train__epochs": 40, "evaluation__every": 40}
    with Group(tmp_path / "run", 3, **fields) as group:
        if moment == "training":
            group.wait_for_rows(1)
        else:
            time.sleep(15)  # the processes have met, and make data
        start = time.monotonic()
        if whole:
            group.processes[process].kill()
        else:
            group.kill_child(process)
        statuses = group.statuses(70)
        assert time.monotonic() - start < 60
    others = [number for number in range(3) if number != process or not whole]
    for number in others:
        assert statuses[number] == 2, group.said[number]
        last = group.last_lines()[number]
        assert last.startswith("flaxrec: "), group.said[number]
        assert last.endswith("from the last checkpoint."), group.said[number]


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("process", [0, 1])
def test_two_go_on_to_the_bit(tmp_path, process, number):
    fields = {"data__synthetic__users": 500, "train__epochs": 3}
    with Group(tmp_path / "unbroken", 2, **fields) as group:
        assert group.statuses() == [0, 0], group.said
    stopped = 0
    while True:
        with Group(tmp_path / "stopped", 2, **fields) as group:
            if stopped:
                group.wait_for("resuming after")
            if stopped < 3:
                group.wait_for_rows(3 * (stopped + 1))
                group.send(number, process)
            statuses = group.statuses()
        if statuses == [0, 0]:
            break
        assert statuses == [128 + number] * 2, group.said
        stopped += 1
    assert stopped
    files = [tmp_path / name / "metrics.jsonl" for name in ("unbroken", "stopped")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.long
def test_a_long_validation_is_left_within_the_grace(tmp_path):
    fields = {"data__synthetic__users": 3_000, "train__epochs": 1, "evaluation__batch_size": 2}
    with Group(tmp_path / "run", 2, train__grace_seconds=2, **fields) as group:
        group.wait_for_rows(4)  # those of all scans
        group.send(signal.SIGTERM, 1)
        start = time.monotonic()
        assert group.statuses() == [143, 143], group.said
        assert time.monotonic() - start < 20  # the machine of a test is not free
    assert group.last_lines()[0].startswith("flaxrec: Stopped after step ")


@pytest.mark.long
def test_errors_of_one_end_all(tmp_path):
    folder = tmp_path / "run"
    finish_alone(folder, train__epochs=1)
    with Group(folder, 2, train__epochs=2) as group:  # another config in the folder
        assert group.statuses(120) == [2, 2]
    assert all("holds a run with another config" in line for line in group.last_lines())
    held = tmp_path / "held"
    fields = {"data__synthetic__users": 3_000, "train__epochs": 40}
    with Group(held, 2, **fields) as group:
        group.wait_for_rows(1)
        with Group(held, 2, **fields) as other:
            assert other.statuses(120) == [2, 2]
        assert "Another process trains in" in other.last_lines()[0]
        assert other.last_lines()[1].startswith("flaxrec: Another process of this run ended with")
        group.send(signal.SIGTERM, 0)
        assert group.statuses(120) == [143, 143]


@pytest.mark.long
def test_the_first_exports_when_all_have_ended(tmp_path):
    with Group(tmp_path / "run", 2, train__epochs=1, export__enabled="true") as group:
        assert group.statuses() == [0, 0], group.said
    assert (tmp_path / "run/export/model.tflite").is_file()
    assert "exported" not in group.said[1]


@pytest.mark.long
def test_slurm_tells_who_is_who(tmp_path):
    with Group(tmp_path / "run", 2, slurm=True, train__epochs=1) as group:
        assert group.statuses() == [0, 0], group.said
    assert losses_of(tmp_path / "run")


@pytest.mark.long
def test_without_a_cluster_it_says_what_to_give(tmp_path):
    with Group(tmp_path / "run", 1, slurm=True, train__epochs=1, leave_out="SLURM_PROCID") as group:
        assert group.statuses() == [2], group.said
    assert group.last_lines()[0].endswith(
        "or give --distributed_coordinator, --distributed_processes and --distributed_process."
    )


@pytest.mark.long
def test_other_configs_in_some_processes_are_refused(tmp_path):
    with Group(tmp_path / "run", 2, of_second={"train.epochs": 3}, train__epochs=2) as group:
        assert group.statuses() == [2, 2], group.said
    for line in group.last_lines():
        assert line.startswith("flaxrec: "), group.said
    assert any("another config" in line for line in group.last_lines()), group.said


# ---- how many processes and devices --------------------------------------------------------------


MODELS = {
    "global": {},
    "sampled": {"loss__name": "sampled_softmax", "loss__negatives": 20},
    "batch": {"loss__name": "batch_softmax"},
    "tied lstm": {
        "model__tied_tables": "true",
        "model__activity_groups[0].encoder": "lstm",
        "model__activity_groups[0].features[0].embedding_dim": 16,
    },
    "attention": {
        "model__activity_groups[0].encoder": "attention",
        "train__labels_per_context": 4,
        "train__epochs": 27,  # of two steps
        "evaluation__every": 27,
    },
}


@pytest.mark.long
@pytest.mark.parametrize("name", MODELS)
def test_any_number_of_processes_and_devices_is_one(tmp_path, name):
    """50 steps with dropout at a learning rate of 0.001."""
    fields = {"train__epochs": 9, "evaluation__every": 9} | MODELS[name]
    with Group(tmp_path / "1 x 1", 1, **fields) as group:
        assert group.statuses() == [0], group.said
    assert losses_of(tmp_path / "1 x 1")[-1][0] >= 50
    found = {}
    for count, devices in ((1, 8), (2, 1), (2, 4)):
        for shards in (1, 4):
            if shards > count * devices:
                continue
            folder = tmp_path / f"{count} x {devices} / {shards}".replace("/", "of")
            fields["train__model_shards"] = shards
            with Group(folder, count, devices=devices, **fields) as group:
                assert group.statuses() == [0] * count, group.said
            pairs = zip(losses_of(folder), losses_of(tmp_path / "1 x 1"), strict=True)
            found[folder.name] = max(abs(a / b - 1) for (_, a), (_, b) in pairs)
            assert_close(folder, tmp_path / "1 x 1")
    print(json.dumps({name: found}))
