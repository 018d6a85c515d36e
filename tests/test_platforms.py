"""Linux in the place of macOS, Windows and network file systems: what each lacks is taken away."""

import ast
import contextlib
import errno
import io
import os
import re
import sys
import zipfile
from pathlib import Path, PureWindowsPath

import pytest

from flaxrec import files
from flaxrec.cli import arguments
from flaxrec.config import Config, FeatureConfig, GroupConfig, ModelConfig, loading
from flaxrec.data.sources import download
from flaxrec.errors import ConfigError, TrainingError
from flaxrec.measuring import phone
from flaxrec.research import plan
from flaxrec.tflite.inspection import inspect
from flaxrec.training import workdir as workdir_lib
from flaxrec.training.validation import validate
from flaxrec.training.workdir import Workdir
from tests.support.places import ROOT

fcntl = pytest.importorskip("fcntl")
NO_LOCKS = "Run folders cannot be locked here; let no two processes train in one."


@pytest.fixture(autouse=True)
def first_of_the_process():
    workdir_lib._warn_of_no_locks.cache_clear()


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def write_folder(target: Path, text: str) -> None:
    with files.whole_folder(target) as folder:
        (folder / "inside").mkdir()
        (folder / "inside" / "a.txt").write_text(text)


# ---- Windows: no fcntl, and what is open stays where it is ----------------------------------


def is_open(path: str | os.PathLike) -> bool:
    """Whether this process has the path, or anything in it, open."""
    place = os.path.abspath(path)
    for handle in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            held = os.readlink(f"/proc/self/fd/{handle}")
            if held == place or held.startswith(f"{place}/"):
                return True
    return False


@pytest.fixture
def windows(monkeypatch):
    """As on Windows, nothing is locked, exchanged, or moved or removed while it is open."""
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("the open files are not listed here")

    def strict(name):
        real = getattr(os, name)

        def call(path, *rest, **options):
            paths = [path, *rest] if name in ("rename", "replace") else [path]
            # shutil.rmtree removes what is inside by the handle of the folder.
            if not options.get("dir_fd") and any(map(is_open, paths)):
                raise PermissionError(errno.EACCES, "used by another process", str(path))
            if name == "rename" and os.path.lexists(rest[0]):
                raise FileExistsError(errno.EEXIST, "exists", str(rest[0]))
            return real(path, *rest, **options)

        monkeypatch.setattr(os, name, call)

    for name in ("rename", "replace", "unlink", "rmdir"):
        strict(name)
    monkeypatch.setattr(files.whole, "fcntl", None)
    monkeypatch.setattr(files.whole, "_exchange", lambda one, other: False)
    monkeypatch.setattr(files.whole, "_sync", lambda path: None)  # Windows opens no folders


@pytest.mark.usefixtures("windows")
def test_the_substitute_refuses_what_windows_refuses(tmp_path):
    with open(tmp_path / "file", "w"):
        for change in (os.unlink, lambda path: os.replace(path, tmp_path / "other")):
            with pytest.raises(PermissionError):
                change(tmp_path / "file")
        with pytest.raises(PermissionError):
            os.rename(tmp_path, tmp_path.with_name("moved"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileExistsError):
        os.rename(tmp_path / "folder", tmp_path / "empty")


@pytest.mark.usefixtures("windows")
def test_whole_files_and_folders_on_windows(tmp_path):
    for text in ("old", "new"):
        files.write_text(tmp_path / "file", text)
        write_folder(tmp_path / "folder", text)
        assert (tmp_path / "file").read_text() == text
        assert (tmp_path / "folder" / "inside" / "a.txt").read_text() == text
    with pytest.raises(KeyboardInterrupt), files.whole_file(tmp_path / "file"):
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), files.whole_folder(tmp_path / "folder"):
        raise KeyboardInterrupt
    assert (tmp_path / "file").read_text() == "new"
    with files.folder_beside(tmp_path / "folder") as beside:
        (beside / "b.txt").write_text("gone")
    assert names_in(tmp_path) == {"file", "folder"}


@pytest.mark.usefixtures("windows")
def test_a_dead_writer_between_two_renames_on_windows(tmp_path):
    write_folder(tmp_path / ".folder.old.7", "old")
    files.recover(tmp_path / "folder")
    assert (tmp_path / "folder" / "inside" / "a.txt").read_text() == "old"
    assert names_in(tmp_path) == {"folder"}


@pytest.mark.usefixtures("windows")
def test_a_reader_that_restores_what_a_living_writer_moved(tmp_path, monkeypatch):
    """Nothing is locked, and the reader takes the writer for dead."""
    target, rename = tmp_path / "folder", os.rename
    write_folder(target, "old")

    def read_first(source, to):
        if to == target and not target.exists():
            monkeypatch.setattr(os, "rename", rename)
            files.recover(target)
        rename(source, to)

    monkeypatch.setattr(os, "rename", read_first)
    write_folder(target, "new")
    assert (target / "inside" / "a.txt").read_text() == "new"
    assert names_in(tmp_path) == {"folder"}


@pytest.mark.usefixtures("windows")
def test_a_run_folder_on_windows(tmp_path, caplog):
    workdir = Workdir(tmp_path / "run")
    workdir.claim(Config())
    with workdir.lock(), workdir.lock():
        assert workdir.read_config() == Config()
    assert caplog.messages == [NO_LOCKS]
    with contextlib.closing(files.JsonLog(workdir.metrics_file)) as log:
        log.write({"step": 1})
    assert [row["step"] for row in files.read_jsonl(workdir.metrics_file)] == [1]


