"""Devices: eight (of the CPU's) give what one gives, and go on where one stopped, and back.

This file is also the program that does its part on eight devices: `python test_devices.py FOLDER`
trains, and goes on with the run that one device began there.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from flaxrec.config import (
    Config,
    DataConfig,
    FeatureConfig,
    GroupConfig,
    ModelConfig,
    SyntheticConfig,
    TrainConfig,
)
from flaxrec.data.dataset import prepare
from flaxrec.devices import Mesh
from flaxrec.errors import ConfigError
from flaxrec.models import dual_encoder
from flaxrec.training import pieces
from flaxrec.training.checkpoints import Checkpoints
from flaxrec.training.run import train
from flaxrec.training.steps import Job
from flaxrec.training.workdir import Workdir
from tests.support import split_runs
from tests.support.places import ROOT
from tests.support.shared_programs import shared_programs

LOSSES = ("global_softmax", "batch_softmax")
BEGUN_ON_ONE, BEGUN_ON_EIGHT = "begun on one", "begun on eight"
SPLIT, BEGUN_SPLIT = "split", "begun split"  # tables, over four of eight devices


def make_config(loss: str, shards: int = 1) -> Config:
    """Twelve steps with Adam, whose state must be spread as the parameters are."""
    group = GroupConfig([FeatureConfig("context_item_id")])
    config = Config(
        data=DataConfig(synthetic=SyntheticConfig(36, 300, 12)),  # 277 labels
        model=ModelConfig(context_length=4, activity_groups=[group], hidden_dims=()),
        train=TrainConfig(batch_size=64, epochs=3, log_every=2, model_shards=shards),
    )
    config.loss.name, config.optimizer.learning_rate = loss, 0.01
    config.evaluation.ks, config.export.top_k = (1, 10), 10
    config.evaluation.batch_size = 30  # no multiple of 8, and not all of a batch is used
    return config


def stop_after_an_epoch(line: str) -> None:
    """Told what a run does, ends it once the checkpoint of its first epoch is written."""
    if line.startswith("epoch 1/"):
        raise KeyboardInterrupt


def begin(folder: Path, shards: int = 1) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(make_config("global_softmax", shards), Workdir(folder), stop_after_an_epoch)


def run(loss: str, folder: Path, shards: int = 1) -> dict:
    """Metrics by row of a run that is made, or finished."""
    train(make_config(loss, shards), Workdir(folder), lambda line: None)
    return {f"{r['split']} {r['step']}": r["metrics"] for r in Workdir(folder).read_metrics()}


def message_of(*arguments) -> str:
    with pytest.raises(ConfigError) as error:
        Mesh(*arguments)
    return str(error.value)


def with_split_tables(folder: Path) -> tuple[dict, dict]:
    """Rows of runs with split tables, and what they exchange and hold."""
    programs = []

    def kept(*given):
        programs.append(compiled := compiles(*given))
        return compiled

    compiles = pieces.compiled
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "compiled", kept)
        begin(folder / BEGUN_SPLIT, shards=4)
        rows = {SPLIT: run("global_softmax", folder / SPLIT, shards=4)}
        rows[BEGUN_SPLIT] = run("global_softmax", folder / BEGUN_SPLIT)
    config = make_config("global_softmax", shards=4)
    job = Job(config, prepare(config))
    shapes = job.structure.shapes
    params = job.tables.place({name: np.zeros(of.shape, of.dtype) for name, of in shapes.items()})
    return rows, {
        "smallest": split_runs.smallest_table(job),
        "tables": sorted(job.tables.names),
        "parts": {n: [list(p.data.shape) for p in params[n].addressable_shards] for n in params},
        "exchanged": [split_runs.largest_exchange(program) for program in programs[:1]],
        "exchanged in evaluation": split_runs.largest_exchange(
            split_runs.of_evaluation(job, params)
        ),
        "bytes": [p.memory_analysis().argument_size_in_bytes for p in (programs[0], programs[-1])],
    }


def on_eight_devices(folder: Path) -> dict:
    """What the program does; returns what the tests compare."""
    with shared_programs():
        begin(folder / BEGUN_ON_EIGHT)
        rows = {loss: run(loss, folder / f"{loss} on 8") for loss in LOSSES}
        rows[BEGUN_ON_ONE] = run("global_softmax", folder / BEGUN_ON_ONE)
        of_split, programs = with_split_tables(folder)
    mesh = Mesh(0, 64)
    split = mesh.shard(np.zeros((3, 64)), axis=1)
    return {
        "rows": rows | of_split,
        "programs": programs,
        "devices": len(jax.devices()),
        "sizes": [Mesh(*asked).size for asked in ((0, 64), (0, 12), (0, 7), (0, 11), (2, 64))],
        "rounded up": [mesh.round_up(n) for n in (1, 8, 30)],
        "shards": [list(part.data.shape) for part in split.addressable_shards],
        "copies": len(mesh.replicate({"a": np.zeros(3)})["a"].addressable_shards),
        "no multiple": message_of(3, 64),
        "too many": message_of(9, 72),
        "with tables split": [
            [made.rows, made.shards, made.size, made.round_up(5)]
            for made in (Mesh(0, 64, 4), Mesh(0, 7, 4), Mesh(0, 64, 3), Mesh(2, 7, 2))
        ],
        "joined": np.asarray(mesh.join(np.arange(16), 0)).tolist(),
        "no multiple of shards": message_of(6, 64, 4),
        "too many shards": message_of(0, 64, 9),
        "no multiple beside shards": message_of(6, 64, 2),
    }


@pytest.fixture(scope="module", autouse=True)
def traced_once():
    """Runs of one loss share what is traced."""
    with shared_programs():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where both sides put their runs; here those of one device, made first."""
    made = tmp_path_factory.mktemp("parallel")
    begin(made / BEGUN_ON_ONE)
    return made


