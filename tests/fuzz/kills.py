"""Kills commands, and lets their disk fail, at every write and at random moments.

python -m tests.fuzz.kills [COMMAND ...] [--how=copies|fails|kills] [--most=N] [--seed=N]

copies: a command runs once; its folder is copied before each write, which is what a kill leaves
there. Each copy must be usable, and the same command must come to the same end from it, tried on
at most --most of them.
fails: the n-th write fails, for each n, once or from then on. The command must say so in one
sentence, and the same command must come to the same end afterwards.
kills: processes of their own are killed at random moments, again and again, until one is through.
"""

import argparse
import contextlib
import dataclasses
import errno
import hashlib
import http.server
import importlib
import io
import json
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flaxrec.files import read_jsonl, recover
from flaxrec.training.run import train
from flaxrec.training.workdir import Workdir
from tests.fuzz.attempts import _place
from tests.support import disk, made_up_starters
from tests.support.faults import Answer, answer
from tests.support.places import ROOT
from tests.support.shared_programs import shared_programs

ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)
SMALL = {
    "data.synthetic.users": 30,
    "data.synthetic.items": 30,
    "data.synthetic.mean_events": 12,
    "train.batch_size": 32,
    "train.log_every": 4,
    "train.checkpoint_every": 4,
    "train.epochs": 2,
    "model.hidden_dims": "()",
    "optimizer.learning_rate": 0.001,
    "export.verification_contexts": 10,
    "export.judged_labels": 20,
}
FLAGS = [f"--config.{name}={value}" for name, value in SMALL.items()]
_IMPORTED = ("tensorflow", "flaxrec.exporting.bundle", "flaxrec.research.sweeping")
CHANGING = ("wall_seconds", "examples_per_second", "git", "crc32")


# ---- commands ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Command:
    """A command that writes into one folder.

    Attributes:
      argv: its arguments, for that folder.
      begin: fills the folder before the first run.
      is_kept: whether all is there that was reported as saved, by the folder and the stdout.
      varies: whether what it writes is another time something else, such as seconds.
    """

    argv: Callable[[Path], list[object]]
    begin: Callable[[Path], None] = lambda folder: None
    is_kept: Callable[[Path, str], bool] = lambda folder, said: True
    varies: bool = False


def _train(folder: Path) -> list[object]:
    off = "--config.export.enabled=false"
    return ["train", "--config=quickstart:smoke", *FLAGS, off, f"--workdir={folder / 'run'}"]


def _epochs_are_kept(folder: Path, said: str) -> bool:
    """Whether a checkpoint and the rows are there of each epoch that a line told of."""
    epochs = [int(n) for n in re.findall(r"^epoch (\d+)/\d+: train", said, re.MULTILINE)]
    run = folder / "run"
    steps = [int(p.name) for p in (run / "checkpoints/latest").glob("*") if p.name.isdigit()]
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True) if epochs else []
    rows = [json.loads(line) for line in lines if line.endswith(b"\n")]
    validated = {row["epoch"]: row["step"] for row in rows if row["split"] == "validation"}
    return all(epoch in validated and max(steps) >= validated[epoch] for epoch in epochs)


def _sweep(folder: Path) -> list[object]:
    file = folder.parent / "sweep.py"
    file.write_text(
        "from flaxrec.config.presets import example_network\n"
        "def sweep(add):\n"
        "    for length in (5, 10):\n"
        "        config = example_network('bow', 'smoke')\n"
        "        config.model.context_length = length\n"
        "        add(config, context_length=length)\n"
    )
    workdir = f"--workdir={folder / 'sweep'}"
    return ["sweep", f"--sweep={file}", workdir, "--export=none", *FLAGS]


def _rows_are_kept(folder: Path, said: str) -> bool:
    """Whether the first run's row is there once the second has begun."""
    if "run 2 of 2" not in said:
        return True
    rows = (folder / "sweep/results.jsonl").read_text().splitlines()
    return json.loads(rows[0])["status"] == "finished"


