"""Trackers of one's own: what they get, when they are imported, and mistakes in their names."""

import contextlib
import re
import sys

import pytest

from flaxrec.errors import ConfigError
from flaxrec.exporting import serving
from flaxrec.training.run import train
from flaxrec.training.workdir import Workdir
from tests.support.doc_pages import blocks
from tests.support.members import make_config
from tests.support.places import ROOT

TRACKER = """
told = []

class Tracker:
    def __init__(self, config, workdir):
        told.append((config.name, workdir.name))

    def log(self, row):
        told.append(row)

    def close(self):
        told.append("closed")

number = 3
"""


@pytest.fixture
def tracker(tmp_path, monkeypatch):
    """The module own_tracker, as if its folder were on PYTHONPATH."""
    (tmp_path / "own_tracker.py").write_text(TRACKER, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_tracker", None)


def test_a_tracker_gets_every_row(tracker, tmp_path):
    """It only listens: the run goes on without it, and is read without importing it."""
    config = make_config(0, epochs=2)
    config.train.loggers = ("own_tracker:Tracker",)
    workdir = Workdir(tmp_path / "run")
    train(config, workdir, lambda line: None)
    told = sys.modules.pop("own_tracker").told
    lines = workdir.read_metrics() + workdir.read_baselines()
    assert told[0] == (config.name, "run")
    assert told[-1] == "closed"
    assert len(lines) == len(told) - 2 > 4
    assert all(row in lines for row in told[1:-1])
    serving.load(workdir)
    assert "own_tracker" not in sys.modules
    config.train.loggers, before = (), workdir.metrics_file.read_bytes()
    train(config, workdir, lambda line: None)
    assert workdir.metrics_file.read_bytes() == before


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("own_tracker", "has 'own_tracker'; use MODULE:NAME, such as trackers:MLflow."),
        ("own-tracker:T", "has 'own-tracker:T'; use MODULE:NAME, such as trackers:MLflow."),
        ("no_such:T", "Python finds no module 'no_such'; install it, or add its folder to"),
        ("own_tracker:T", "but own_tracker has no function or class 'T'; define it there."),
        ("own_tracker:number", "but own_tracker has no function or class 'number'; define it"),
    ],
)
def test_a_wrong_name_is_told_before_the_data_are_read(tracker, tmp_path, path, sentence):
    config = make_config(0)
    config.train.loggers, config.data.source = (path,), "table"
    config.data.path = str(tmp_path / "missing.csv")
    with pytest.raises(ConfigError, match=f"^config.train.loggers .*{re.escape(sentence)}"):
        train(config, Workdir(tmp_path / "run"), lambda line: None)
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_the_pages_tracker_for_mlflow(tmp_path, monkeypatch):
    """With a SQLite store; a run that goes on is one run there."""
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    page = blocks(ROOT / "docs/research.md", "python")
    (code,) = (block for block in page if "mlflow.start" in block)
    (tmp_path / "trackers_of_the_page.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    config = make_config(0, epochs=2)
    config.train.loggers = ("trackers_of_the_page:MLflow",)
    workdir = Workdir(tmp_path / "run")
    for _ in range(2):  # finished, it tests again
        train(config, workdir, lambda line: None)
    (run,) = mlflow.MlflowClient().search_runs(["0"])
    (test,) = (row for row in workdir.read_metrics() if row["split"] == "test")
    for name, value in test["metrics"].items():
        kept = run.data.metrics[f"test/{name.replace('@', '_at_')}"]
        assert kept == pytest.approx(value)
    with contextlib.suppress(KeyError):
        del sys.modules["trackers_of_the_page"]
