"""A run folder with one file changed: train, export, accuracy and report say it, or do as before.

What takes seconds is left out in one process: each command ends where it has read everything, and
what it has read is compared with what it read of the unchanged folder.
"""

import contextlib
import dataclasses
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import jax
import numpy as np

from flaxrec import report
from flaxrec.exporting import bundle, file_ranks
from flaxrec.reporting import drawing
from flaxrec.training.run import Run
from tests.fuzz.attempts import Attempt
from tests.fuzz.damage import Folder, damage, is_free
from tests.support.faults import Answer, answer

CONFIG = ("--config=quickstart:smoke", "--config.model.transitions=4")
SAME, OTHER = "read the same", "read something else"
_FREE = ("config.json", "data.json", "dropped_rows.csv")  # settings and texts, shown as they are


def attempts(random: Random, folder: Path) -> Iterator[Attempt]:
    """Trains and exports a run, then changes one file after the other."""
    run = Folder(made(folder / "run"), folder / "kept")
    files = [f for f in run.files if f.parts[0] not in ("tensorboard", "export")]
    small = [f for f in files if f.parts[0] != "checkpoints"]
    notes = [f for f in files if f.parts[0] == "checkpoints"]
    with contextlib.ExitStack() as stack:
        seen = Seen(stack)
        commands = commands_of(run.path, folder / "out")
        for command in commands.values():  # of the unchanged folder
            first = answer(*command)
            assert SAME in first.out, first
            run.restore()
            shutil.rmtree(folder / "out", ignore_errors=True)
        seen.keeps = False
        while True:
            file = random.choice(random.choice((small, small, notes)))
            how = damage(random, run.path / file, [run.path / f for f in run.files])
            name = random.choice([n for n in commands if reads(n, file)])
            shutil.rmtree(folder / "out", ignore_errors=True)
            free = name == "report" and file.name in _FREE
            free |= file.name == "metrics.jsonl" and is_free(file, how)
            yield Attempt(
                f"{name}, {file}: {how}",
                commands[name],
                (file.name, *file.parts[:1], run.path.name),
                None if free else is_same,
            )
            run.restore()


def made(path: Path) -> Path:
    """A finished run with its export."""
    ended = answer("train", *CONFIG, f"--workdir={path}")
    assert ended.status == 0, ended
    return path


def commands_of(run: Path, output: Path) -> dict[str, tuple[object, ...]]:
    """The commands that read a run, by name."""
    return {
        "train": ("train", *CONFIG, f"--workdir={run}"),
        "warm": ("train", *CONFIG, f"--workdir={output}", f"--warm_start={run}"),
        "export": ("export", f"--workdir={run}", f"--output={output}"),
        "accuracy": ("accuracy", run, "--split=test"),
        "report": ("report", run, f"--output={output}"),
    }


def reads(command: str, file: Path) -> bool:
    """Whether a command reads the file."""
    return {"checkpoints": command != "report", "per_label": command in ("report", "train")}.get(
        file.parts[0], True
    )


def is_same(given: Answer) -> bool:
    """Whether what was read is that of the unchanged folder, as far as it was compared."""
    return OTHER not in given.out


class Seen:
    """Ends commands before what takes seconds, and compares what they have read until then."""

    def __init__(self, stack: contextlib.ExitStack):
        self.keeps, self._sums = True, {}
        patch = lambda *target: stack.enter_context(mock.patch.object(*target))  # noqa: E731
        patch(Run, "train", lambda run: self._train(run))  # a function, to be bound
        patch(bundle, "export_model", self._export)
        patch(file_ranks, "ranks", lambda content, config, *rest, **others: self(
            "accuracy", content, config, others["excludes_context"]
        ))  # fmt: skip
        patch(drawing, "save", lambda figure, folder, stem: [])
        write = report.output.write

        def written(folders: Any, output: Any, *others: Any) -> None:
            write(folders, output, *others)
            texts = [(Path(output) / n).read_bytes() for n in ("table.md", "table.tex", "runs.csv")]
            # Tables of labels that cannot be used are left out, and the report says why.
            said = b"Without intervals and tests" in texts[0]
            print(SAME) if said and not self.keeps else self("report", *texts)

        patch(report.output, "write", written)

    def _train(self, run: Run) -> None:
        command = "warm" if run.config.train.warm_start else "train"
        self(command, run.state, vars(run.notes) | {"run": ""})  # its own, drawn anew if it is new

    def _export(self, model: Any, assets: Any, output: Path, *rest: Any, **options: Any) -> None:
        told = {name: part for name, part in vars(assets).items() if name != "original"}
        self("export", model.params, model.spec, model.head, model.step, told)

    def __call__(self, command: str, *parts: Any) -> None:
        digest = hashlib.sha256(repr(plain(jax.device_get(parts))).encode()).digest()
        if self.keeps:
            self._sums[command] = digest
        print(SAME if digest == self._sums[command] else OTHER)
        raise SystemExit(0)


def plain(part: Any) -> Any:
    """A part in values whose `repr` says all."""
    if dataclasses.is_dataclass(part):
        part = vars(part)
    if isinstance(part, np.ndarray):
        return part.dtype.str, part.shape, part.tobytes()
    if isinstance(part, dict):
        return {name: plain(inner) for name, inner in part.items()}
    return [plain(inner) for inner in part] if isinstance(part, list | tuple) else part
