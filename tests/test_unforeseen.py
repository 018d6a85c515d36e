"""An error that nobody foresaw ends in its traceback: no command catches everything."""

import pytest

from flaxrec.data import dataset, splits
from flaxrec.data.sources import read
from flaxrec.demo import catalogue
from flaxrec.exporting import bundle, file_ranks, serving
from flaxrec.measuring import comparison
from flaxrec.recommender import Recommender
from flaxrec.reference import goldens
from flaxrec.reference.distances import measured_row
from flaxrec.reporting import output
from flaxrec.starters import card, load
from flaxrec.tflite.runtime import TfliteModel
from tests.support.faults import answer
from tests.support.places import ROOT

# Also those that a reader of a damaged file expects, but not here.
ERRORS = (RuntimeError, KeyError, TypeError, ValueError, IndexError, AttributeError)
SMOKE = "--config=quickstart:smoke"
GOLDEN = ROOT / "tests" / "reference" / "golden"

# Command, where it fails, and its arguments; RUN and NEW are folders.
PLACES = [
    ("train", read, "generate", [SMOKE, "--workdir=NEW"]),
    ("train", splits, "split", [SMOKE, "--workdir=NEW"]),
    ("export", serving, "structure_of", ["--workdir=RUN", "--output=NEW"]),
    ("export", bundle, "_fill", ["--workdir=RUN", "--output=NEW"]),
    ("export", load, "model_of", ["--starter=movielens_bow", "--movielens=none", "--output=NEW"]),
    ("recommend", Recommender, "encode", ["RUN/export", "1"]),
    ("recommend", TfliteModel, "__call__", ["RUN/export", "1"]),
    ("demo", catalogue, "columns", ["RUN/export", "--output=NEW"]),
    ("benchmark", comparison, "_measured", ["RUN/export"]),
    ("accuracy", file_ranks, "of_run", ["RUN"]),
    ("accuracy", dataset.account_lib, "of", ["RUN"]),
    ("report", output, "_tables", ["RUN", "--output=NEW"]),
    ("starters", card, "table", ["--table"]),
]


def fails(monkeypatch, owner, name, error):
    def fail(*args, **kwargs):
        raise error("unforeseen")

    monkeypatch.setattr(owner, name, fail)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
@pytest.mark.parametrize(
    ("command", "owner", "name", "arguments"), PLACES, ids=[f"{p[0]} {p[2]}" for p in PLACES]
)
def test_it_ends_in_its_traceback(
    command, owner, name, arguments, error, bow_id, tmp_path, monkeypatch
):
    fails(monkeypatch, owner, name, error)
    folders = {"RUN": str(bow_id.path), "NEW": str(tmp_path / "new")}
    for mark, folder in folders.items():
        arguments = [argument.replace(mark, folder) for argument in arguments]
    with pytest.raises(error, match="unforeseen"):
        answer(command, *arguments)


def test_a_sweep_shows_the_traceback_and_goes_on(tmp_path, monkeypatch):
    fails(monkeypatch, splits, "split", RuntimeError)
    given = answer("sweep", "--sweep=smoke", f"--workdir={tmp_path / 'new'}", "--export=none")
    assert given.status == 1
    assert given.err.count("Traceback (most recent call last)") > 1
    assert "RuntimeError: unforeseen" in given.err


def test_parity_shows_the_traceback_and_goes_on(monkeypatch, capsys):
    fails(monkeypatch, goldens, "load", RuntimeError)
    given = answer("parity", GOLDEN)
    assert given.status == 1
    assert "RuntimeError: unforeseen" in given.err

    def fail():
        raise RuntimeError("unforeseen")

    assert not measured_row("golden", "stage", fail).passed
    assert "RuntimeError: unforeseen" in capsys.readouterr().err
