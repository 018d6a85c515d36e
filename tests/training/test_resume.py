"""A run that is killed, anywhere, and started again is the unbroken run to the bit.

First in this process: an unbroken run is copied after everything it writes, which is what a kill
leaves on the disk at that moment; every copy is then finished. Then in earnest: `train_main.py` as
a process of its own, killed by SIGKILL again and again.

Runs in this process share their traced steps; those killed trace them anew, as a user's.
"""

import dataclasses
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from flaxrec.config import Config
from flaxrec.data.dataset import Dataset, prepare
from flaxrec.data.spec import ModelSpec
from flaxrec.data.vocabulary import Vocabulary
from flaxrec.devices import Mesh
from flaxrec.errors import TrainingError
from flaxrec.evaluation.evaluator import Evaluator
from flaxrec.files import read_jsonl
from flaxrec.terminal import stopping
from flaxrec.training import pace
from flaxrec.training import run as training
from flaxrec.training.checkpoints import Checkpoints
from flaxrec.training.run import train
from flaxrec.training.run_assets import RunAssets
from flaxrec.training.validation import checked
from flaxrec.training.workdir import MetricsLog, Workdir
from tests.support.places import ROOT
from tests.support.shared_programs import shared_programs

SCAN, STEPS, EPOCHS = 5, 10, 2  # 2 scans an epoch, a checkpoint after each


# ---- the runs ---------------------------------------------------------------------------------


def overrides(epochs: int) -> dict:
    return {
        "data.synthetic.users": 44,
        "data.synthetic.items": 40,
        "data.synthetic.mean_events": 12,
        "train.batch_size": 32,
        "train.log_every": SCAN,
        "train.checkpoint_every": SCAN,
        "train.epochs": epochs,
        "model.dropout": 0.1,
        "model.hidden_dims": (),
        "optimizer.learning_rate": 0.001,
        # The loss is better after every epoch; recall@10 is worse after the second.
        "train.select_metric": "recall@10" if epochs == EPOCHS else "loss",
        "export.enabled": False,
    }


def make_config(epochs: int = EPOCHS) -> Config:
    """The config that the command line of `Starter` makes."""
    sys.path.insert(0, str(ROOT / "configs"))
    try:
        from quickstart import get_config
    finally:
        sys.path.remove(str(ROOT / "configs"))
    config = get_config("smoke")
    for path, value in overrides(epochs).items():
        *parents, last = path.split(".")
        node = config
        for part in parents:
            node = getattr(node, part)
        setattr(node, last, value)
    return checked(config)


def silent(line: str) -> None:
    del line


def arrays(folder: Path) -> dict[str, bytes]:
    """Every array of a checkpoint, by its path in the tree."""
    with ocp.PyTreeCheckpointer() as checkpointer:
        tree = checkpointer.restore(folder)
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf).tobytes() for path, leaf in leaves}


def steps_in(folder: Path) -> list[int]:
    """Steps of the whole checkpoints of a kind."""
    names = os.listdir(folder) if folder.exists() else []
    return sorted(int(name) for name in names if name.isdigit())


@dataclasses.dataclass
class Outcome:
    """All of a finished run that must not depend on whether it was killed."""

    config: str
    metrics: bytes
    latest: dict[str, bytes]
    best: dict[str, bytes]
    notes: list[str]
    assets: dict[str, bytes]

    @classmethod
    def of(cls, folder: Path) -> "Outcome":
        # A kill at the very end may leave an older one beside it, which then counts for nothing.
        latest, best = (
            folder / "checkpoints" / kind / str(steps_in(folder / "checkpoints" / kind)[-1])
            for kind in ("latest", "best")
        )
        assets = [
            path for path in (folder / "assets").rglob("*") if path.suffix in (".txt", ".json")
        ]
        return cls(
            (folder / "config.json").read_text(),
            (folder / "metrics.jsonl").read_bytes(),
            arrays(latest / "state"),
            arrays(best / "params"),
            [latest.name, best.name]
            + [(step / "notes" / "metadata").read_text() for step in (latest, best)],
            {path.name: path.read_bytes() for path in assets},
        )


