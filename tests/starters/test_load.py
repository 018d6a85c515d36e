"""A starter ready for export: its weights, and what is joined from the data."""

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from flaxrec.config import FeatureConfig, GroupConfig
from flaxrec.data.sources.movielens import read_movielens
from flaxrec.errors import DataError, ExportError
from flaxrec.exporting import serving
from flaxrec.exporting.serving import ServingModel
from flaxrec.files import read_jsonl
from flaxrec.starters import folder as folder_lib
from flaxrec.starters import load, pack, sample_contexts
from flaxrec.starters.folder import write
from flaxrec.training.run_assets import RunAssets
from flaxrec.training.workdir import Workdir
from tests.support import made_up_starters
from tests.support.bundles import message_of


@pytest.fixture(scope="module")
def packed(trained, tmp_path_factory) -> Path:
    """The starter of the trained run."""
    sweep, config = trained
    made_up_starters.write_rows(sweep, "tiny", config)
    (folder,) = pack.pack(sweep, tmp_path_factory.mktemp("packed"), say=lambda line: None)
    (sweep / "results.jsonl").unlink()
    return folder


# ---- against the run that it was made of --------------------------------------------------------


def test_logits_are_those_of_the_rounded_weights(trained, packed, data):
    run = serving.load(Workdir(trained[0] / "runs/starter=tiny,seed=0"))
    rounded = {
        n: np.asarray(w).astype(np.float16).astype(np.float32) for n, w in run.params.items()
    }
    assert any((rounded[n] != np.asarray(w)).any() for n, w in run.params.items())
    model, assets = load.load(packed, str(data))
    expected = ServingModel(run.config, run.spec, run.structure, rounded)
    logits = model.batch_logits(assets.contexts)
    np.testing.assert_allclose(logits, expected.batch_logits(assets.contexts), rtol=0, atol=1e-6)
    assert logits.dtype == np.float32
    assert model.step == 40  # of seed 0's row


def test_all_that_a_run_keeps_of_its_data_is_joined(trained, packed, data):
    workdir = Workdir(trained[0] / "runs/starter=tiny,seed=0")
    _, assets = load.load(packed, str(data))
    kept = RunAssets(workdir.assets)
    assert assets.vocabularies == kept.vocabularies()
    assert assets.items == kept.items() == read_jsonl(workdir.assets / "items.jsonl")
    assert {"id", "title", "genres", "year", "count"} == set(assets.items[0])
    assert assets.judged.keys() == kept.judged().keys() == {"validation", "test"}
    for split, judged in kept.judged().items():
        np.testing.assert_array_equal(assets.judged[split].labels, judged.labels)
        for name, values in judged.contexts.items():
            np.testing.assert_array_equal(assets.judged[split].contexts[name], values)
    (test,) = assets.tests
    assert test["metrics"]["recall@10"] == 0.40  # seed 0, before quantisation, as in a run
    assert test["labels"]["labels"] == made_up_starters.USERS


# ---- contexts to verify with ------------------------------------------------------------------


def test_sample_contexts_have_every_length_and_the_items_features(models, data):
    starter = folder_lib.read(models / "tiny_id_genre")
    config, spec = starter.config, starter.spec
    drawn = load.assets_of(starter, load.data_of(starter, str(data))).contexts
    items = drawn["context_item_id"]
    assert items.shape == (30, 6)
    lengths = (items > 0).sum(axis=1)
    assert set(lengths) == {1, 2, 3, 4, 5, 6}
    assert (lengths == 6).sum() > 15  # half of them are longer than the model sees
    padded = np.arange(6) >= lengths[:, None]
    np.testing.assert_array_equal(items == 0, padded)  # at the end, and nowhere else
    assert items.max() < spec.first_candidate + spec.candidates
    rows = items[items > 0]
    popular = (rows <= 10).mean()
    assert popular > 0.4  # 10 of some 80 items; alike, it would be an eighth

    genres_of = dict(read_movielens(data).items.select("item", "genres").rows())
    names = starter.vocabularies["context_genres"]
    for own, genres in zip(items, drawn["context_genres"], strict=True):
        ids = [int(starter.vocabularies["item"].entries[row]) for row in own if row]
        expected = names.lookup(g for i in ids for g in genres_of[i])[-9:]
        np.testing.assert_array_equal(genres, np.r_[expected, np.zeros(9 - len(expected), int)])
    again = sample_contexts.draw(config, spec, load.data_of(starter, str(data)).timelines)
    for name, values in drawn.items():
        np.testing.assert_array_equal(again[name], values)


