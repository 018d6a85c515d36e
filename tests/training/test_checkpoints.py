"""Checkpoints: what comes back, what stays apart, and a kill at every file operation of a save."""

import contextlib
import errno
import logging
import os
import shutil
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxrec.errors import TrainingError
from flaxrec.training.checkpoints import Checkpoints

OPERATIONS = ("mkdir", "rename", "replace", "rmdir", "unlink", "remove")
# When a restore fails, Orbax drops coroutines that complain about it when they are collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SHARDING = jax.sharding.SingleDeviceSharding(jax.devices()[0])


def make_state(seed: int) -> dict:
    """A pytree as a run's: nested, float32 (with values hard to keep) and a counter."""
    random = np.random.default_rng(seed)
    table = random.standard_normal((5, 3)).astype(np.float32)
    table[0] = [np.nextafter(np.float32(1), np.float32(2)), np.float32(1e-45), -0.0]
    return {
        "params": {"tower/table": jnp.asarray(table), "tower/bias": jnp.full(3, seed, jnp.float32)},
        "count": jnp.int32(seed),
    }


def bits(tree) -> list:
    return [(np.asarray(x).dtype, np.asarray(x).tobytes()) for x in jax.tree.leaves(tree)]


def shapes_of(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=SHARDING), tree)


@contextlib.contextmanager
def opened(folder, **options):
    checkpoints = Checkpoints(folder, **options)
    yield checkpoints
    checkpoints.close()


def latest_of(folder):
    """(seed of the latest state, its notes), once the state proved to be that seed's to the bit."""
    with opened(folder) as checkpoints:
        state, notes = checkpoints.restore_latest(shapes_of(make_state(0)))
    seed = int(state["count"])
    assert bits(state) == bits(make_state(seed))
    return seed, notes


def best_of(folder):
    """The same for the best parameters."""
    with opened(folder) as checkpoints:
        shapes = shapes_of(make_state(0)["params"])
        params, notes = checkpoints.restore_best(shapes, SHARDING)
    seed = int(params["tower/bias"][0])
    assert bits(params) == bits(make_state(seed)["params"])
    return seed, notes


# ---- what comes back ------------------------------------------------------------------------


