"""Ranks of cold items' labels: means over users and items, baselines beside them, a whole run."""

import argparse

import numpy as np
import pytest

from flaxrec import accuracy
from flaxrec.config import FeatureConfig
from flaxrec.config.presets import example_network
from flaxrec.data.dataset import prepare
from flaxrec.data.item_features import ItemValues, Known
from flaxrec.data.vocabulary import PADDING, Vocabulary
from flaxrec.errors import ConfigError
from flaxrec.evaluation import baselines, cold
from flaxrec.evaluation.evaluator import PerLabel
from flaxrec.exporting import bundle, serving
from flaxrec.files import read_jsonl
from flaxrec.reporting import results
from flaxrec.reporting.breakdown_tables import cold_table
from flaxrec.reporting.measured import measure
from flaxrec.training.run import train
from flaxrec.training.workdir import Workdir

GENRES = FeatureConfig("genre", "item.genres", "STRING")


def config_of(**split):
    config = example_network("bow", "id,tied,smoke")
    config.split.protocol = "cold_items"
    for name, value in split.items():
        setattr(config.split, name, value)
    config.data.synthetic.users, config.data.synthetic.items = 60, 40
    config.model.label_features = [GENRES]
    config.train.batch_size, config.export.enabled = 32, False
    return config


@pytest.fixture(scope="module")
def dataset():
    return prepare(config_of(cold_fraction=0.2))


def test_means_over_labels_users_and_items(dataset):
    """Each user's, or item's, labels are averaged first."""
    labels = dataset.split.cold
    rank = np.random.default_rng(0).integers(0, 30, len(labels)).astype(np.float32)
    found = cold.means(PerLabel(labels, rank, rank / 2, None), dataset, (5,))
    hits = rank < 5
    assert found["recall@5"] == pytest.approx(hits.mean())
    timelines = dataset.timelines
    for prefix, groups in (("by_user/", timelines.user), ("by_item/", timelines.item)):
        of_label = groups[labels]
        groups_means = [hits[of_label == group].mean() for group in set(of_label.tolist())]
        assert len(groups_means) > 3
        assert found[f"{prefix}recall@5"] == pytest.approx(np.mean(groups_means))
        assert f"{prefix}filtered/ndcg@5" in found
    assert len(found) == 3 * 8


def test_what_is_told_of_the_labels(dataset):
    size, n = dataset.spec.candidates, dataset.split.cold_items
    lists = np.array([[0, size - 1, size - n, size - n - 1]])
    found = cold.report(dataset, lists)
    assert found["cold_items"] == n == 8
    assert found["cold_share_of_lists"] == 0.5
    assert found["cold_share_of_items"] == 0.2
    timelines = dataset.timelines
    warm = timelines.offsets[timelines.whole_from]
    of_cold = (timelines.item[warm:] > size - n).sum()
    assert found["cold_share_of_events"] == pytest.approx(of_cold / (of_cold + warm))
    assert found["labels"] == found["without_training_event"] == len(dataset.split.cold)


def test_content_knn_is_the_cosine_with_the_contexts_mean(dataset):
    labels, timelines = dataset.split.cold[:40], dataset.timelines
    of = timelines.item_values["genre"]
    vectors = np.zeros((len(of.values), of.rows))
    for item, values in enumerate(of.values):
        vectors[item, values] = 1
    vectors = vectors[:, 1:-1]
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    expected = []
    for label in labels:
        begin = max(timelines.offsets[timelines.user[label]], label - 10)
        scores = vectors @ vectors[timelines.item[begin:label] - 1].sum(axis=0)
        own = scores[timelines.item[label] - 1]
        better, equal = scores > own + 1e-9, np.abs(scores - own) <= 1e-9
        expected.append(better.sum() + (equal.sum() - 1) / 2)
    found = baselines.ranks(cold.content_knn(dataset), labels)
    np.testing.assert_allclose(found.rank, expected)
    assert found.rank.mean() < 0.9 * dataset.spec.candidates / 2


def test_features_that_are_not_known_are_no_likeness():
    known = Known(Vocabulary((PADDING, "x", "y")))
    values = ItemValues(np.array([[1, 1], [3, 0], [3, 0], [1, 2], [0, 0]]), known)
    found = cold.feature_vectors({"a": values}).toarray()
    np.testing.assert_allclose(found[0], [0, 1, 0, 0])
    np.testing.assert_allclose(found[3], [0, 0.5**0.5, 0.5**0.5, 0])
    assert not found[[1, 2, 4]].any()
    numbers = ItemValues(np.array([[3.0], [0], [-2], [1], [4]]), Known(None, np.zeros(1)))
    found = cold.feature_vectors({"a": values, "b": numbers}).toarray()
    np.testing.assert_allclose(found[0], [0, 0.1**0.5, 0, 0, 0.9**0.5])
    np.testing.assert_allclose(found[2], [0, 0, 0, 0, -1])


