"""A model with the items of another day: untied tables, and vectors from a file."""

import itertools

import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from flaxrec.config import FeatureConfig
from flaxrec.data import timelines as timelines_lib
from flaxrec.data.spec import ModelSpec
from flaxrec.errors import DataError
from flaxrec.exporting import catalogue, exclusion
from flaxrec.exporting.serving import ServingModel
from flaxrec.models import item_sums
from tests.support import faults
from tests.support.builders import CATALOGUE, ITEM_ID, WATCHED, make_config, make_interactions
from tests.support.builders import random_model as random_params


def make_model(*features: FeatureConfig, tied: bool = False):
    """A model with normal parameters, its timelines, and its label tower."""
    config = make_config(ITEM_ID)
    config.model.label_features, config.model.tied_tables = list(features), tied
    config.model.activity_groups[0].features[0].embedding_dim = config.model.embedding_dim
    timelines = timelines_lib.build(make_interactions(WATCHED, CATALOGUE), config)
    spec = ModelSpec(timelines.inputs, len(timelines.vocabularies["item"].entries) - 1, 1)
    structure, params = random_params(config, spec)
    tower = {
        item_sums.PREFIX + name: jnp.full((of.rows, config.model.embedding_dim), 0.3)
        for name, of in timelines.item_values.items()
    }
    known = {name: of.known for name, of in timelines.item_values.items()}
    return ServingModel(config, spec, structure, params), timelines, tower, known


@pytest.mark.parametrize("tied", [True, False])
def test_known_items_keep_their_logits(tmp_path, tied):
    """New ones have their vectors' logits; untied, contexts read them as 'unknown'."""
    np.savez(tmp_path / "text.npz", ids=[10, 20, 30], vectors=np.eye(3))
    text = FeatureConfig("text", type="VECTOR", file=str(tmp_path / "text.npz"))
    before, timelines, tower, known = make_model(text, tied=tied)
    vocabulary = timelines.vocabularies["item"]
    news = [60, 70]
    table = pl.DataFrame({"item": [60, 30, 40, 70, 50], "text": [[1.0, 2.0, 3.0]] * 5})
    file = tmp_path / "today.parquet"
    table.write_parquet(file)
    found = vocabulary.lookup(table["item"])
    rows = catalogue._rows("today", table, found, vocabulary.unknown_row, None)
    new = table.filter(pl.col("item").is_in(news)).select("item")
    vectors = catalogue._vectors(before, tower, known, new, str(file))
    assert vectors.shape == (2, before.config.model.embedding_dim)
    labels, _ = item_sums.label_table(before.structure, before.spec)
    of_features = vectors - (before.params[labels][-1] if tied else 0)
    np.testing.assert_allclose(of_features, of_features[:, :1] * np.ones(16), atol=1e-5)
    after = catalogue._model(before, rows, vectors)
    kept = [item for item in map(int, vocabulary.entries[1:]) if item in (30, 40, 50)]
    order = [*kept, *news, *(item for item in (10, 20))]
    now = {item: row for row, item in enumerate(order, 1)}
    was = {int(item): row for row, item in enumerate(vocabulary.entries) if row}
    contexts = list(itertools.product([10, 30, 40], [20, 50, 60], [0]))
    name = ITEM_ID.name

    def contexts_of(row_of, unknown):
        rows = [[row_of.get(item, unknown) if item else 0 for item in one] for one in contexts]
        return {name: np.array(rows, np.int32)}

    has_new = np.array([60 in one for one in contexts])
    expected = before.batch_logits(contexts_of(was, vocabulary.unknown_row))
    logits = after.batch_logits(contexts_of(now, 8))
    assert logits.shape == (9, 5)
    columns = [was[item] - 1 for item in kept]
    same = ~has_new if tied else np.ones(9, bool)
    np.testing.assert_allclose(logits[same, :3], expected[same][:, columns], atol=1e-5)
    if tied:
        assert np.abs(logits[has_new, :3] - expected[has_new][:, columns]).max() > 0.01
    context = after.structure.merge(after.params).encode_context(contexts_of(now, 8))
    np.testing.assert_allclose(logits[:, 3:], context @ vectors.T, atol=1e-5)
    assert exclusion.no_candidates(after.spec) == [0, 6, 7, 8]
    assert after.spec.inputs[0].rows == 9


def test_a_catalogue_without_the_runs_items_is_told():
    table = pl.DataFrame({"item": ["a", "b"]})
    with pytest.raises(DataError, match="none of its 2 items, such as 'a', is one of those"):
        catalogue._rows("today.csv", table, np.array([5, 5]), 5, None)
    with pytest.raises(DataError, match=r"\['a', 'b'\] are one item of the run; keep one"):
        catalogue._rows("today.csv", table, np.array([3, 3]), 5, None)


def test_new_items_that_nothing_describes_are_told(caplog):
    genres = FeatureConfig("kinds", "item.genres", "STRING")
    model, _, tower, known = make_model(genres)
    entry = known["kinds"].vocabulary.entries[1]
    values = [[entry], ["unseen"], [], [entry, "unseen"]]
    news = pl.DataFrame({"item": [61, 62, 63, 64], "genres": values})
    catalogue._vectors(model, tower, known, news.filter(pl.col("item") == 61), "today.csv")
    assert caplog.records == []
    catalogue._vectors(model, tower, known, news, "today.csv")
    assert [record.message for record in caplog.records] == [
        "today.csv: 2 of 4 new items, such as 62, have no value that the run knows in any of "
        "kinds: their vectors are alike."
    ]


def test_flags_that_go_together():
    for argv in (["--items=a.csv"], ["--keep_gone=1", "--starter=bow"]):
        faults.answer("export", *argv).refused(["goes with --workdir=DIR"])
    faults.answer("export", "--workdir=a", "--keep_gone=1").refused(["goes with --items=FILE"])


def test_what_became_of_yesterdays_lists(monkeypatch):
    """Candidate 1 of four is gone, and read in contexts; the fourth of today is new."""
    rows = catalogue._Rows(
        before=np.array([0, 1, 3, 4, 5, 2, 5]),
        after=np.array([0, 1, 5, 2, 3, 6], np.int32),
        candidates=4,
        new=1,
    )
    monkeypatch.setattr(catalogue, "_LISTED", 2)
    before = np.array([[4.0, 3, 2, 1], [1, 2, 3, 4]], np.float32)
    after = np.array([[4.0, 2, 1, 3], [1, 3, 4, 0]], np.float32)
    assert catalogue._lists(before, after, rows) == {
        "contexts": 2, "length": 2, "kept": 0.75, "gone": 0.25, "new": 0.25
    }  # fmt: skip