@dataclasses.dataclass
class Unbroken:
    """The unbroken run, and its folder after everything that it wrote."""

    folder: Path
    outcome: Outcome
    result: training.Result
    states: dict[str, Path]

    def state(self, name: str, to: Path) -> Workdir:
        """A copy to go on with."""
        shutil.copytree(self.states[name], to)
        return Workdir(to)


@pytest.fixture(scope="module", autouse=True)
def traced_once():
    """What one run has traced, the others need not."""
    with shared_programs():
        yield


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """An unbroken run of EPOCHS epochs with its states."""
    folder, states = tmp_path_factory.mktemp("unbroken") / "run", {}

    def copied_after(owner, name, label):
        function = getattr(owner, name)

        def call(*arguments, **options):
            returned = function(*arguments, **options)
            step = arguments[1]["step"] if name == "write" else arguments[1]
            what = arguments[1]["split"] + " row" if name == "write" else label
            at = f" of step {step}" if isinstance(step, int) else ""
            states[what + at] = folder.parent / str(len(states))
            shutil.copytree(folder, states[what + at])
            return returned

        patch.setattr(owner, name, call)

    with pytest.MonkeyPatch.context() as patch:
        copied_after(Workdir, "claim", "claim")
        copied_after(RunAssets, "write_of", "assets")
        copied_after(MetricsLog, "write", "")
        copied_after(Checkpoints, "save_latest", "latest")
        copied_after(Checkpoints, "save_best", "best")
        result = train(make_config(), Workdir(folder), silent)
    return Unbroken(folder, Outcome.of(folder), result, states)


def test_the_unbroken_run_has_every_kind_of_state(unbroken):
    """Else the tests below would prove less than they say."""
    assert list(unbroken.states)[:4] == [
        "claim",
        "assets",
        "train row of step 5",
        "latest of step 5",
    ]
    assert [name for name in unbroken.states if name.startswith("latest")] == [
        f"latest of step {step}" for step in range(SCAN, EPOCHS * STEPS + 1, SCAN)
    ]
    # The second epoch was not better: latest and best are apart.
    assert [name for name in unbroken.states if name.startswith("best")] == ["best of step 10"]
    assert unbroken.outcome.notes[:2] == ["20", "10"]
    assert list(unbroken.states)[-1] == "test row of step 10"
    assert any("opt_state" in name for name in unbroken.outcome.latest)
    assert len(unbroken.outcome.latest) > 2 * len(unbroken.outcome.best)


# ---- killed between any two things that are written -------------------------------------------


def test_every_state_leads_to_the_same_end(unbroken, tmp_path):
    for number, name in enumerate(unbroken.states):
        workdir = unbroken.state(name, tmp_path / str(number))
        result = train(make_config(), workdir, silent)
        assert Outcome.of(workdir.path) == unbroken.outcome, name
        assert (result.metrics, result.labels) == (unbroken.result.metrics, unbroken.result.labels)
        assert result.best_step == unbroken.result.best_step


def test_a_torn_last_line_is_repaired(unbroken, tmp_path):
    workdir = unbroken.state("latest of step 15", tmp_path / "run")
    with open(workdir.metrics_file, "ab") as file:
        file.write(b'{"step": 20, "epoch": 1, "split": "trai')
    train(make_config(), workdir, silent)
    assert Outcome.of(workdir.path) == unbroken.outcome


def test_it_goes_on_where_it_stopped(unbroken, tmp_path, monkeypatch):
    """From the middle of an epoch, not from its start."""
    said, scans, shard = [], [], Mesh.shard

    def watched_shard(self, array, axis=0):
        scans.extend([array.shape] if axis == 1 else [])
        return shard(self, array, axis)

    monkeypatch.setattr(Mesh, "shard", watched_shard)
    workdir = unbroken.state("train row of step 20", tmp_path / "run")
    train(make_config(), workdir, said.append)
    assert "resuming after step 15 (epoch 2)" in said
    assert scans == [(SCAN, 32)] * 2  # positions and counts of one scan


