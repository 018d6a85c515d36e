"""The one command: flaxrec COMMAND, also python -m flaxrec COMMAND."""

import importlib
import subprocess
import sys

import pytest

from flaxrec import __main__ as command
from tests.support.places import ROOT


def test_without_arguments_it_lists_the_commands_on_one_screen():
    code = "import sys\nfrom flaxrec.__main__ import main\nassert main([]) == 0\n"
    code += "print(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert not {"jax", "numpy", "polars", "tensorflow"} & set(done.stderr.split())
    lines = done.stdout.splitlines()
    assert len(lines) < 30
    assert max(map(len, lines)) <= 100
    listed = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]
    assert listed == list(command.COMMANDS)


@pytest.mark.parametrize("name", command.COMMANDS)
def test_every_command_runs_its_module(name, capsys):
    told = []
    for main in (command.main, importlib.import_module(command.COMMANDS[name]).main):
        with pytest.raises(SystemExit) as end:
            main([name, "--help"])
        assert not end.value.code
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]
    assert importlib.import_module(command.COMMANDS[name]).__doc__ in told[0]


def test_a_command_that_there_is_not(capsys):
    assert command.main(["recomend"]) == 2
    told = "There is no command 'recomend'; did you mean 'recommend'?"
    assert capsys.readouterr().err == f"flaxrec: {told}\n"


def test_as_a_module():
    run = [sys.executable, "-m", "flaxrec", "benchmark", "none.tflite"]
    done = subprocess.run(run, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.startswith("flaxrec: There is no model file")
