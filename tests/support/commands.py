"""Commands run as a person types them, each in a process of its own."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.places import ROOT


@dataclasses.dataclass
class Command:
    """A command, where it runs, and what is done in its process before."""

    folder: str
    arguments: list[str]
    script: str = "train_main.py"
    before: str = ""


@dataclasses.dataclass
class Finished:
    """What became of a command."""

    status: int
    out: str
    err: str
    modules: list[str]
    folder: Path


FORKS = """
import json, os, runpy, sys, traceback
import polars, flaxrec.cli.arguments, flaxrec.training.run

def run(command, script, folder, output):
    os.chdir(folder)
    for number, name in enumerate(("out", "err"), 1):
        os.dup2(os.open(f"{output}.{name}", os.O_CREAT | os.O_WRONLY), number)
    sys.argv = [script, *command["arguments"]]
    exec(command["before"], globals())
    status = 0
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush(), sys.stderr.flush()
    json.dump([status, sorted(m for m in sys.modules if sys.modules[m])], open(output, "w"))
    os._exit(0)

commands = json.load(open("commands.json"))
for number, command in enumerate(commands):
    script = os.path.join(sys.argv[1], command["script"])
    child = os.fork()
    if not child:
        run(command, script, command["folder"], os.path.abspath(f"{number}.json"))
    os.waitpid(child, 0)
"""


def run_all(folder: Path, commands: dict[str, Command]) -> dict[str, Finished]:
    """Runs commands one after the other; each one's folder has the shipped configs."""
    for command in commands.values():
        command.folder = str(folder / command.folder)
        os.makedirs(command.folder, exist_ok=True)
        if not os.path.exists(f"{command.folder}/configs"):
            os.symlink(ROOT / "configs", f"{command.folder}/configs")
    listed = json.dumps([dataclasses.asdict(command) for command in commands.values()])
    (folder / "commands.json").write_text(listed)
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS, str(ROOT)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    finished = {}
    for number, (name, command) in enumerate(commands.items()):
        status, modules = json.loads((folder / f"{number}.json").read_text())
        out, err = ((folder / f"{number}.json.{kind}").read_text() for kind in ("out", "err"))
        finished[name] = Finished(status, out, err, modules, Path(command.folder))
    return finished


def assert_one_sentence(command: Finished, status: int = 2) -> str:
    """The command failed as a user's error should; returns what it says."""
    assert command.status == status, command.err
    assert command.err.startswith("flaxrec: ")
    assert command.err.endswith("\n")
    assert command.err.count("\n") == 1, command.err
    assert "Traceback" not in command.out
    return command.err
