"""Whole files and folders, whoever dies, reads or writes at the same time; locks; JSON lines."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flaxrec import files
from flaxrec.errors import DiskError
from flaxrec.files import (
    JsonLog,
    folder_beside,
    lock,
    plain_path,
    read_jsonl,
    recover,
    whole_file,
    whole_folder,
)
from flaxrec.files.json_lines import checksum_of
from tests.support import disk
from tests.support.places import ROOT

fcntl = pytest.importorskip("fcntl")

TWO_WAYS = pytest.mark.parametrize("exchange", [True, False], ids=["exchanged", "renamed twice"])


@pytest.fixture
def way(exchange, monkeypatch, tmp_path):
    """With the exchange of two folders, and as if there were none."""
    if not exchange:
        monkeypatch.setattr(files.whole, "_exchange", lambda one, other: False)
        return
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    if not files.whole._exchange(tmp_path / "one", tmp_path / "other"):
        pytest.skip("nothing is exchanged in one step here")
    for name in ("one", "other"):
        (tmp_path / name).rmdir()


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def fill(target: Path, text: str) -> None:
    with whole_folder(target) as folder:
        (folder / "inside").mkdir()
        (folder / "inside" / "a.txt").write_text(text)
        (folder / "b.txt").write_text(text)


def texts(target: Path) -> tuple[str, str]:
    return (target / "inside" / "a.txt").read_text(), (target / "b.txt").read_text()


@contextlib.contextmanager
def process(script: str, *arguments: object):
    """A process that says something once it stands where it is wanted; killed at the end."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as started:
        try:
            assert started.stdout.readline() == "there\n"
            yield started
        finally:
            started.kill()


WRITER = """
import sys
from pathlib import Path
from flaxrec import files
from flaxrec.errors import DiskError
kind, target = sys.argv[1], Path(sys.argv[2])
with getattr(files, kind)(target) as new:
    new.write(b"half") if kind == "whole_file" else (new / "half").write_text("of it")
    print("there", flush=True)
    sys.stdin.read(1)
"""

BETWEEN_TWO_RENAMES = """
import os, sys
from pathlib import Path
from flaxrec import files
from flaxrec.errors import DiskError
target, rename = Path(sys.argv[1]), os.rename
def renamed(source, to):
    if to == target:
        print("there", flush=True)
        sys.stdin.read(1)
    rename(source, to)
files.whole._exchange = lambda one, other: False
os.rename = renamed
with files.whole_folder(target) as folder:
    (folder / "b.txt").write_text("new")
"""


# ---- whole files ----------------------------------------------------------------------------


