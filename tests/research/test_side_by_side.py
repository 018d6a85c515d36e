"""Runs trained as one program: each is the run that it would have been alone."""

import contextlib
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flaxrec.data.dataset import prepare
from flaxrec.devices import Mesh
from flaxrec.errors import ConfigError, TrainingError
from flaxrec.models import dual_encoder
from flaxrec.research import side_by_side
from flaxrec.training.checkpoints import Checkpoints
from flaxrec.training.notes import Notes
from flaxrec.training.run import Result, train
from flaxrec.training.workdir import Workdir
from tests.support.members import make_config, make_group, train_together
from tests.support.places import ROOT
from tests.support.shared_programs import shared_programs


@pytest.fixture(scope="module", autouse=True)
def _shared_programs():
    with shared_programs():
        yield


def best_of(workdir: Workdir) -> dict[str, np.ndarray]:
    config = workdir.read_config()
    structure = dual_encoder.structure_of(config, prepare(config).spec)
    with contextlib.closing(Checkpoints(workdir.checkpoints, create=False)) as checkpoints:
        params, _ = checkpoints.restore_best(structure.shapes, Mesh(1, 1).replicated)
    return {name: np.asarray(value) for name, value in params.items()}


def assert_same_run(a: Workdir, b: Workdir) -> None:
    rows_a, rows_b = a.read_metrics(), b.read_metrics()
    keys = ("step", "epoch", "split", "protocol")
    assert [[row[k] for k in keys] for row in rows_a] == [[row[k] for k in keys] for row in rows_b]
    for row_a, row_b in zip(rows_a, rows_b, strict=True):
        for name, value in row_a["metrics"].items():
            assert value == pytest.approx(row_b["metrics"][name], rel=1e-4, abs=1e-4), name
    params_a, params_b = best_of(a), best_of(b)
    for name, value in params_a.items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(params_b[name], value, atol=1e-6 + 1e-4 * scale, rtol=0)


ALONE = (0, 2, 3)


@dataclasses.dataclass(frozen=True)
class Group:
    """The members of `make_group`, trained together and some of them alone."""

    results: list[Result | TrainingError]
    folder: Path
    together: list[Workdir]
    alone: dict[int, Workdir]
    reached: dict[int, Result]


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Group:
    folder, configs = tmp_path_factory.mktemp("group"), make_group()
    results, together = train_together(configs, folder)
    alone = {place: Workdir(folder / f"alone{place}") for place in ALONE}
    reached = {i: train(configs[i], own, lambda line: None) for i, own in alone.items()}
    return Group(results, folder, together, alone, reached)


@pytest.mark.parametrize("place", [0, 2])
def test_each_member_is_its_own_single_run_over_200_steps(group: Group, place: int):
    """With a rate and a decay of its own."""
    assert group.alone[place].read_metrics()[-2]["step"] >= 200
    assert_same_run(group.alone[place], group.together[place])
    assert group.results[place].best_step == group.reached[place].best_step
    assert not (group.folder / "together").exists()


def test_a_members_folder_is_a_runs_like_any(group: Group):
    """Finished, it is evaluated again and trains nothing."""
    member, before = group.together[0], group.together[0].metrics_file.read_bytes()
    assert any(member.tensorboard.iterdir())
    train(make_group()[0], member, lambda line: None, baselines=False)
    assert member.metrics_file.read_bytes() == before


def test_rates_and_decays_make_a_difference(group: Group):
    tables = [best_of(workdir)["label_encoder/table"] for workdir in group.together[:3]]
    assert np.abs(tables[0] - tables[1]).max() > 1e-3
    assert np.abs(tables[1] - tables[2]).max() > 1e-3


def test_one_that_diverges_fails_alone(group: Group):
    assert isinstance(group.results[-1], TrainingError)
    assert "not a finite number" in str(group.results[-1])
    assert not group.together[-1].path.exists()


