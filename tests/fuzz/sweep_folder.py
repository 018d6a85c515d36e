"""A sweep folder with one file changed: report and sweep say it, or do as before."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from flaxrec import config as config_lib
from flaxrec.config import Config
from flaxrec.config.presets import example_network
from flaxrec.evaluation import baselines
from flaxrec.files import JsonLog, sums
from flaxrec.reporting import drawing
from flaxrec.research import plan, sweeping
from flaxrec.research.plan import PlannedRun
from flaxrec.training.validation import checked
from tests.fuzz.attempts import Attempt
from tests.fuzz.damage import Folder, damage
from tests.support import made_up_reports
from tests.support.faults import Answer, answer

_TABLES = ("table.md", "table.tex", "table.csv")
_SWEEP = """
from flaxrec.config.presets import example_network
def sweep(add):
    for encoder in ("bow", "cnn"):
        add(example_network(encoder, "smoke"), seeds=2, encoder=encoder, context_length=10)
"""


def attempts(random: Random, folder: Path) -> Iterator[Attempt]:
    """Makes up a finished sweep, then changes one file after the other."""
    file = folder / "mine.py"
    file.write_text(_SWEEP, encoding="utf-8")
    sweep = Folder(made(folder / "sweep"), folder / "kept")
    output = folder / "report"
    report = ("report", sweep.path, f"--output={output}")
    again = ("sweep", f"--sweep={file}", f"--workdir={sweep.path}", "--export=none")
    with contextlib.ExitStack() as stack:
        patch = lambda *target: stack.enter_context(mock.patch.object(*target))  # noqa: E731
        patch(drawing, "save", lambda figure, folder, stem: [])
        patch(sweeping._Sweep, "_train", _trains)  # a run whose row is gone is trained again
        assert answer(*report).status == 0
        assert "4 of 4 runs finished" in answer(*again).out
        tables = [(output / name).read_bytes() for name in _TABLES]
        sweep.restore()
        while True:
            one = random.choice([f for f in sweep.files if random.random() < 0.1] or sweep.files)
            if random.random() < 0.6:
                one = Path("results.jsonl")
            how = damage(random, sweep.path / one, [sweep.path / f for f in sweep.files])
            command = random.choice((report, report, again))
            lines = how.startswith("line") and how.endswith(("gone", "twice", "moved", "blank"))
            free = "renamed" in how or lines  # an unknown field, fewer or more rows
            shutil.rmtree(output, ignore_errors=True)

            def right(given: Answer, free: bool = free, command: Any = command) -> bool:
                shown = given.out + given.err.replace("\n", "")
                if not shown.replace("\n", "").isprintable():
                    return False
                if free or command is again:
                    return True
                if "ends within a row, which is left out" in shown:
                    return True
                now = [(output / name).read_bytes() for name in _TABLES]
                return now == tables or b"Without intervals and tests" in now[0]

            yield Attempt(f"{command[0]}, {one}: {how}", command, (one.name, "sweep"), right)
            sweep.restore()


def made(folder: Path) -> Path:
    """A finished sweep as `sweep` leaves it, but with made-up figures."""
    folder.mkdir()
    made_up_reports.sweep(folder, ("bow", "cnn"), (10,), 2, made_up_reports.Size(20, 30))
    for tables in folder.rglob("per_label"):
        text = json.dumps({"files": sums.sums_of(tables)})
        (tables / sums.FILES).write_text(text, encoding="utf-8")
    lines = (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "results.jsonl").unlink()
    data = ""
    with contextlib.closing(JsonLog(folder / "results.jsonl")) as log:
        for row in map(json.loads, lines):
            if row["kind"] == "trained":
                run = planned(row["axes"]["encoder"], row["seed"])
                row |= {"run": run.name, "config": json.loads(config_lib.to_json(run.config))}
                data = plan.data_of(run.config)
                log.write(row)
        rows = [json.loads(line) for line in lines]
        (of_baseline, *_) = [row for row in rows if row["kind"] == "baseline"]
        for name in baselines.BASELINES:
            run = f"baseline={name},data={data.replace(' ', '-')}"
            log.write(of_baseline | {"run": run, "axes": {"baseline": name, "data": data}})
    return folder


def planned(encoder: str, seed: int) -> PlannedRun:
    """A run of the sweep file."""
    config: Config = example_network(encoder, "smoke")
    config.seed = seed
    name = f"encoder={encoder},context_length=10,seed={seed}"
    return PlannedRun(name, {}, checked(config), seed == 0)


def _trains(sweep: Any, group: list[PlannedRun]) -> None:
    print("trains", [run.name for run in group])
    raise SystemExit(0)