def test_a_finished_run_again_changes_nothing(unbroken, tmp_path):
    workdir = Workdir(shutil.copytree(unbroken.folder, tmp_path / "run"))

    def contents():
        files = [path for path in workdir.path.rglob("*") if path.is_file()]
        return {p: p.read_bytes() for p in files if workdir.tensorboard not in p.parents}

    before = contents()
    result = train(make_config(), workdir, silent)
    assert contents() == before
    assert (result.metrics, result.labels) == (unbroken.result.metrics, unbroken.result.labels)
    assert result.examples_per_second == 0


# ---- interrupted, so that what is open is still closed ------------------------------------------


@pytest.mark.parametrize(
    ("owner", "method", "call"),
    [
        (Checkpoints, "save_latest", 2),
        (Checkpoints, "save_best", 1),
        (MetricsLog, "write", 3),
        (Evaluator, "__call__", EPOCHS + 1),  # the test
    ],
    ids=["save_latest", "save_best", "write", "test"],
)
def test_interrupted(unbroken, tmp_path, monkeypatch, owner, method, call):
    function, calls = getattr(owner, method), []

    def interrupted(*arguments, **options):
        calls.append(method)
        if len(calls) == call:
            raise KeyboardInterrupt
        return function(*arguments, **options)

    workdir = Workdir(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(owner, method, interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(make_config(), workdir, silent)
    train(make_config(), workdir, silent)
    assert Outcome.of(workdir.path) == unbroken.outcome


@pytest.mark.parametrize("row", [1, 3, 5])
def test_a_signal_is_saved_at_the_end_of_the_scan_or_epoch(unbroken, tmp_path, monkeypatch, row):
    """Rows 1 and 2 of an epoch are of its scans, row 3 is of its validation."""
    write, rows, saved = MetricsLog.write, [], [5, 10, 10, 15, 20, 20][row - 1]

    def write_and_send(self, *written):
        write(self, *written)
        rows.append(written)
        if len(rows) == row:
            os.kill(os.getpid(), signal.SIGTERM)

    workdir = Workdir(tmp_path / "run")
    config = make_config()
    config.train.checkpoint_every = 1_000
    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "write", write_and_send)
        with stopping.handled(), pytest.raises(stopping.Stopped, match=f"step {saved}, which is"):
            train(config, workdir, silent)
    assert steps_in(workdir.checkpoints / "latest") == [saved]
    train(config, workdir, silent)
    assert Outcome.of(workdir.path).latest == unbroken.outcome.latest
    assert (workdir.path / "metrics.jsonl").read_bytes() == unbroken.outcome.metrics


@pytest.mark.parametrize(
    ("method", "call", "saved"),
    [("_run_piece", 3, 3), ("_run_piece", 19, 19), ("_look", 1, 10), ("_look", 2, 20)],
)
def test_a_signal_need_not_wait_for_a_scan_or_a_validation(
    unbroken, tmp_path, monkeypatch, method, call, saved
):
    """Steps that are slow run one by one, and batches of validation labels, too."""
    function, calls = getattr(training.Run, method), []

    def send_and_call(self, *arguments):
        calls.append(method)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return function(self, *arguments)

    workdir = Workdir(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(pace, "_SECONDS", 0.0)
        patch.setattr(training.Run, method, send_and_call)
        with stopping.handled(), pytest.raises(stopping.Stopped, match=f"step {saved}, which is"):
            train(make_config(), workdir, silent)
    assert steps_in(workdir.checkpoints / "latest") == [saved]
    train(make_config(), workdir, silent)
    assert Outcome.of(workdir.path) == unbroken.outcome


# ---- what is refused ----------------------------------------------------------------------------


def refusal(config: Config, workdir: Workdir) -> str:
    """The message of a start that is refused, once it proved to leave the folder as it was."""

    def contents():
        return {p: p.read_bytes() for p in workdir.path.rglob("*") if p.is_file()}

    before = contents()
    with pytest.raises(TrainingError) as error:
        train(config, workdir, silent)
    assert contents() == before
    assert "\n" not in str(error.value)
    return str(error.value)


def test_another_config_is_refused(unbroken, tmp_path):
    workdir = unbroken.state("latest of step 15", tmp_path / "run")
    other = make_config()
    other.train.epochs, other.optimizer.learning_rate = 9, 0.5
    message = refusal(other, workdir)
    assert "config.optimizer.learning_rate, config.train.epochs" in message


def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
    """The same command typed twice: two runs would write between each other's rows."""
    workdir, refusals = Workdir(tmp_path / "run"), []

    def start_another(line: str) -> None:
        if line.startswith("epoch 1/"):
            with jax.transfer_guard("allow"):
                refusals.append(refusal(make_config(), workdir))

    train(make_config(), workdir, start_another)
    assert str(workdir.path) in refusals[0]
    assert [row["split"] for row in workdir.read_metrics()].count("test") == 1
    train(make_config(), workdir, silent)  # the first has ended: the folder is free again


def changed(how: str) -> Callable[[Config], Dataset]:
    """A `prepare` that finds other data than before."""

    def prepare_changed(config: Config) -> Dataset:
        if how == "other events":
            data = prepare(config)
            item = data.timelines.item.copy()
            item[[0, 1]] = item[[1, 0]]
            return dataclasses.replace(
                data, timelines=dataclasses.replace(data.timelines, item=item)
            )
        if how == "other ids":
            data = prepare(config)
            entries = data.timelines.vocabularies["item"].entries
            renamed = Vocabulary((entries[0], *(f"9{entry}" for entry in entries[1:])))
            vocabularies = data.timelines.vocabularies | {"item": renamed}
            return dataclasses.replace(
                data, timelines=dataclasses.replace(data.timelines, vocabularies=vocabularies)
            )
        larger = make_config()
        larger.data.synthetic.items += 10
        return prepare(larger)

    return prepare_changed


@pytest.mark.parametrize("how", ["other events", "more items", "other ids"])
def test_changed_data_are_refused(unbroken, tmp_path, monkeypatch, how):
    workdir = unbroken.state("train row of step 20", tmp_path / "run")
    monkeypatch.setattr(training, "prepare", changed(how))
    assert "The data have changed since" in refusal(make_config(), workdir)


def test_data_changed_before_the_first_checkpoint_are_the_runs_data(
    unbroken, tmp_path, monkeypatch
):
    """Nothing was learned yet, so the run starts anew; its assets must not stay the old ones."""
    workdir = unbroken.state("train row of step 5", tmp_path / "run")
    monkeypatch.setattr(training, "prepare", changed("more items"))

    def interrupted(self: training.Run) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training.Run, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(make_config(), workdir, silent)
    data = changed("more items")(make_config())
    assert ModelSpec.from_json((workdir.assets / "spec.json").read_text()) == data.spec
    assert len(read_jsonl(workdir.assets / "items.jsonl")) == data.spec.candidates


# ---- a process, killed by SIGKILL ---------------------------------------------------------------

# Forks a process for each command line that it reads, once all is imported; writes its number, and
# how it ended.
STARTER = """
import json, os, runpy, sys
import polars, flaxrec.cli.arguments, flaxrec.training.run

for line in sys.stdin:
    folder, sys.argv = json.loads(line)
    child = os.fork()
    if not child:
        for number in (1, 2):
            os.dup2(os.open(f"{folder}.said", os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
        runpy.run_path(sys.argv[0], run_name="__main__")
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Starter:
    """Starts train_main.py on one run folder, as often as it is asked to."""

    def __init__(self, folder: Path, epochs: int):
        self.folder, self.said, self._epochs = folder, Path(f"{folder}.said"), epochs
        arguments = [f"--workdir={folder}", f"--config={ROOT / 'configs' / 'quickstart.py'}:smoke"]
        arguments += [f"--config.{path}={value}" for path, value in overrides(epochs).items()]
        script = str(ROOT / "train_main.py")
        self._command = json.dumps([str(folder), [script, *arguments]]).encode() + b"\n"
        self._server = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", STARTER],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def __enter__(self) -> "Starter":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()  # the end of its input ends it

    def run(self, ready: Callable[["Watch"], bool]) -> bool:
        """Runs until `ready`, then kills; False if the run was finished first."""
        server = self._server
        assert server.stdin is not None
        assert server.stdout is not None
        watch = Watch(self.folder, self._epochs)
        server.stdin.write(self._command)
        process = int(server.stdout.readline())
        while not select.select([server.stdout], [], [], 0.001)[0]:
            if ready(watch):
                os.kill(process, signal.SIGKILL)  # not yet waited for: the number is still its own
                break
        status = int(server.stdout.readline())
        assert status in (0, -signal.SIGKILL), self.said.read_text()
        return status != 0


class Watch:
    """What a run has done since it was started, as seen from outside."""

    def __init__(self, folder: Path, epochs: int):
        self.folder, self.last = folder, epochs * STEPS
        self.first, _ = self.steps()
        self.first_rows = self.rows()

    def steps(self) -> tuple[int, int]:
        """Steps of the latest and the best checkpoint, -1 without."""
        latest, best = (steps_in(self.folder / "checkpoints" / kind) for kind in ("latest", "best"))
        return (latest or [-1])[-1], (best or [-1])[-1]

    def rows(self) -> int:
        path = self.folder / "metrics.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def is_writing(self, kind: str) -> bool:
        folder = self.folder / "checkpoints" / kind
        return folder.exists() and any(not name.isdigit() for name in os.listdir(folder))

    def new_latest(self) -> int:
        """Step of a latest checkpoint of this process, else -1."""
        latest, _ = self.steps()
        return latest if latest > self.first else -1


SOME, EVERY = 3, 8  # epochs
MOMENTS: dict[str, Callable[[Watch], bool]] = {
    "before the first checkpoint": lambda w: (w.folder / "metrics.jsonl").exists(),
    "while the latest is written": lambda w: w.is_writing("latest"),
    "after a checkpoint inside an epoch": lambda w: w.new_latest() % STEPS == SCAN,
    "between the latest and the best": lambda w: (
        w.new_latest() % STEPS == 0 and w.steps()[1] < w.new_latest()
    ),
    "while the best is written": lambda w: w.is_writing("best") and w.new_latest() > 0,
    "between the last ones of both": lambda w: w.new_latest() == w.last > w.steps()[1],
    "in the final test": lambda w: steps_in(w.folder / "checkpoints" / "best") == [w.last],
}


# Those that leave most to be repaired: half a checkpoint, and no best one that is the result.
SOME_MOMENTS = ("while the latest is written", "between the last ones of both")


def outcome(folder: Path, epochs: int) -> Outcome:
    """The same run, unbroken."""
    train(make_config(epochs), Workdir(folder), silent)
    found = Outcome.of(folder)
    assert found.notes[:2] == [str(epochs * STEPS)] * 2
    return found


def finish(starter: Starter) -> Outcome:
    assert not starter.run(lambda watch: False)
    assert "Traceback" not in starter.said.read_text()
    return Outcome.of(starter.folder)


def kill_at(folder: Path, epochs: int, moments: Iterable[str]) -> Outcome:
    """Kills at every one of the moments, then finishes."""
    with Starter(folder, epochs) as starter:
        for name in moments:
            killed = starter.run(MOMENTS[name])
            assert killed or name == "in the final test", f"never seen: {name}"
        return finish(starter)


def kill_at_random(folder: Path, epochs: int) -> Outcome:
    """Kills after delays that begin with the first row written, then finishes."""
    with Starter(folder, epochs) as starter:
        for delay in np.random.default_rng(0).uniform(0, 0.7, 2):
            begun: list[float] = []

            def later(watch: Watch, delay=delay, begun=begun) -> bool:
                if not begun and watch.rows() != watch.first_rows:
                    begun.append(time.monotonic())
                return bool(begun) and time.monotonic() - begun[0] > delay

            starter.run(later)
        return finish(starter)


def test_killed_processes_come_to_the_same_end(tmp_path):
    unbroken = outcome(tmp_path / "unbroken", SOME)
    assert kill_at(tmp_path / "killed", SOME, SOME_MOMENTS) == unbroken


@pytest.mark.long
def test_processes_killed_at_all_moments_come_to_the_same_end(tmp_path):
    """One run is killed at chosen moments, and beside it one at random."""
    unbroken = outcome(tmp_path / "unbroken", EVERY)
    with ThreadPoolExecutor(2) as pool:
        chosen = pool.submit(kill_at, tmp_path / "chosen", EVERY, MOMENTS)
        random = pool.submit(kill_at_random, tmp_path / "random", EVERY)
    assert chosen.result() == unbroken
    assert random.result() == unbroken
