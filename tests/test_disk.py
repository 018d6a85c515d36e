"""What the disk refuses: full, without permission, a name too long, no temporary folder."""

import contextlib
import errno
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import jax
import numpy as np
import pytest

from flaxrec import files
from flaxrec.cli import arguments
from flaxrec.data.sources.download import fetch
from flaxrec.demo import litertjs
from flaxrec.errors import DataError, DiskError, ExportError, write_errors_as
from flaxrec.training.checkpoints import Checkpoints
from flaxrec.training.tensorboard import TensorBoard

FULL = os.strerror(errno.ENOSPC)
FOLDER = Path("/runs/mine")


# ---- which errors are the disk's --------------------------------------------------------------


class OpError(Exception):
    """As TensorFlow's, which is no OSError."""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, FULL), FULL),  # of a write, which knows no name
        (OSError(errno.ENOSPC, FULL, "/elsewhere"), FULL),  # such as a temporary folder
        (PermissionError(errno.EACCES, "Permission denied", "/runs/mine/a"), "Permission denied"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/runs/.mine.12/a"), "No su"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only"),
        (ValueError(f"RESOURCE_EXHAUSTED: Error writing 'a/0': {FULL} [os_error_code='28']"), FULL),
        (OpError(f"/runs/mine/variables; {FULL} [Op:SaveV2]"), FULL),
        (OSError(f"parquet: underlying IO error: {FULL} (os error 28)"), FULL),
    ],
)
def test_an_error_of_the_disk_is_a_sentence(error, told):
    with pytest.raises(ExportError) as caught, write_errors_as(ExportError, FOLDER):
        raise error
    message = str(caught.value)
    assert message.startswith(f"/runs/mine cannot be written ({told}")
    room = "; free some room there and run the same command again."
    assert message.endswith(room if told == FULL else "use another --output.")


@pytest.mark.parametrize(
    "error",
    [
        KeyError("a"),
        ValueError("shapes differ"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/elsewhere"),
        PermissionError(errno.EACCES, "Permission denied", "/elsewhere"),
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
        BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
        DataError("a sentence already"),
    ],
    ids=repr,
)
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as caught, write_errors_as(ExportError, FOLDER):
        raise error
    assert caught.value is error


def test_a_remedy_of_the_caller_replaces_that_of_files(tmp_path):
    (tmp_path / "file").write_text("")
    told = write_errors_as(ExportError, tmp_path / "file" / "a", "use another --output")
    what = r"Not a directory.; move what is there, or use another --output"
    with pytest.raises(ExportError, match=what), told:
        files.write_text(tmp_path / "file" / "a", "")
    told = write_errors_as(ExportError, tmp_path / "file", "use another --output")
    with pytest.raises(ExportError, match="is a file; move it"), told:
        files.whole_folder(tmp_path / "file").__enter__()


def test_what_a_command_may_not_read_is_a_sentence(capsys):
    def refused(number, *name):
        raise OSError(number, os.strerror(number), *name)

    assert arguments.run(lambda: refused(errno.EACCES, "/a/b")) == 2
    assert "/a/b cannot be used (Permission denied); " in capsys.readouterr().err
    assert arguments.run(lambda: refused(errno.ENAMETOOLONG, "/a/b")) == 2
    assert "use a shorter name" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError):  # that is a fault of the program
        arguments.run(lambda: refused(errno.ENOENT, "/a/b"))
    with pytest.raises(PermissionError):
        arguments.run(lambda: refused(errno.EACCES))


def test_output_that_has_no_room():
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    script = "import sys; from flaxrec.cli.arguments import run; sys.exit(run(lambda: print('a')))"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=full, stderr=subprocess.PIPE, text=True
        )
    room = "free some room there and run the same command again"
    assert done.stderr == f"flaxrec: The output cannot be used ({FULL}); {room}.\n"
    assert done.returncode == 2


