"""Every starter of the repository: whole, small, with a card that says what its figures say."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from flaxrec import config as config_lib
from flaxrec.data.sources.movielens import read_movielens
from flaxrec.starters import card, load
from flaxrec.starters import folder as folder_lib
from tests.support.bundles import contents
from tests.support.places import ROOT

MOVIELENS = ROOT.parent / "shared" / "data" / "ml-1m"  # not in the repository
MOST_BYTES = 1_200_000
NAMES = folder_lib.names()
FILES = {"weights.npz", "config.json", "spec.json", "figures.json", "card.md", "vocabularies"}

pytestmark = pytest.mark.skipif(not NAMES, reason="no starter model is shipped yet")
every = pytest.mark.parametrize("name", NAMES)
needs_movielens = pytest.mark.skipif(
    not MOVIELENS.is_dir(), reason=f"MovieLens-1M is not in {MOVIELENS}"
)


def files_of(name: str) -> list[Path]:
    return [path for path in (folder_lib.MODELS / name).rglob("*") if path.is_file()]


@every
def test_it_is_whole_and_small(name):
    starter = folder_lib.read(folder_lib.MODELS / name)
    assert starter.facts["name"] == starter.config.name == name
    assert {path.name for path in (folder_lib.MODELS / name).iterdir()} == FILES
    assert sum(path.stat().st_size for path in files_of(name)) < MOST_BYTES
    assert starter.facts["parameters"] == sum(w.size for w in starter.weights.values())
    assert all(np.isfinite(weights).all() for weights in starter.weights.values())
    assert starter.config.data.path == ""
    assert starter.config.export.quantization == starter.facts["recipe"]


@every
def test_its_card_says_what_its_figures_say(name):
    starter = folder_lib.read(folder_lib.MODELS / name)
    text = (folder_lib.MODELS / name / folder_lib.CARD).read_text(encoding="utf-8")
    assert text == card.render(starter)


@every
def test_it_would_be_written_as_it_is(name):
    """Whatever is new in configs and cards must leave the shipped files as they are."""
    folder = folder_lib.MODELS / name
    assert contents(folder) == folder_lib.files_of(folder_lib.read(folder))


@every
def test_its_weights_are_in_the_interval_of_the_seeds(name):
    facts = folder_lib.read(folder_lib.MODELS / name).facts
    for metric, found in facts["metrics"].items():
        low, high = found["next_run"]
        assert low <= found["seeds"][0] <= high
        if facts["file"] and facts["measured_on"] == "exported":
            assert low <= facts["file"]["metrics"][metric] <= high


@every
def test_it_holds_ids_and_weights_only(name):
    starter = folder_lib.read(folder_lib.MODELS / name)
    items = starter.vocabularies[folder_lib.ITEM].entries[1:]
    assert all(entry.isdigit() for entry in items)
    assert len(set(items)) == len(items)
    for spec in starter.spec.inputs:
        if spec.vocabulary not in ("", folder_lib.ITEM):  # names of genres, not of films
            assert len(starter.vocabularies[spec.vocabulary].entries) <= 100


@pytest.fixture(scope="module")
def titles() -> list[str]:
    return read_movielens(MOVIELENS).items["title"].to_list()


@every
@needs_movielens
def test_it_holds_no_title(name, titles):
    texts = [p.read_text(encoding="utf-8") for p in files_of(name) if p.suffix != ".npz"]
    assert not [title for title in titles if any(title in text for text in texts)]


@every
def test_the_command_on_its_card_trains_it(name):
    file = ROOT / "configs" / "starters.py"
    if not file.is_file():
        pytest.skip("configs/starters.py is not there")
    spec = importlib.util.spec_from_file_location("starters_config", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = config_lib.from_json(config_lib.to_json(module.get_config(name)))
    shipped = folder_lib.read(folder_lib.MODELS / name).config
    free = {"name", "export.quantization"}
    assert set(config_lib.differences(config, shipped)) <= free


@pytest.mark.parametrize(
    "name",
    # Its encoder is that of movielens_lstm, and genres are joined for tiny_id_genre as well.
    [pytest.param(n, marks=pytest.mark.long) if n == "movielens_lstm_genre" else n for n in NAMES],
)
def test_it_loads(name):
    starter = folder_lib.read(folder_lib.MODELS / name)
    if starter.joined and not MOVIELENS.is_dir():
        pytest.skip(f"{name} takes {starter.joined}, and MovieLens-1M is not in {MOVIELENS}")
    movielens = str(MOVIELENS) if starter.joined else load.NO_DATA
    model, assets = load.load(folder_lib.MODELS / name, movielens)
    few = {key: values[:8] for key, values in assets.contexts.items()}
    assert np.isfinite(model.batch_logits(few)).all()


def test_the_page_has_their_table():
    starters = [folder_lib.read(folder_lib.MODELS / name) for name in NAMES]
    page = (ROOT / "docs" / "starters.md").read_text(encoding="utf-8")
    assert card.table(starters) in page, "run python -m flaxrec.starters --table"