def test_a_new_folder_has_no_checkpoint(tmp_path):
    with opened(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.latest_step is None
        assert checkpoints.best_step is None
        with pytest.raises(TrainingError, match=r"There is no checkpoint in .*latest; train first"):
            checkpoints.restore_latest(shapes_of(make_state(0)))
        with pytest.raises(TrainingError, match=r"There is no checkpoint in .*best; train first"):
            checkpoints.restore_best(shapes_of(make_state(0)["params"]), SHARDING)


def test_state_and_notes_come_back_to_the_bit(tmp_path):
    notes = {"step": 4, "best_metric": 0.1 + 0.2, "fingerprint": "00ff", "best_step": -1}
    with opened(tmp_path) as checkpoints:
        checkpoints.save_latest(4, make_state(4), notes)
        assert checkpoints.latest_step == 4
    assert latest_of(tmp_path) == (4, notes)


def test_latest_and_best_are_apart_and_one_of_each_is_kept(tmp_path):
    with opened(tmp_path) as checkpoints:
        for step in (2, 4, 10):
            checkpoints.save_latest(step, make_state(step), {"step": step})
            if step <= 4:
                checkpoints.save_best(step, make_state(step)["params"], {"metric": step / 10})
        assert (checkpoints.latest_step, checkpoints.best_step) == (10, 4)
    assert latest_of(tmp_path) == (10, {"step": 10})
    assert best_of(tmp_path) == (4, {"metric": 0.4})
    assert [path.name for path in (tmp_path / "latest").iterdir()] == ["10"]
    assert [path.name for path in (tmp_path / "best").iterdir()] == ["4"]


def test_the_best_of_a_step_is_written_once(tmp_path):
    with opened(tmp_path) as checkpoints:
        checkpoints.save_best(4, make_state(4)["params"], {"metric": 0.4})
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with opened(tmp_path) as checkpoints:
        checkpoints.save_best(4, make_state(5)["params"], {"metric": 0.5})
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == written
    assert best_of(tmp_path) == (4, {"metric": 0.4})


def test_reading_makes_no_folder(tmp_path):
    with pytest.raises(TrainingError, match=r"There are no checkpoints in .*; train first"):
        Checkpoints(tmp_path / "run" / "checkpoints", create=False)
    assert not list(tmp_path.iterdir())


def test_reading_a_run_that_has_no_best_yet(tmp_path):
    with opened(tmp_path) as checkpoints:
        checkpoints.save_latest(4, make_state(4), {})
    shutil.rmtree(tmp_path / "best")
    no_best = pytest.raises(TrainingError, match=r"There is no checkpoint in .*best; train first")
    with opened(tmp_path, create=False) as checkpoints, no_best:
        checkpoints.restore_best(shapes_of(make_state(0)["params"]), SHARDING)


# ---- what cannot be read ----------------------------------------------------------------------


def refuse(folder, template) -> str:
    """The one sentence with which a restore of the best parameters fails."""
    with opened(folder) as checkpoints, pytest.raises(TrainingError) as error:
        checkpoints.restore_best(template, SHARDING)
    message = str(error.value)
    assert "\n" not in message
    assert f"{folder}/best/4 cannot be read or does not fit the config" in message
    return message


@pytest.fixture
def saved(tmp_path):
    """A folder with a latest and a best checkpoint of step 4."""
    with opened(tmp_path) as checkpoints:
        checkpoints.save_latest(4, make_state(4), {"step": 4})
        checkpoints.save_best(4, make_state(4)["params"], {"metric": 0.4})
    return tmp_path


def test_another_shape_is_refused(saved):
    shapes = shapes_of(make_state(0)["params"])
    shapes["tower/table"] = jax.ShapeDtypeStruct((6, 3), jnp.float32)
    refuse(saved, shapes)


@pytest.mark.parametrize("change", ["a parameter more", "a parameter less"])
def test_other_parameters_are_refused(saved, change):
    shapes = shapes_of(make_state(0)["params"])
    if change == "a parameter more":
        shapes["tower/kernel"] = shapes["tower/table"]
    else:
        del shapes["tower/bias"]
    refuse(saved, shapes)


@pytest.mark.parametrize("damage", ["cut", "overwritten", "lost"])
def test_damaged_files_are_refused(saved, damage):
    for path in (saved / "best" / "4" / "params").rglob("*"):
        if path.is_file() and path.parent.name == "d":
            if damage == "cut":
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            elif damage == "overwritten":
                path.write_bytes(b"\xff" * path.stat().st_size)
            else:
                path.unlink()
    refuse(saved, shapes_of(make_state(0)["params"]))
    assert latest_of(saved) == (4, {"step": 4})  # the other one is not touched


# ---- killed while saving ----------------------------------------------------------------------


def copy_if_there(source, target):
    """Copies a file; TensorStore's lock files may be gone by now."""
    with contextlib.suppress(FileNotFoundError):
        shutil.copy2(source, target)


@contextlib.contextmanager
def copies_at_every_operation(folder: Path, copies: Path):
    """Yields a list that fills with copies of `folder`, as a kill before an operation leaves it."""
    made: list[Path] = []
    lock, copying = threading.RLock(), False  # one operation at a time, but not those of copying

    def watched(operation):
        def call(path, *arguments, **options):
            nonlocal copying
            with lock:
                here = options.get("dir_fd") or Path(path).is_relative_to(folder)
                if here and folder.is_dir() and not copying:
                    copying = True
                    made.append(copies / str(len(made)))
                    shutil.copytree(folder, made[-1], copy_function=copy_if_there)
                    copying = False
                return operation(path, *arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in OPERATIONS:
            patch.setattr(os, name, watched(getattr(os, name)))
        yield made


def save_both(folder, step: int) -> None:
    with opened(folder) as checkpoints:
        checkpoints.save_latest(step, make_state(step), {"step": step})
        checkpoints.save_best(step, make_state(step)["params"], {"step": step})


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Folders with checkpoints of step 4, killed at each operation of saving those of step 8."""
    folder = tmp_path_factory.mktemp("killed")
    save_both(folder / "run", 4)
    with copies_at_every_operation(folder / "run", folder / "copies") as copies:
        save_both(folder / "run", 8)
    return copies


def test_a_kill_at_any_moment_of_a_save_leaves_the_old_or_the_new(killed):
    found = []
    for folder in killed[::2]:
        latest, best = latest_of(folder), best_of(folder)
        assert latest[1]["step"] == latest[0]
        assert best[1]["step"] == best[0]
        found.append((latest[0], best[0]))
    assert len(killed) > 40
    assert sorted(set(found), key=found.index) == [(4, 4), (8, 4), (8, 8)]


@pytest.mark.parametrize("step", [8, 12])
def test_a_run_killed_while_saving_saves_again(killed, tmp_path, step):
    """The same step again (what a resumed run does) or a later one: nothing left is an obstacle."""
    for i, copy in enumerate(killed[step // 4 :: 5]):
        folder = shutil.copytree(copy, tmp_path / str(i))
        if step > latest_of(folder)[0]:
            save_both(folder, step)
        else:
            with opened(folder) as checkpoints:
                checkpoints.save_best(step, make_state(step)["params"], {"step": step})
        assert latest_of(folder) == (step, {"step": step})
        assert best_of(folder) == (step, {"step": step})
        assert not list(folder.glob(f"*/{step}.*"))  # the half of a checkpoint is gone


def test_a_first_save_that_was_killed_leaves_no_checkpoint(tmp_path):
    with copies_at_every_operation(tmp_path / "run", tmp_path / "copies") as copies:
        save_both(tmp_path / "run", 4)
    found = []
    for folder in copies:
        with opened(folder) as checkpoints:
            found.append((checkpoints.latest_step, checkpoints.best_step))
    assert sorted(set(found), key=found.index) == [(None, None), (4, None)]


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_in_a_folder_whose_name_is_a_pattern_elsewhere(tmp_path):
    folder = tmp_path / "run[1]" / "checkpoints"
    with opened(folder) as checkpoints:
        checkpoints.save_latest(3, make_state(7), {"step": 3})
    with opened(folder, create=False) as checkpoints:
        state, notes = checkpoints.restore_latest(shapes_of(make_state(7)))
    assert bits(state) == bits(make_state(7))
    assert notes == {"step": 3}


@pytest.mark.parametrize("name", ["absl", "asyncio"])
def test_a_late_thread_does_not_tell_what_the_disk_refused(tmp_path, caplog, name):
    """Orbax's threads may end after the save did, and log a traceback beside the sentence."""
    Checkpoints(tmp_path).close()
    full = f"RESOURCE_EXHAUSTED: Failed to fsync directory: {os.strerror(errno.ENOSPC)}"
    for error in (OSError(errno.ENOSPC, "full"), ValueError(full), ValueError("a fault")):
        try:
            raise error
        except (OSError, ValueError):
            logging.getLogger(name).exception("run() raised an exception")
    assert [record.exc_info[1].args for record in caplog.records] == [("a fault",)]