def test_patience_stops_each_member_on_its_own(group: Group):
    epochs = []
    for place, alone in group.alone.items():
        last = [
            [r["epoch"] for r in workdir.read_metrics() if r["split"] == "validation"][-1]
            for workdir in (alone, group.together[place])
        ]
        assert last[0] == last[1]
        epochs.append(last[0])
    assert len(set(epochs)) > 1  # else the test says nothing


@pytest.mark.parametrize("encoder", ["attention", pytest.param("lstm", marks=pytest.mark.long)])
def test_of_any_encoder(encoder: str, tmp_path: Path):
    """With a seed of its own; attention with dropout, every label of a context in one pass."""
    configs = [make_config(seed, encoder, epochs=1) for seed in (0, 7)]
    results, workdirs = train_together(configs, tmp_path)
    alone = Workdir(tmp_path / "alone")
    reached = train(configs[1], alone, lambda line: None)
    assert alone.read_metrics()[-2]["step"] >= 200
    assert_same_run(alone, workdirs[1])
    assert results[1].best_step == reached.best_step


def test_an_interrupted_group_goes_on_to_the_bit(
    group: Group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    original = side_by_side.Members._save
    saves = []

    def stop_after_second(self: side_by_side.Members) -> None:
        original(self)
        saves.append(1)
        if len(saves) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(side_by_side.Members, "_save", stop_after_second)
    with pytest.raises(KeyboardInterrupt):
        train_together(make_group(), tmp_path)
    monkeypatch.undo()
    results, resumed = train_together(make_group(), tmp_path)
    assert str(results[-1]) == str(group.results[-1])
    for a, b in zip(group.together[:-1], resumed[:-1], strict=True):
        assert a.metrics_file.read_bytes() == b.metrics_file.read_bytes()
        for name, value in best_of(a).items():
            assert np.array_equal(value, best_of(b)[name])


def test_other_differences_are_refused(tmp_path: Path):
    configs = [make_config(0), make_config(1, epochs=4)]
    with pytest.raises(ConfigError, match=r"config\.train\.epochs"):
        train_together(configs, tmp_path)


@pytest.mark.long
def test_members_spread_over_devices(group: Group, tmp_path: Path):
    """Three members on two devices: the fourth place is a repeat that nobody reads."""
    program = (
        "import jax, pathlib, sys\nfrom tests.support import members as t\n"
        "assert jax.device_count() == 2\n"
        "t.train_together(t.make_group()[:3], pathlib.Path(sys.argv[1]))\n"
    )
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    environment = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], env=environment, check=True, timeout=300
    )
    for place in (0, 2):  # the first of each device
        assert_same_run(group.alone[place], Workdir(tmp_path / f"run{place}"))


def test_fewer_evaluations_of_fewer_labels(tmp_path: Path):
    """As in a run of its own."""
    configs = [make_config(seed, epochs=3) for seed in (0, 1)]
    for config in configs:
        config.evaluation.every, config.evaluation.max_labels = 2, 20
    _, (first, second) = train_together(configs, tmp_path)
    train(configs[0], alone := Workdir(tmp_path / "alone"), lambda line: None)
    assert_same_run(alone, first)
    for workdir in (alone, first, second):
        ranked = [row for row in workdir.read_metrics() if row["split"] == "validation"]
        assert [row["epoch"] for row in ranked] == [2, 3]
        assert all(row["sampled_from"] > 20 for row in ranked)


def test_rows_say_when_a_model_that_knows_the_moment_was_asked():
    for asked, further in ((None, {}), ("at the label's time", {"asked": "at the label's time"})):
        member = side_by_side._Member(make_config(0), Notes(), asked)
        member.add_row("validation", {"loss": 1.0}, epoch=2)
        expected = {"step": 0, "epoch": 2, "split": "validation", "protocol": "leave_one_out"}
        assert member.rows == [expected | {"metrics": {"loss": 1.0}} | further]