def test_a_file_is_replaced_whole(tmp_path, monkeypatch):
    path, seen = tmp_path / "file.json", []
    files.write_text(path, "old ä\n")
    replace = os.replace

    def look_then_replace(source, target):
        seen.append((path.read_bytes(), Path(source).read_bytes()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", look_then_replace)
    files.write_text(path, "new")
    assert seen == [("old ä\n".encode(), b"new")]
    assert path.read_bytes() == b"new"
    assert names_in(tmp_path) == {"file.json"}


def test_a_file_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "file"
    files.write_text(path, "old")
    with contextlib.suppress(KeyboardInterrupt), whole_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert names_in(tmp_path) == {"file"}


def test_a_file_has_the_rights_of_any_new_file(tmp_path):
    (tmp_path / "usual").write_text("")
    files.write_text(tmp_path / "whole", "")
    (tmp_path / "folder").mkdir()
    fill(tmp_path / "whole folder", "")
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "usual").stat().st_mode
    assert (tmp_path / "whole folder").stat().st_mode == (tmp_path / "folder").stat().st_mode


# ---- whole folders --------------------------------------------------------------------------


@TWO_WAYS
@pytest.mark.usefixtures("way")
def test_a_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "folder"
    fill(target, "old")
    (target / "only in the old").write_text("")
    fill(target, "new")
    assert texts(target) == ("new", "new")
    assert names_in(target) == {"inside", "b.txt"}
    assert names_in(tmp_path) == {"folder"}


@TWO_WAYS
@pytest.mark.usefixtures("way")
def test_a_folder_that_fails_leaves_the_old_one_and_no_parents(tmp_path):
    fill(tmp_path / "folder", "old")
    for target in (tmp_path / "folder", tmp_path / "made" / "for it" / "new"):
        with contextlib.suppress(KeyboardInterrupt), whole_folder(target) as folder:
            (folder / "half").write_text("of it")
            raise KeyboardInterrupt
    assert texts(tmp_path / "folder") == ("old", "old")
    assert names_in(tmp_path) == {"folder"}


@TWO_WAYS
@pytest.mark.usefixtures("way")
def test_a_link_is_replaced_and_what_it_led_to_stays(tmp_path):
    fill(tmp_path / "elsewhere", "old")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    for name in ("link", "broken"):
        fill(tmp_path / name, "new")
        assert not (tmp_path / name).is_symlink()
        assert texts(tmp_path / name) == ("new", "new")
    assert texts(tmp_path / "elsewhere") == ("old", "old")
    assert names_in(tmp_path) == {"elsewhere", "link", "broken"}


def test_a_file_is_not_replaced_by_a_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DiskError, match="file is a file; move it"):
        fill(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "mine"
    assert names_in(tmp_path) == {"file"}


@pytest.mark.parametrize("exchange", [True])
@pytest.mark.usefixtures("way")
def test_a_reader_never_finds_the_folder_absent(tmp_path):
    """While it is replaced 50 times."""
    target = tmp_path / "folder"
    fill(target, "0")
    absent, reads, done = [], 0, threading.Event()

    def read():
        nonlocal reads
        while not done.is_set():
            reads += 1
            if not (target.is_dir() and (target / "b.txt").exists()):
                absent.append(reads)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(50):
        fill(target, str(number))
    done.set()
    reader.join()
    assert reads >= 50
    assert absent == []
    assert texts(target) == ("49", "49")


@TWO_WAYS
@pytest.mark.usefixtures("way")
def test_two_writers_at_once(tmp_path):
    """The last to finish wins; neither takes the other's folder for remains."""
    target = tmp_path / "folder"
    with whole_folder(target) as first, whole_folder(target) as second:
        assert first != second
        (first / "b.txt").write_text("first")
        (second / "b.txt").write_text("second")
    assert (target / "b.txt").read_text() == "first"
    assert names_in(tmp_path) == {"folder"}


def test_a_target_that_another_made_meanwhile(tmp_path, monkeypatch):
    target, rename = tmp_path / "folder", os.rename

    def too_late(source, to):
        monkeypatch.setattr(os, "rename", rename)
        fill(target, "another's")
        rename(source, to)

    with whole_folder(target) as folder:
        (folder / "b.txt").write_text("ours")
        monkeypatch.setattr(os, "rename", too_late)
    assert (target / "b.txt").read_text() == "ours"
    assert names_in(tmp_path) == {"folder"}


@pytest.mark.parametrize("earlier", [True, False])
def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path, monkeypatch, earlier):
    target, rename = tmp_path / "folder", os.rename
    if earlier:
        fill(target, "old")

    def fail(source, to):
        if Path(source).name == f".folder.{os.getpid()}":
            raise OSError(28, "No space left on device")
        rename(source, to)

    monkeypatch.setattr(files.whole, "_exchange", lambda one, other: False)
    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="No space left on device"):
        fill(target, "new")
    assert names_in(tmp_path) == ({"folder"} if earlier else set())
    assert not earlier or texts(target) == ("old", "old")


def test_a_path_that_is_a_pattern_elsewhere(tmp_path):
    plain, pattern = tmp_path / "run", tmp_path / "run[1]*"
    for folder in (plain, pattern):
        folder.mkdir()
    with plain_path(plain) as found:
        assert found == plain
    with plain_path(pattern) as found:
        assert not set("[]*?") & set(str(found))
        (found / "file").write_text("x")
    assert (pattern / "file").read_text() == "x"
    assert not found.exists()


# ---- processes that die ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["whole_file", "whole_folder", "folder_beside"])
def test_a_killed_writer_leaves_the_old_and_the_next_one_cleans_up(tmp_path, kind):
    target = tmp_path / "target"
    fill(target, "old") if kind != "whole_file" else files.write_text(target, "old")
    with process(WRITER, kind, target) as writer:
        aside = f".target.{writer.pid}"
        assert names_in(tmp_path) == {"target", aside}
        # A second writer leaves alone what a living one writes.
        with getattr(files, kind)(target):
            assert names_in(tmp_path) == {"target", aside, f".target.{os.getpid()}"}
        assert names_in(tmp_path) == {"target", aside}
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        assert names_in(tmp_path) == {"target", aside}
        with getattr(files, kind)(target):
            assert names_in(tmp_path) == {"target", f".target.{os.getpid()}"}
    assert names_in(tmp_path) == {"target"}


def test_an_old_folder_stays_until_a_killed_writer_is_through(tmp_path):
    fill(tmp_path / "target", "old")
    with process(WRITER, "whole_folder", tmp_path / "target") as writer:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert texts(tmp_path / "target") == ("old", "old")