# ---- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a" * 255, "ä" * 127, "x" * 201])
def test_long_names_leave_room_for_what_is_beside(tmp_path, name):
    for text in ("old", "new"):
        files.write_text(tmp_path / name, text)
        with files.whole_folder(tmp_path / name[::-1].replace(name[0], "b")) as folder:
            (folder / "file").write_text(text)
        assert (tmp_path / name).read_text() == text
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(DiskError, match="use a shorter name"):
        files.write_text(tmp_path / (name + "a" * 255), "")


def test_a_device_is_written_to_and_stays(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    files.write_text(tmp_path / "pipe", "through")
    reader.join(10)
    assert read == ["through"]
    assert (tmp_path / "pipe").is_fifo()


def test_a_row_that_has_no_room_is_torn_and_cut_off(tmp_path, monkeypatch):
    log, write = files.JsonLog(tmp_path / "log"), os.write
    log.write({"step": 1})
    sizes = [3, 2]

    def nearly_full(handle, content):
        if not sizes:
            raise OSError(errno.ENOSPC, FULL)
        return write(handle, content[: sizes.pop()])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", nearly_full)
        with pytest.raises(DiskError, match=f"log cannot be written .{FULL}"):
            log.write({"step": 2})
    log.close()
    assert (tmp_path / "log").read_bytes().split(b"\n")[1:] == [b'{"ste']
    with contextlib.closing(files.JsonLog(tmp_path / "log")) as log:
        log.write({"step": 3})
    assert [row["step"] for row in files.read_jsonl(tmp_path / "log")] == [1, 3]


def test_tensorboard_without_room_is_told(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    with contextlib.closing(TensorBoard(tmp_path / "events", 0)) as log:

        def full(handle, content):
            raise OSError(errno.ENOSPC, FULL)

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(DiskError, match=f"events cannot be written .{FULL}"):
            log.write(1, [("loss", 0.5)])


# ---- places -----------------------------------------------------------------------------------


def test_no_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(DiskError, match=r"No temporary folder .*; set TMPDIR"):
        files.temporary_folder().__enter__()
    with pytest.raises(DiskError, match="set TMPDIR"):
        files.plain_path(Path("run[1]")).__enter__()


def test_a_temporary_folder_that_is_full():
    full = OSError(errno.ENOSPC, FULL)
    with pytest.raises(DiskError, match=FULL), files.temporary_folder() as folder:
        raise full
    assert not folder.exists()


def test_no_home(monkeypatch):
    def none(*_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    monkeypatch.setattr(Path, "expanduser", none)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(DataError, match=r"no home folder .*--config.data.cache_dir"):
        fetch("ml-1m", "~/.cache/flaxrec")
    with pytest.raises(ExportError, match=r"no home folder .*XDG_CACHE_HOME"):
        litertjs.cache_folder()
    assert not Path("~").exists()


# Orbax takes the first for a pattern, a separator and an address.
@pytest.mark.parametrize("name", ["run[1]*?", "a\\b\\", "gs:", "\udcff", "new\nline {x} ~ %s "])
def test_checkpoints_in_a_folder_of_any_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    state = {"a/table": jax.numpy.arange(4.0), "b": jax.numpy.ones((3, 2))}
    shapes = {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in state.items()}
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    for step in (1, 2):
        with contextlib.closing(Checkpoints(Path(name) / "checkpoints")) as checkpoints:
            assert checkpoints.latest_step == (step - 1 or None)
            checkpoints.save_latest(step, state, {"n": step})
            checkpoints.save_best(step, state, {"n": step})
    with contextlib.closing(Checkpoints(Path(name) / "checkpoints")) as checkpoints:
        best, notes = checkpoints.restore_best(shapes, sharding)
        assert notes == checkpoints.latest_notes() == {"n": 2}
    assert np.array_equal(best["a/table"], np.arange(4.0))
    assert os.listdir(Path(name) / "checkpoints" / "latest") == ["2"]
    assert os.listdir(tmp_path) == [name]


def test_a_temporary_folder_that_is_a_pattern_itself(tmp_path, monkeypatch):
    (tmp_path / "t[1]").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t[1]"))
    with pytest.raises(DiskError, match=r"run\[1\] .*and so has .*set TMPDIR"):
        files.plain_path(Path("run[1]")).__enter__()
    assert not list((tmp_path / "t[1]").iterdir())