@pytest.mark.usefixtures("windows")
def test_a_download_is_unpacked_on_windows(tmp_path):
    archive = tmp_path / "ml.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("ml/ratings.dat", "1::2::3::4\n")
    download._unpack(archive, tmp_path / "ml")
    assert (tmp_path / "ml" / "ratings.dat").read_text() == "1::2::3::4\n"
    assert names_in(tmp_path) == {"ml.zip", "ml"}


# ---- file systems without locks -------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_where_the_file_system_has_no_locks(tmp_path, monkeypatch, caplog, number):
    def refuse(file, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    workdir = Workdir(tmp_path / "run")
    workdir.claim(Config())
    with workdir.lock():
        pass
    assert caplog.messages == [NO_LOCKS]
    with contextlib.closing(files.JsonLog(workdir.metrics_file)) as log:
        log.write({"step": 1})
    assert [row["step"] for row in files.read_jsonl(workdir.metrics_file)] == [1]
    write_folder(tmp_path / "folder", "old")
    write_folder(tmp_path / "folder", "new")
    assert (tmp_path / "folder" / "inside" / "a.txt").read_text() == "new"
    assert names_in(tmp_path) == {"run", "folder"}


def test_nfs_locks_what_is_open_for_writing(tmp_path, monkeypatch):
    flock = fcntl.flock

    def of_nfs(file, how):
        if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", of_nfs)
    workdir = Workdir(tmp_path)
    workdir.claim(Config())
    with workdir.lock(), pytest.raises(TrainingError, match="Another process"), workdir.lock():
        pass
    assert workdir.read_config() == Config()


# ---- names and paths ------------------------------------------------------------------------


def test_names_that_differ_only_in_case_would_share_a_file():
    item = FeatureConfig("movie", "item.id")
    groups = [GroupConfig([item]), GroupConfig([FeatureConfig("Movie", "item.genres", "STRING")])]
    with pytest.raises(ConfigError, match=r"Movie, movie, which differ only in case.*; give it"):
        validate(Config(model=ModelConfig(activity_groups=groups)))
    groups[1].features[0].name = "Item"
    with pytest.raises(ConfigError, match="'Item', the name of the items' vocabulary"):
        validate(Config(model=ModelConfig(activity_groups=groups)))


def test_points_that_differ_only_in_case_would_share_a_folder(tmp_path):
    (tmp_path / "sweep.py").write_text(
        "from flaxrec.config import presets\n"
        "def sweep(add):\n"
        "    for form in ('A', 'a'):\n"
        "        add(presets.example_network('bow', None), form=form)\n"
    )
    with pytest.raises(ConfigError, match="adds two points 'form=a,seed=0'"):
        plan.read(tmp_path / "sweep.py", {})


@pytest.mark.parametrize("file", [r"C:\runs\mine.py", "c:/runs/mine.py"])
def test_the_colon_of_a_drive_begins_no_variant(file):
    for name in (file, f"{file}:smoke", f"{file}:C:/films.pbtxt"):
        with pytest.raises(ConfigError, match=re.escape(f"There is no config file {file!r}")):
            loading.load(name)


def test_commands_to_copy_have_slashes_that_every_shell_takes():
    model = inspect(ROOT / "tests/compatibility/version_0_1_0/run/export")
    there = PureWindowsPath(r"C:\runs\my model\model.tflite")
    object.__setattr__(model, "path", there)
    assert phone.commands(model, "a")[0].startswith("adb push 'C:/runs/my model/model.tflite' ")


# ---- text -----------------------------------------------------------------------------------


def problems_of_text(code: str) -> list[int]:
    """Lines that open text in the system's encoding, or write it with the system's line ends."""
    found: list[int] = []
    if not re.search(r"open\(|_text\(|subprocess", code):
        return found  # sooner than by parsing it
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call):
            continue
        names = {keyword.arg for keyword in node.keywords}
        given = [constant for part in node.args for constant in ast.walk(part)]
        given += [keyword.value for keyword in node.keywords if keyword.arg == "mode"]
        texts = [str(c.value) for c in given if isinstance(c, ast.Constant)]
        mode = next((text for text in texts if re.fullmatch("[rwaxbt+]{1,3}", text)), "")
        match node.func:
            case ast.Name("open") | ast.Attribute(_, "open") if "b" not in mode:
                if isinstance(node.func, ast.Attribute) and not (mode or names):
                    continue  # another function of this name
                writes, needed = set(mode) & set("wax+"), {"encoding"}
            case ast.Attribute(ast.Name("files"), "write_text"):
                continue
            case ast.Attribute(_, "write_text" | "read_text" as name):
                writes, needed = name == "write_text", {"encoding"}
            case ast.Attribute(ast.Name("subprocess"), "run" | "Popen" | "check_output"):
                writes, needed = False, {"encoding"} if names & {"text"} else set()
            case _:
                continue
        if needed - names or (writes and "newline" not in names):
            found.append(node.lineno)
    return found


def test_text_has_one_encoding_and_one_line_end_everywhere():
    folders = ("flaxrec", "configs", "tools")
    sources = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    wrong = {
        str(file.relative_to(ROOT)): lines
        for file in sources
        if (lines := problems_of_text(file.read_text(encoding="utf-8")))
    }
    assert wrong == {}
    assert len(sources) > 100


@pytest.mark.parametrize(
    "code",
    [
        "open(path)",
        "path.open('w', encoding='utf-8')",
        "path.read_text()",
        "(folder / 'a').write_text(text, encoding='utf-8')",
        "subprocess.run(command, text=True)",
    ],
)
def test_text_that_depends_on_the_system_is_noticed(code):
    assert problems_of_text(code) == [1]


def test_a_title_that_the_terminal_cannot_show_ends_no_command(monkeypatch):
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="cp1252"))
    assert arguments.run(lambda: print("Amélie, 千と千尋")) == 0
    sys.stdout.flush()
    assert shown.getvalue().decode("cp1252").strip() == "Amélie, ????"