def test_a_process_number_that_another_process_has_now_is_no_obstacle(tmp_path):
    """Remains of this and of a living process's number: in a container everyone may be process 1.

    Files of the owner's that only look alike stay.
    """
    for number in (os.getpid(), os.getppid()):
        for name in (f".target.{number}", f".target.old.{number}", f".target.{number}.1"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "b.txt").write_text("remains")
    mine = {".target.notes", "target.1", ".targets.1", ".other.1"}
    for name in mine:
        (tmp_path / name).write_text("mine")
    fill(tmp_path / "target", "first")  # puts one of them back, and replaces it
    fill(tmp_path / "target", "new")
    assert texts(tmp_path / "target") == ("new", "new")
    assert names_in(tmp_path) == {"target"} | mine


def test_remains_stay_where_nothing_can_be_locked(tmp_path, monkeypatch):
    """Then nobody knows whether a process of another machine still writes them."""
    for number in (os.getpid(), 1):
        (tmp_path / f".target.{number}").mkdir()

    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    fill(tmp_path / "target", "new")
    assert names_in(tmp_path) == {"target", ".target.1", f".target.{os.getpid()}"}


def test_a_writer_killed_between_two_renames_loses_nothing(tmp_path):
    target = tmp_path / "target"
    fill(target, "old")
    with process(BETWEEN_TWO_RENAMES, target) as writer:
        assert not target.exists()
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    recover(target)  # a reader
    assert texts(target) == ("old", "old")
    recover(target)
    fill(target, "new")
    assert texts(target) == ("new", "new")
    assert names_in(tmp_path) == {"target"}


def test_the_next_writer_puts_back_first(tmp_path):
    target = tmp_path / "target"
    fill(target, "old")
    with process(BETWEEN_TWO_RENAMES, target) as writer:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    with pytest.raises(KeyboardInterrupt), whole_folder(target):
        raise KeyboardInterrupt
    assert texts(target) == ("old", "old")
    assert names_in(tmp_path) == {"target"}


def test_a_reader_waits_for_a_living_writer_between_two_renames(tmp_path):
    target = tmp_path / "target"
    fill(target, "old")
    with process(BETWEEN_TWO_RENAMES, target) as writer:
        reader = threading.Thread(target=recover, args=[target])
        reader.start()
        reader.join(0.2)
        assert reader.is_alive()
        assert not target.exists()
        writer.communicate("go")
        reader.join()
        assert writer.returncode == 0
    assert (target / "b.txt").read_text() == "new"
    assert names_in(tmp_path) == {"target"}


REPLACER = """
import os, random, shutil, signal, sys, time
from pathlib import Path
from flaxrec import files
from tests.support import disk
way, place, kills = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
if way == "renamed twice":
    files.whole._exchange = lambda one, other: False
target = place / "in" / "export"

def fill(text):
    with files.whole_folder(target) as folder:
        (folder / "inside").mkdir()
        for name in ("a.txt", "b.txt", "inside/c.txt"):
            (folder / name).write_text(text)

def whole(folder):
    files.recover(folder)  # as every reader
    found = {name: (folder / name).read_text() for name in ("a.txt", "b.txt", "inside/c.txt")}
    assert len(set(found.values())) == 1, found
    return found["a.txt"]

fill("old")
(place / "copies").mkdir()
with disk.watched(place / "in", copies=place / "copies") as calls:
    fill("new")
seen = [whole(place / "copies" / str(n + 1) / "export") for n in range(len(calls))]
assert set(seen) == {"old", "new"} and seen == sorted(seen, reverse=True), seen
times = random.Random(0)
for kill in range(kills):
    child = os.fork()
    if not child:
        for number in range(10_000):
            fill(f"{kill} {number}")
    time.sleep(times.uniform(0.001, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    whole(target)
fill("last")
assert os.listdir(place / "in") == ["export"], os.listdir(place / "in")
print(len(calls), "writes,", kills, "kills")
"""


@pytest.mark.parametrize("way", ["exchanged", "renamed twice"])
def test_a_kill_at_any_moment_leaves_the_old_folder_or_the_new_one(tmp_path, way):
    """Before every write, as copies of the disk tell, and at random moments."""
    if disk.library() is None:
        pytest.skip("no C compiler")
    arguments = [way, str(tmp_path), os.environ.get("FLAXREC_KILLS", "10")]
    done = subprocess.run(
        [sys.executable, "-c", REPLACER, *arguments],
        env=disk.environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)