@pytest.fixture(scope="module")
def eight(folder):
    """What eight devices found."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    environment = {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    child = subprocess.run(
        [sys.executable, __file__, str(folder)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def one(folder):
    """The same runs on one device."""
    assert Mesh(1, 64).size == 1
    return {loss: run(loss, folder / f"{loss} on 1") for loss in LOSSES}


def assert_close(rows: dict, expected: dict) -> None:
    assert list(rows) == list(expected)
    for name in expected:
        assert rows[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-5), name


def best_params(folder: Path, loss: str) -> dict[str, np.ndarray]:
    config = make_config(loss)
    structure, _ = dual_encoder.create(config, prepare(config).spec)
    checkpoints = Checkpoints(folder / "checkpoints", create=False)
    params, _ = checkpoints.restore_best(structure.shapes, Mesh(1, 1).replicated)
    checkpoints.close()
    return jax.device_get(params)


def assert_close_params(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    for name in a:
        tolerance = 1e-6 + 1e-4 * np.abs(b[name]).max()
        np.testing.assert_allclose(a[name], b[name], rtol=0, atol=tolerance, err_msg=name)


# ---- eight are one ----------------------------------------------------------------------------


def test_there_are_eight(eight):
    assert eight["devices"] == 8
    assert len(jax.devices()) != 8  # else the tests below compare a thing with itself


@pytest.mark.parametrize("loss", LOSSES)
def test_eight_devices_train_and_measure_as_one(one, eight, folder, loss):
    assert [name for name in one[loss] if name.startswith("train")][-1] == "train 12"
    assert_close(eight["rows"][loss], one[loss])
    on_eight, on_one = (best_params(folder / f"{loss} on {n}", loss) for n in (8, 1))
    assert_close_params(on_eight, on_one)


@pytest.mark.parametrize("name", [BEGUN_ON_ONE, SPLIT])
def test_eight_give_what_one_gives_after_another_beginning_or_split(one, eight, folder, name):
    assert_close(eight["rows"][name], one["global_softmax"])
    assert_close_params(
        best_params(folder / name, "global_softmax"),
        best_params(folder / "global_softmax on 1", "global_softmax"),
    )


def test_one_goes_on_where_eight_stopped(one, eight, folder):
    assert eight["devices"] == 8
    assert_close(run("global_softmax", folder / BEGUN_ON_EIGHT), one["global_softmax"])


def test_whole_tables_go_on_where_split_ones_stopped(one, eight, folder):
    assert_close(eight["rows"][BEGUN_SPLIT], one["global_softmax"])


def test_no_device_gathers_a_table(eight):
    """By the compiled programs: neither a step of training nor one of evaluation does."""
    found = eight["programs"]
    smallest = found["smallest"]
    assert len(found["tables"]) == 2
    assert smallest > 1000
    assert max(found["exchanged"]) < smallest / 8
    assert found["exchanged in evaluation"] < smallest


def test_a_device_holds_its_part_of_split_tables(eight):
    found = eight["programs"]
    for name, parts in found["parts"].items():
        assert len({tuple(shape) for shape in parts}) == 1
        assert ("/kernel" in name or "/bias" in name) != (name in found["tables"])
    split_bytes, whole_bytes = found["bytes"]
    of_tables = 4 * 3 * found["smallest"] * 2  # at least: two tables with Adam's two averages
    assert whole_bytes - split_bytes > 0.7 * of_tables


# ---- how many ---------------------------------------------------------------------------------


def test_as_many_devices_as_divide_the_batch(eight):
    assert eight["sizes"] == [8, 6, 7, 1, 2]


def test_arrays_are_split_or_copied(eight):
    assert eight["shards"] == [[3, 8]] * 8
    assert eight["copies"] == 8
    assert eight["rounded up"] == [8, 8, 32]


def test_devices_that_do_not_divide_the_batch_are_refused(eight):
    assert eight["no multiple"] == (
        "config.train.batch_size is 64, not a multiple of config.train.devices=3; change one of "
        "them."
    )


def test_more_devices_than_there_are_are_refused(eight):
    assert eight["too many"] == ("config.train.devices is 9, but there are 8; use at most that.")


def test_devices_are_rows_of_the_batch_times_shards(eight):
    assert eight["with tables split"] == [[2, 4, 8, 6], [1, 4, 4, 5], [2, 3, 6, 6], [1, 2, 2, 5]]
    assert eight["joined"] == list(range(16))


def test_devices_that_are_no_multiple_of_the_shards_are_refused(eight):
    says = (
        "config.train.model_shards is {}, but {} devices are no multiple of it; change one of them."
    )
    assert eight["no multiple of shards"] == says.format(4, 6)
    assert eight["too many shards"] == says.format(9, 8)
    assert eight["no multiple beside shards"] == (
        "config.train.batch_size is 64, not a multiple of config.train.devices=6 / model_shards=2; "
        "change one of them."
    )


def test_one_device_keeps_arrays_whole():
    mesh = Mesh(1, 7)
    array = np.arange(14).reshape(2, 7)
    np.testing.assert_array_equal(np.asarray(mesh.shard(array, axis=1)), array)
    assert mesh.round_up(7) == 7


if __name__ == "__main__":
    print(json.dumps(on_eight_devices(Path(sys.argv[1]))))
