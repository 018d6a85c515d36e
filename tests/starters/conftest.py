"""What the tests of starters share: data, a trained run, starters in folders, two exports."""

from pathlib import Path

import pytest

from flaxrec.config import Config
from flaxrec.exporting.bundle import export_model
from flaxrec.starters import load
from flaxrec.starters.folder import write
from flaxrec.training.run import train
from flaxrec.training.workdir import Workdir
from tests.support import made_up_starters
from tests.support.exports import require_export


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """A made-up MovieLens folder."""
    return made_up_starters.write_movielens(tmp_path_factory.mktemp("starters") / "ml-1m")


@pytest.fixture(scope="session")
def models(data, tmp_path_factory) -> Path:
    """Two starters with random weights."""
    folder = tmp_path_factory.mktemp("models")
    for inputs in ("id", "id_genre"):
        starter, _ = made_up_starters.starter(inputs, data)
        write(starter, folder / starter.config.name)
    return folder


@pytest.fixture(scope="session")
def trained(data, tmp_path_factory) -> tuple[Path, Config]:
    """A folder like a sweep's, with the run folder of seed 0 but no rows yet, and its config."""
    sweep = tmp_path_factory.mktemp("sweep")
    config = made_up_starters.config_of("id_genre", str(data))
    workdir = Workdir(sweep / "runs/starter=tiny,seed=0")
    workdir.path.parent.mkdir()
    train(config, workdir, say=lambda line: None)
    return sweep, config


@pytest.fixture(scope="session")
def exported(models, data, tmp_path_factory):
    """Export folders by inputs: 'id' without data, 'id_genre' with."""
    require_export()
    found = {}
    for inputs, movielens in {"id": "none", "id_genre": str(data)}.items():
        model, assets = load.load(models / f"tiny_{inputs}", movielens)
        output = tmp_path_factory.mktemp("export") / inputs
        found[inputs] = export_model(model, assets, output, say=lambda line: None)
    return found