def test_nothing_to_recover(tmp_path):
    recover(tmp_path / "target")
    recover(tmp_path / "none" / "target")
    with folder_beside(tmp_path / "target") as folder:
        recover(tmp_path / "target")
        assert names_in(tmp_path) == {folder.name}
    assert names_in(tmp_path) == set()


# ---- locks ----------------------------------------------------------------------------------


def test_a_lock_keeps_others_out_until_the_file_is_closed(tmp_path):
    with open(tmp_path / "lock", "w") as first, open(tmp_path / "lock", "w") as second:
        lock(first)
        with pytest.raises(BlockingIOError):
            lock(second)
        got = threading.Thread(target=lock, args=[second], kwargs={"wait": True})
        got.start()
        got.join(0.1)
        assert got.is_alive()
        first.close()
        got.join(10)
        assert not got.is_alive()


def test_without_locks_nothing_is_locked(tmp_path, monkeypatch):
    monkeypatch.setattr(files.whole, "fcntl", None)
    with open(tmp_path / "lock", "w") as first, open(tmp_path / "lock", "w") as second:
        lock(first)
        lock(second)
    files.write_text(tmp_path / "file", "whole")
    fill(tmp_path / "folder", "whole")
    assert (tmp_path / "file").read_text() == "whole"
    assert names_in(tmp_path) == {"lock", "file", "folder"}


# ---- JSON lines -----------------------------------------------------------------------------

ROWS = [{"step": 1, "name": "ä"}, {"step": 2, "value": 0.1 + 0.2}, {"step": 3}]


def add(path: Path, *rows: dict, keep_bytes: int | None = None) -> int:
    log = JsonLog(path, keep_bytes)
    with contextlib.closing(log):
        for row in rows:
            log.write(row)
        return log.bytes


def logged(path):
    """The rows without their checksums."""
    rows = read_jsonl(path)
    assert all(row.pop("crc32") == checksum_of(row) for row in rows)
    return rows


def test_rows_come_back(tmp_path):
    files.write_jsonl(tmp_path / "written", ROWS)
    assert read_jsonl(tmp_path / "written") == ROWS
    assert (tmp_path / "written").read_text("utf-8").splitlines()[0] == '{"step": 1, "name": "ä"}'
    assert add(tmp_path / "log", *ROWS[:2]) == (tmp_path / "log").stat().st_size
    assert add(tmp_path / "log", ROWS[2]) == (tmp_path / "log").stat().st_size
    assert logged(tmp_path / "log") == ROWS


def test_a_row_is_on_disk_before_write_returns(tmp_path):
    log = JsonLog(tmp_path / "log")
    log.write(ROWS[0])
    assert logged(tmp_path / "log") == ROWS[:1]
    log.close()


@pytest.mark.parametrize("torn", [b'{"step": 2, "na', b'{"step": 2}'])
def test_a_torn_last_line_is_cut_off(tmp_path, torn):
    add(tmp_path / "log", ROWS[0])
    with open(tmp_path / "log", "ab") as file:
        file.write(torn)
    add(tmp_path / "log", ROWS[1])
    assert logged(tmp_path / "log") == ROWS[:2]


def test_a_log_is_no_pipe(tmp_path):
    os.mkfifo(tmp_path / "log")
    with pytest.raises(DiskError, match="log is no regular file; move it"):
        JsonLog(tmp_path / "log")


def test_a_file_of_a_torn_line_alone(tmp_path):
    (tmp_path / "log").write_bytes(b'{"st')
    add(tmp_path / "log", ROWS[0])
    assert logged(tmp_path / "log") == ROWS[:1]


def test_a_log_is_cut_back_and_never_filled_up(tmp_path):
    kept = add(tmp_path / "log", ROWS[0])
    add(tmp_path / "log", *ROWS[1:])
    add(tmp_path / "log", ROWS[2], keep_bytes=kept)
    assert logged(tmp_path / "log") == [ROWS[0], ROWS[2]]
    add(tmp_path / "log", ROWS[1], keep_bytes=10**6)
    assert logged(tmp_path / "log") == [ROWS[0], ROWS[2], ROWS[1]]
    assert b"\0" not in (tmp_path / "log").read_bytes()


def test_one_process_at_a_time_appends(tmp_path):
    with contextlib.closing(JsonLog(tmp_path / "log")) as log:
        log.write(ROWS[0])
        with pytest.raises(BlockingIOError):
            JsonLog(tmp_path / "log")
        log.write(ROWS[1])
    add(tmp_path / "log", ROWS[2])
    assert logged(tmp_path / "log") == ROWS
