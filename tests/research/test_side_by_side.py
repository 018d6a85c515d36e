"""Runs trained as one program: each is the run that it would have been alone."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flaxrec.devices import Mesh
from flaxrec.errors import ConfigError, TrainingError
from flaxrec.models import dual_encoder
from flaxrec.research import side_by_side
from flaxrec.training.checkpoints import Checkpoints
from flaxrec.training.run import train
from flaxrec.training.workdir import Workdir
from tests.support.members import make_config, train_together
from tests.support.places import ROOT


def best_of(workdir: Workdir) -> dict[str, np.ndarray]:
    from flaxrec.data.dataset import prepare

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


@pytest.mark.parametrize("encoder", ["bow", "lstm", "attention"])
def test_each_member_is_its_own_single_run_over_200_steps(encoder: str, tmp_path: Path):
    configs = [make_config(seed, encoder) for seed in (0, 7)]
    results, workdirs = train_together(configs, tmp_path)
    for i, config in enumerate(configs):
        alone = Workdir(tmp_path / f"alone{i}")
        reached = train(config, alone, lambda line: None)
        assert alone.read_metrics()[-2]["step"] >= 200
        assert_same_run(alone, workdirs[i])
        assert results[i].best_step == reached.best_step
    assert not (tmp_path / "together").exists()
    # A member's folder is a run's like any: finished, it is evaluated again and trains nothing.
    member, before = workdirs[0], workdirs[0].metrics_file.read_bytes()
    assert any(member.tensorboard.iterdir())
    train(configs[0], member, lambda line: None)
    assert member.metrics_file.read_bytes() == before


def test_members_have_their_own_rates_and_one_that_diverges_fails_alone(tmp_path: Path):
    configs = [
        make_config(0, name="adamw", learning_rate=rate, weight_decay=decay, epochs=2)
        for rate, decay in ((1e-3, 0.0), (1e-2, 0.0), (1e-2, 0.1), (1e30, 0.0))
    ]
    results, (*workdirs, diverged) = train_together(configs, tmp_path)
    for i, workdir in enumerate(workdirs):
        train(configs[i], Workdir(tmp_path / f"alone{i}"), lambda line: None)
        assert_same_run(Workdir(tmp_path / f"alone{i}"), workdir)
    tables = [best_of(workdir)["label_encoder/table"] for workdir in workdirs]
    assert np.abs(tables[0] - tables[1]).max() > 1e-3
    assert np.abs(tables[1] - tables[2]).max() > 1e-3
    assert isinstance(results[3], TrainingError)
    assert "not a finite number" in str(results[3])
    assert not diverged.path.exists()


def test_patience_stops_each_member_on_its_own(tmp_path: Path):
    configs = [make_config(0, epochs=6, learning_rate=rate) for rate in (1e-8, 5e-3)]
    for config in configs:
        config.train.patience = 1
        config.train.select_metric = "mean_rank"
    configs[0].optimizer.learning_rate = 0.5  # jumps about: no better epoch after the first ones
    _, workdirs = train_together(configs, tmp_path)
    epochs = []
    for i, config in enumerate(configs):
        alone = Workdir(tmp_path / f"alone{i}")
        train(config, alone, lambda line: None)
        count = [r["epoch"] for r in alone.read_metrics() if r["split"] == "validation"][-1]
        together = [r["epoch"] for r in workdirs[i].read_metrics() if r["split"] == "validation"]
        assert together[-1] == count
        epochs.append(count)
    assert epochs[0] != epochs[1]  # else the test says nothing


def test_an_interrupted_group_goes_on_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    configs = [make_config(seed) for seed in (0, 1)]
    _, unbroken = train_together(configs, tmp_path / "a")

    original = side_by_side.Members._save
    saves = []

    def stop_after_second(self: side_by_side.Members) -> None:
        original(self)
        saves.append(1)
        if len(saves) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(side_by_side.Members, "_save", stop_after_second)
    with pytest.raises(KeyboardInterrupt):
        train_together(configs, tmp_path / "b")
    monkeypatch.undo()
    _, resumed = train_together(configs, tmp_path / "b")
    for a, b in zip(unbroken, resumed, strict=True):
        assert a.metrics_file.read_bytes() == b.metrics_file.read_bytes()
        for name, value in best_of(a).items():
            assert np.array_equal(value, best_of(b)[name])


def test_other_differences_are_refused(tmp_path: Path):
    configs = [make_config(0), make_config(1, epochs=4)]
    with pytest.raises(ConfigError, match=r"config\.train\.epochs"):
        train_together(configs, tmp_path)


def test_members_spread_over_devices(tmp_path: Path):
    """Three members on two devices: the fourth place is a repeat that nobody reads."""
    program = (
        "import jax, pathlib, sys\nfrom tests.support import members as t\n"
        "assert jax.device_count() == 2\n"
        "configs = [t.make_config(seed, epochs=1) for seed in (0, 1, 2)]\n"
        "t.train_together(configs, pathlib.Path(sys.argv[1]))\n"
    )
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "PYTHONPATH": str(ROOT),
    }
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], env=environment, check=True, timeout=300
    )
    for seed in (0, 2):  # the first of each device
        alone = Workdir(tmp_path / f"alone{seed}")
        train(make_config(seed, epochs=1), alone, lambda line: None)
        assert_same_run(alone, Workdir(tmp_path / f"run{seed}"))