def test_histories_of_all_kinds_of_features(data):
    starter, _ = made_up_starters.starter("combined", data)
    user = dataclasses.replace(
        starter.config.model.activity_groups[0].features[1], name="age", source="user.age", length=0
    )
    config = made_up_starters.config_of("combined", str(data))
    config.model.global_groups = [
        dataclasses.replace(config.model.activity_groups[0], features=[user])
    ]
    dataset = load.prepare(config)
    drawn = sample_contexts.draw(config, dataset.spec, dataset.timelines)
    assert {i.name: (30, i.length) for i in dataset.spec.inputs} == {
        name: values.shape for name, values in drawn.items()
    }
    assert (drawn["age"] == dataset.timelines.vocabularies["age"].lookup([25])).all()
    year_of = dict(read_movielens(data).items.select("item", "year").rows())
    items, years = (dataset.timelines.vocabularies[name] for name in ("item", "context_year"))
    for row, year in zip(drawn["context_item_id"].flat, drawn["context_year"].flat, strict=True):
        expected = years.lookup([year_of[int(items.entries[row])]])[0] if row else 0
        assert year == expected
    assert drawn["context_rating"].dtype == np.float32
    present = drawn["context_item_id"] > 0
    assert set(np.unique(drawn["context_rating"][present])) <= {1, 2, 3, 4, 5}
    assert not drawn["context_rating"][~present].any()


# ---- ids alone ----------------------------------------------------------------------------------


def test_ids_alone_need_no_data(models, data):
    model, assets = load.load(models / "tiny_id", "none")
    entries = assets.vocabularies["item"].entries
    assert assets.items == [{"id": int(entry)} for entry in entries[1:]]
    assert assets.judged == {}
    with_data = load.load(models / "tiny_id", str(data))[1]
    assert [item["id"] for item in with_data.items] == [item["id"] for item in assets.items]
    for name, values in with_data.contexts.items():
        np.testing.assert_array_equal(assets.contexts[name], values)
    assert model.batch_logits(assets.contexts).shape == (30, model.spec.candidates)


def test_ids_and_times_alone_need_no_data(models, data):
    """Every value of time is tried, 'unknown' as well; seconds only grow."""
    starter = folder_lib.read(models / "tiny_id")
    config = made_up_starters.config_of("id", str(data))
    config.model.activity_groups[0].features += [
        FeatureConfig("after", "event.gap_after"),
        FeatureConfig("ago", "event.seconds_ago"),
    ]
    config.model.global_groups = [
        GroupConfig([FeatureConfig("since", "ask.since", length=1)]),
    ]
    spec = load.prepare(config).spec
    assert not dataclasses.replace(starter, spec=spec).joined
    drawn = sample_contexts.draw(config, spec, None)
    present = drawn["context_item_id"] > 0
    rows = {s.name: s.rows for s in spec.inputs}
    assert set(drawn["after"][present]) == set(range(1, rows["after"]))
    assert not drawn["after"][~present].any()
    assert drawn["since"].shape == (30, 1)
    assert (drawn["since"] > 0).all()
    assert (drawn["since"] < rows["since"]).all()
    ago = np.where(present, drawn["ago"], 0)
    assert (np.diff(ago, axis=1) <= 0).all()
    assert (ago[present] > 0).all()


def test_item_features_need_data(models):
    message = message_of(load.load, models / "tiny_id_genre", "none", error=ExportError)
    assert message == (
        "The starter tiny_id_genre takes item.genres, which are joined from MovieLens; leave "
        "--movielens out to download it, or pass --movielens=DIR."
    )


# ---- data that cannot be used -------------------------------------------------------------------


def test_other_data_are_refused(models, tmp_path):
    other = made_up_starters.write_movielens(tmp_path / "other", seed=1)
    message = message_of(load.load, models / "tiny_id", str(other), error=DataError)
    assert f"{other} is not the ml-1m that tiny_id was trained on" in message
    assert "pass --movielens=DIR" in message


def test_a_genre_that_another_release_renamed_is_noticed(models, data, tmp_path):
    other = tmp_path / "renamed"
    other.mkdir()
    for file in data.iterdir():
        text = file.read_text(encoding="latin-1").replace("Drama", "Tragedy")
        (other / file.name).write_text(text, encoding="latin-1")
    assert "is not the ml-1m" in message_of(load.load, models / "tiny_id_genre", str(other))
    assert load.load(models / "tiny_id", str(other))[1].items


def test_a_folder_without_ratings(models, tmp_path):
    message = message_of(load.load, models / "tiny_id", str(tmp_path), error=DataError)
    assert "has no MovieLens ratings; set --movielens=DIR" in message
    assert "config" not in message


def test_the_cached_download_is_the_default(models, data, tmp_path):
    starter = folder_lib.read(models / "tiny_id")
    cached = dataclasses.replace(starter.config.data, cache_dir=str(data.parent))
    config = dataclasses.replace(starter.config, data=cached)
    write(dataclasses.replace(starter, config=config), tmp_path / "tiny")
    for default in (None, ""):
        _, assets = load.load(tmp_path / "tiny", default)
        titles = pl.DataFrame(assets.items)["title"]
        assert titles.null_count() == 0


def test_a_download_that_fails_names_both_remedies(models, monkeypatch):
    def fails(release: str, cache_dir: str) -> Path:
        raise DataError(
            f"https://x/{release}.zip could not be downloaded (no route); run it again."
        )

    monkeypatch.setattr(load, "fetch", fails)
    message = message_of(load.load, models / "tiny_id", error=DataError)
    assert message.startswith("https://x/ml-1m.zip could not be downloaded (no route); put the")
    assert "--movielens=DIR" in message
    assert "--movielens=none" in message