@contextlib.contextmanager
def commands(place: Path, forks: bool) -> Iterator[dict[str, Command]]:
    """All commands by name; what they read is made in `place`."""
    finished, older, server = place / "inputs/run", place / "inputs/export", _Server()

    def once(target: Path, *argv: object) -> Path:
        if not target.exists():
            given = _forked(lambda: answer(*argv)) if forks else answer(*argv)
            assert given.status == 0, given
        return target

    def trained() -> Path:
        return once(finished, *_train(finished.parent))

    def exported() -> Path:
        return once(older, "export", f"--workdir={trained()}", f"--output={older}", "--top_k=5")

    def stop(folder: Path) -> None:
        """A run with a checkpoint, which goes on."""
        if not (kept := place / "inputs" / "stopped").exists():
            with disk.watched(folder) as calls:
                assert answer(*_train(folder)).status == 0
            shutil.rmtree(folder / "run")
            with disk.watched(folder, len(calls) * 2 // 3, errno.ENOSPC, lasts=True):
                assert answer(*_train(folder)).status
            shutil.copytree(folder / "run", kept)
        shutil.copytree(kept, folder / "run", dirs_exist_ok=True)

    def swept() -> Path:
        """A finished sweep, as starters are packed from."""
        if not (sweep := place / "inputs" / "sweep").exists():
            data = made_up_starters.write_movielens(place / "inputs" / "ml-1m")
            config = made_up_starters.config_of("id", str(data))
            run = Workdir(sweep / "runs/starter=tiny,seed=0")
            run.path.parent.mkdir(parents=True)
            train(config, run, say=lambda line: None)
            made_up_starters.write_rows(sweep, "tiny", config)
        return sweep

    def goldens() -> Path:
        """The quickest: what it writes does not depend on how many there are."""
        (folder := place / "inputs" / "goldens").mkdir(parents=True, exist_ok=True)
        for file in (ROOT / "tests/reference/golden").glob("metrics_cases.*"):
            shutil.copy(file, folder)
        return folder

    def users() -> Path:
        file = place / "inputs" / "users.csv"
        file.write_text("".join(["user,item,time\n", *(f"{n},{n + 1},{n}\n" for n in range(20))]))
        return file

    def prepare(folder: Path) -> list[object]:
        if not (file := place / "inputs" / "events.csv").exists():  # the note has its time
            file.parent.mkdir(parents=True, exist_ok=True)
            rows = (f"{n % 9},{n * 7 % 11},{n}\n" for n in range(200))
            file.write_text("".join(["user,item,time\n", *rows]))
        data = f"--config.data.path={file}"
        return ["prepare", "--config=own_table", data, f"--output={folder / 'data'}"]

    def export(folder: Path) -> list[object]:
        return ["export", f"--workdir={trained()}", f"--output={folder / 'export'}", "--top_k=6"]

    def an_export_is_there(folder: Path, said: str) -> bool:
        del said
        recover(folder / "export")  # as every reader
        metadata = json.loads((folder / "export/metadata.json").read_text())
        model = (folder / "export/model.tflite").read_bytes()
        old = (exported() / "model.tflite").read_bytes()
        return metadata["top_k"] == (5 if model == old else 6)

    def demo(folder: Path) -> list[object]:
        return ["demo", exported(), f"--output={folder / 'page.html'}", "--noopen"]

    def download(folder: Path) -> list[object]:
        cache = f"--config.data.cache_dir={folder / 'cache'}"
        return [*_train(folder), "--config.data.source=movielens", cache]

    with server:
        yield {
            "train": Command(_train, is_kept=_epochs_are_kept),
            "prepare": Command(prepare),
            "resume": Command(_train, stop, _epochs_are_kept),
            "sweep": Command(_sweep, is_kept=_rows_are_kept),
            "export": Command(
                export,
                lambda folder: (shutil.copytree(exported(), folder / "export"), None)[1],
                an_export_is_there,
            ),
            "report": Command(lambda f: ["report", trained(), f"--output={f / 'report'}"]),
            "demo": Command(demo),
            "pack": Command(lambda f: ["starters", swept(), f"--output={f / 'models'}"]),
            "lists": Command(
                lambda f: [
                    *("recommend", exported(), f"--users={users()}"),
                    f"--output={f / 'lists.parquet'}",
                ]
            ),
            "accuracy": Command(
                lambda f: [
                    *("accuracy", trained(), "--quantization=none"),
                    f"--json={f / 'rows.jsonl'}",
                ]
            ),
            "parity": Command(lambda f: ["parity", goldens(), f"--json={f / 'rows.json'}"]),
            "benchmark": Command(
                lambda f: ["benchmark", exported(), "--calls=5", f"--output={f / 'table.txt'}"],
                varies=True,
            ),
            "download": Command(download, is_kept=_epochs_are_kept),
        }


class _Server(http.server.ThreadingHTTPServer):
    """Serves MovieLens-1M, or what the program takes for it, where a release is downloaded from."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        raw, drawn = io.BytesIO(), random.Random(0)
        lines = (
            f"{u}::{drawn.randrange(1, 31)}::{drawn.randrange(1, 6)}::{1000 * u + t}\n"
            for u in range(1, 31)
            for t in range(12)
        )
        with zipfile.ZipFile(raw, "w") as members:
            members.writestr("ml-1m/ratings.dat", "".join(lines))
            movies = "".join(f"{i}::Film {i} (2000)::Drama\n" for i in range(1, 31))
            members.writestr("ml-1m/movies.dat", movies)
            members.writestr("ml-1m/users.dat", "".join(f"{u}::F::1::1::1\n" for u in range(31)))
            members.writestr("ml-1m/README", bytes(2_000_000))
        self.content = raw.getvalue()

    def __enter__(self) -> "_Server":
        from flaxrec.data.sources import download

        threading.Thread(target=self.serve_forever, daemon=True).start()
        self._kept = download.BASE_URL, download.SHA256, download.fetch.__kwdefaults__
        address = f"http://127.0.0.1:{self.server_address[1]}"
        download.SHA256 = {"ml-1m": hashlib.sha256(self.content).hexdigest()}
        download.fetch.__kwdefaults__ = self._kept[2] | {"base_url": address}
        return self

    def __exit__(self, *_: object) -> None:
        from flaxrec.data.sources import download

        _, download.SHA256, download.fetch.__kwdefaults__ = self._kept
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = self.server.content  # type: ignore[attr-defined]
        start = int((self.headers.get("Range") or "bytes=0-")[len("bytes=") : -1])
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(content[start:])

    def log_message(self, *_: object) -> None:
        pass


# ---- how they end -----------------------------------------------------------------------------


def outcome(folder: Path) -> dict[str, Any]:
    """All in a folder that must not depend on what happened on the way."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        if any(part in ("tensorboard", "checkpoints", "saved_model") for part in path.parts):
            continue
        if path.name == "results.jsonl":
            rows = {row["run"]: row for row in read_jsonl(path)}  # the last counts
            found[name] = [
                {key: value for key, value in row.items() if key not in CHANGING}
                for row in rows.values()
            ]
        elif path.name == "metadata.json":  # sums of the SavedModel, which differ, and of them
            metadata = json.loads(path.read_text(encoding="utf-8"))
            found[name] = {
                key: value for key, value in metadata.items() if key not in ("files", "sha256")
            }
        elif not path.name.endswith(".lock"):
            found[name] = path.read_bytes()
    for checkpoints in folder.rglob("checkpoints"):
        for kind in sorted(checkpoints.iterdir()):
            steps = [int(p.name) for p in kind.iterdir() if p.name.isdigit()]
            found[str(kind.relative_to(folder))] = _arrays(kind / str(max(steps)))
    return found


def _arrays(step: Path) -> dict[str, bytes]:
    import jax
    import numpy as np
    import orbax.checkpoint as ocp

    with ocp.PyTreeCheckpointer() as checkpointer:
        (state,) = (p for p in step.iterdir() if p.name in ("state", "params"))
        tree = checkpointer.restore(state)
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    arrays = {jax.tree_util.keystr(path): np.asarray(leaf).tobytes() for path, leaf in leaves}
    return arrays | {"notes": (step / "notes" / "metadata").read_bytes()}


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Names of what differs, is missing, or was left behind."""
    return [n for n in sorted({*found, *expected}) if found.get(n) != expected.get(n)]


class Search:
    """Runs one command under faults; counts them, and notes what was wrong afterwards."""

    def __init__(self, name: str, command: Command, place: Path, forks: bool):
        self._forks = forks  # JAX has threads: a process that used it is not forked
        self.name, self.command, self._place = name, command, place
        self.folder, self.tried, self.wrong = place / name, 0, list[str]()
        self._renew()
        argv, begin = command.argv(self.folder), time.monotonic()
        given, self._writes = _forked(self._watched, argv) if forks else self._watched(argv)
        self._seconds = time.monotonic() - begin
        assert given.status == 0, given
        self._expected = self._outcome()

    def copies(self, most: int) -> None:
        """Goes on from what a kill before each write leaves."""
        copies = self._place / "copies"
        copies.mkdir()
        self._renew()
        argv = self.command.argv(self.folder)
        with disk.watched(self.folder, copies=copies) as calls:
            given = answer(*argv)
        self._check("unbroken", given)
        gone_on = _evenly(len(calls), most)
        for number, call in enumerate(calls, 1):
            shutil.rmtree(self.folder)
            (copies / str(number)).rename(self.folder)
            what = f"killed before {number} {call}"
            if number in gone_on:
                self._check(what, None, "")
            else:
                self.tried += 1
                self._is_kept(what, "")
        shutil.rmtree(copies)

    def fails(self, most: int, drawn: random.Random) -> None:
        """Lets the n-th write fail, for each n."""
        self._renew()
        argv = self.command.argv(self.folder)
        with disk.watched(self.folder) as calls:
            answer(*argv)
        for number in _evenly(len(calls), most):
            error, lasts = drawn.choice(ERRORS), drawn.random() < 0.5
            self._renew()
            what = f"{number} {calls[number - 1]}: {errno.errorcode[error]}, lasts: {lasts}"
            try:
                with disk.watched(self.folder, number, error, lasts=lasts):
                    given = answer(*argv)
            except Exception as fault:
                self._note(what, f"{_place(fault)} {str(fault)[:200]}")
                given = None
            if given is not None and given.status:
                try:
                    given.refused([self.folder])
                    assert "Traceback" not in given.err, given.err
                    assert os.strerror(error) in given.sentence
                except AssertionError as fault:
                    self._note(what, str(fault)[:500])
            self._check(what, given if given and not given.status else None, "")

    def kills(self, most: int, drawn: random.Random) -> None:
        """Kills processes at random moments, and at random writes."""
        while self.tried < most:
            self._renew()
            for _ in range(40):
                write = drawn.choice((0, drawn.randint(1, self._writes)))
                said, status = self._killed(drawn.uniform(0, self._seconds), write)
                self.tried += status is None
                self._is_kept(f"kill {self.tried}", said)
                if status is not None:
                    break
            self._check(f"after kill {self.tried}", None, None)

    def _killed(self, seconds: float, write: int) -> tuple[str, int | None]:
        """The output of a process that is killed then, or at a write; its status, or None."""
        argv = [str(a) for a in self.command.argv(self.folder)]
        with tempfile.TemporaryFile("w+") as out:
            child = os.fork()
            if not child:
                with contextlib.suppress(BaseException):
                    os.dup2(out.fileno(), 1)
                    os.dup2(out.fileno(), 2)
                    watch = disk.watched(self.folder, write)
                    watch.__enter__()
                    from flaxrec.__main__ import main

                    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
                    status = main(argv)
                    os._exit(status)
                os._exit(99)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                found, status = os.waitpid(child, os.WNOHANG)
                if found:
                    break
                time.sleep(0.002)
            else:
                os.kill(child, signal.SIGKILL)
                _, status = os.waitpid(child, 0)
            out.seek(0)
            said, code = out.read(), os.waitstatus_to_exitcode(status)
        if code in (-signal.SIGKILL, 0):
            return said, None if code else 0
        self._note(f"status {code}", said[-500:])
        return said, code

    # ---- checks ----

    def _watched(self, argv: list[object]) -> tuple[Answer, int]:
        with disk.watched(self.folder) as calls:
            given = answer(*argv)
        return given, len(calls)

    def _answer(self, argv: list[object]) -> Answer:
        return _forked(lambda: answer(*argv)) if self._forks else answer(*argv)

    def _outcome(self) -> dict[str, Any]:
        found = _forked(lambda: outcome(self.folder)) if self._forks else outcome(self.folder)
        return dict.fromkeys(found) if self.command.varies else found

    def _renew(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.command.begin(self.folder)

    def _check(self, what: str, given: Answer | None, said: str | None = None) -> None:
        """The same command must come to the same end; `given`: its answer, if it was through."""
        self.tried += said is not None
        self._is_kept(what, said or "")
        try:
            if given is None:
                given = self._answer(self.command.argv(self.folder))
            if given.status:
                self._note(what, f"again: {given.err[-300:]}")
            elif wrong := differences(self._outcome(), self._expected):
                self._note(what, f"differs: {wrong[:6]}")
        except Exception as fault:
            self._note(what, f"again: {_place(fault)} {str(fault)[:300]}")

    def _is_kept(self, what: str, said: str) -> None:
        try:
            kept = self.command.is_kept(self.folder, said)
        except (OSError, ValueError, KeyError) as error:
            kept = False
            what = f"{what} ({error})"
        if not kept:
            self._note(what, "not kept")

    def _note(self, what: str, wrong: str) -> None:
        self.wrong.append(f"{what}: {wrong}")
        print(f"  {self.name}: {self.wrong[-1]}", flush=True)


def _forked(function: Callable[..., Any], *given: Any) -> Any:
    """What a function returns in a process of its own."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException), open(write, "wb") as file:
            pickle.dump(function(*given), file)
        os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        content = file.read()
    os.waitpid(child, 0)
    return pickle.loads(content)


def _evenly(count: int, most: int) -> list[int]:
    """At most so many of 1 ... count."""
    return sorted({1 + number * count // min(count, most) for number in range(min(count, most))})


def main() -> int:
    """Runs the search; returns the number of faults."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--how", choices=("copies", "fails", "kills"), default="copies")
    parser.add_argument("--most", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if "LD_PRELOAD" not in os.environ:
        if disk.library() is None:
            parser.error("there is no C compiler")
        again = [sys.executable, "-W", "ignore", "-m", "tests.fuzz.kills", *sys.argv[1:]]
        cache = {"JAX_COMPILATION_CACHE_DIR": f"{tempfile.gettempdir()}/flaxrec-kills"}
        cache["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        return subprocess.run(again, env=disk.environment() | cache, check=False).returncode
    faults = 0
    forks = given.how == "kills"
    for module in _IMPORTED if forks else ():  # not by each process anew
        importlib.import_module(module)
    with tempfile.TemporaryDirectory() as place, commands(Path(place), forks) as all_commands:
        shared = contextlib.nullcontext() if forks else shared_programs()
        with shared:
            for name in given.names or all_commands:
                search = Search(name, all_commands[name], Path(place), forks)
                extra = () if given.how == "copies" else (random.Random(given.seed),)
                getattr(search, given.how)(given.most, *extra)
                print(f"{name}, {given.how}: {search.tried} tried, {len(search.wrong)} wrong")
                faults += len(search.wrong)
    return min(faults, 125)


if __name__ == "__main__":
    sys.exit(main())