def test_the_popularity_of_new_items_and_chance(dataset):
    beside = cold.beside_run(dataset, 0)
    assert list(beside) == ["content_knn", "new_popularity", "random"]
    new = beside["new_popularity"]
    assert new.rank.max() < dataset.split.cold_items
    timelines = dataset.timelines
    counts = np.bincount(timelines.item[dataset.split.cold])
    order = np.argsort(-counts[timelines.item[new.positions]], kind="stable")
    assert (np.diff(new.rank[order]) >= 0).all()
    drawn = beside["random"]
    assert (drawn.filtered_rank <= drawn.rank).all()
    assert drawn.rank.mean() == pytest.approx((dataset.spec.candidates - 1) / 2, rel=0.2)
    again = cold.beside_run(dataset, 0)["random"]
    np.testing.assert_array_equal(drawn.rank, again.rank)


# ---- a run ----------------------------------------------------------------------------------


def test_a_run_says_how_it_ranks_cold_items(tmp_path, capsys, dataset):
    config = config_of(cold_fraction=0.2)
    result = train(config, Workdir(tmp_path / "run"), say=print)
    assert "cold items: 8 of 40 are in no training" in capsys.readouterr().out
    rows = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    (test,) = [r for r in rows if r["split"] == "test" and "baseline" not in r]
    (own,) = [r for r in rows if r["split"] == "cold" and "baseline" not in r]
    assert own["protocol"] == test["protocol"] == "cold_items"
    assert (own["step"], own["epoch"]) == (test["step"], test["epoch"])
    assert own["metrics"] == result.cold
    assert own["labels"] == result.cold_labels
    assert 0 <= own["labels"]["cold_share_of_lists"] <= 1
    beside = {r["baseline"]: r for r in rows if r["split"] == "cold" and "baseline" in r}
    assert {n: r["metrics"] for n, r in beside.items()} == result.cold_baselines
    assert set(beside) == {"content_knn", "new_popularity", "random"}
    assert test["labels"]["without_training_event"] == 0
    # Nothing but their features has a part in cold items' vectors: alike ones are equal.
    model, values = serving.load(Workdir(tmp_path / "run")), dataset.timelines.item_values["genre"]
    (table,) = (value for value in model.params.values() if len(value) == 42)
    alike = {values.values[item].tobytes(): [] for item in range(32, 40)}
    for item in range(32, 40):
        alike[values.values[item].tobytes()].append(np.asarray(table[1 + item]).tobytes())
    assert len(alike) < 8
    assert all(len(set(rows)) == 1 for rows in alike.values())
    in_metadata = bundle._of_cold([own, *beside.values()])
    assert in_metadata["metrics"] == result.cold
    assert in_metadata["baselines"] == result.cold_baselines
    (table,) = [t for t in reported(tmp_path / "run") if t.name == "cold items"]
    assert [row.name for row in table.rows[1:]] == list(beside)
    assert table.rows[0].cells[1].mean == result.cold["filtered/recall@10"]
    assert table.rows[1].cells[1:4] == tuple(
        beside["content_knn"]["metrics"][f"{by}filtered/recall@10"]
        for by in ("", "by_user/", "by_item/")
    )
    assert table.rows[0].cells[4].mean == own["labels"]["cold_share_of_lists"]


def reported(folder):
    (test_set,) = measure(results.read([folder]).points, ["filtered/recall@10"])
    return [cold_table(test_set, "filtered/recall@10", ())]


def test_the_cold_labels_of_another_protocol(tmp_path, monkeypatch):
    config = config_of(protocol="leave_one_out")
    run = Workdir(tmp_path / "run")
    run.claim(config)
    with pytest.raises(ConfigError, match="which has no cold items"):
        accuracy._run(accuracy_arguments(run))


def accuracy_arguments(run):
    return argparse.Namespace(
        workdir=[str(run.path)],
        quantization=["none"],
        split="cold",
        unknown=[],
        by_since=False,
        json=None,
        config=None,
        overrides={},
    )
