"""What is read of per-label files, and their metrics, by hand; a broken file for every message."""

from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from flaxrec.errors import ConfigError, DataError
from flaxrec.research.point_labels import PerUser, load, metric, per_label, per_user, shared
from flaxrec.scoring import metrics
from tests.support.point_examples import ITEMS, labels, point


def folder(path, table, items=ITEMS):
    (path / "per_label").mkdir(parents=True)
    table.write_parquet(path / "per_label" / "test.parquet")
    items.write_parquet(path / "per_label" / "items.parquet")
    return path


# ---- names of metrics -----------------------------------------------------------------------


@given(arrays.arrays(np.float64, 7, elements=st.integers(0, 40).map(lambda twice: twice / 2)))
def test_every_name_of_metrics_jsonl_means_the_same_here(ranks):
    for prefix, column in (("", "rank"), ("filtered/", "filtered_rank")):
        for name, mean in metrics.from_ranks(ranks, (1, 5, 10), prefix).items():
            found = metric(name)
            assert (found.name, found.column) == (name, column)
            assert found.values(ranks).mean() == mean
            assert found.higher_is_better == ("mean_rank" not in name)


def test_loss_is_a_metric_of_a_label():
    assert (metric("loss").column, metric("loss").higher_is_better) == ("loss", False)
    assert per_label(point(), "loss").tolist() == [[0.5, 1.5, 2.5, 4.0]]


@pytest.mark.parametrize(
    "name", ["recall", "recall@0", "recall@", "recall@1x", "hit@10", "filtered/loss", "mean_rank@1"]
)
def test_other_names_are_refused(name):
    with pytest.raises(ConfigError, match=f"no metric '{name}' of a label; use recall@K"):
        metric(name)


# ---- labels and users -----------------------------------------------------------------------


def test_values_of_labels_by_hand():
    assert per_label(point(), "recall@10").tolist() == [[1, 1, 1, 0]]
    assert per_label(point(), "mrr@3").tolist() == [[1, 0, 1 / 3, 0]]
    np.testing.assert_allclose(
        per_label(point(), "filtered/ndcg@10"), [[1, 1 / log2(10), 1 / log2(4), 0]]
    )


def test_users_with_several_labels_count_once():
    found = per_user(point(), "mrr@3")
    assert found.users.tolist() == ["ann", "bob", "cat"]
    np.testing.assert_allclose(found.values, [[1, (0 + 1 / 3) / 2, 0]])


def test_a_row_a_seed():
    found = per_user(point(labels(), labels(rank=[3, 0, 1, 0])), "recall@1")
    assert found.values.tolist() == [[1, 0, 0], [0, 0.5, 1]]


def test_files_are_read_in_one_order(tmp_path):
    """The rows of a file may stand in any order; those of all seeds are brought into one."""
    first = folder(tmp_path / "0", labels())
    second = folder(tmp_path / "1", labels()[[2, 0, 3, 1]], ITEMS[::-1])
    read = load([first, str(second)])
    assert read.seeds[0].equals(read.seeds[1])
    assert read.items.equals(ITEMS)
    expected = per_user(point(), "mrr@3").values[0]
    np.testing.assert_array_equal(per_user(read, "mrr@3").values, [expected, expected])


def test_another_part_has_its_own_file(tmp_path):
    folder(tmp_path, labels())
    labels(rank=[7, 7, 7, 7]).write_parquet(tmp_path / "per_label" / "validation.parquet")
    assert per_label(load([tmp_path], "validation"), "mean_rank").tolist() == [[7, 7, 7, 7]]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"history": [1, 4, 31, 9]}, "history"),
        ({"user": ["ann", "bob", "bob", "dan"]}, "user"),
        ({"user": [1, 2, 2, 3]}, "user"),
        ({"item": ["Heat", "Heat", "Diva", "Brazil"]}, "item"),
        ({"item_count": [5, 3, 1, 1]}, "item_count"),
    ],
)
def test_seeds_of_other_labels_are_refused(tmp_path, change, named):
    runs = [folder(tmp_path / "0", labels()), folder(tmp_path / "1", labels(**change))]
    with pytest.raises(DataError, match=rf"1/per_label/test.parquet are not .*\({named} differs\)"):
        load(runs)


def test_seeds_of_fewer_labels_or_other_candidates_are_refused(tmp_path):
    first = folder(tmp_path / "0", labels())
    with pytest.raises(DataError, match="user differs"):
        load([first, folder(tmp_path / "1", labels()[:3])])
    with pytest.raises(DataError, match="candidates differs"):
        load([first, folder(tmp_path / "2", labels(), ITEMS[:4])])


def test_files_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(DataError, match="at least one run folder"):
        load([])
    with pytest.raises(DataError, match=r"none/per_label/test.parquet cannot be read"):
        load([tmp_path / "none"])
    with pytest.raises(DataError, match=r"top.*evaluate the run again"):
        load([folder(tmp_path / "0", labels().drop("top"))])
    with pytest.raises(DataError, match="holds no labels"):
        load([folder(tmp_path / "1", labels()[:0])])
    with pytest.raises(DataError, match=r"2 rows of .* share user and history"):
        load([folder(tmp_path / "2", labels(history=[1, 4, 4, 9]))])
    with pytest.raises(DataError, match="candidates 0 to 3, a row each"):
        load([folder(tmp_path / "3", labels(), ITEMS[1:])])


def test_gaps_are_counted():
    baseline = labels(loss=[None] * 4, filtered_rank=[0, None, None, 1])
    with pytest.raises(DataError, match="loss needs loss of every label, and 4 of 4 have none"):
        per_label(point(labels(), baseline), "loss")
    with pytest.raises(DataError, match=r"filtered/mrr@2 needs filtered_rank .* 2 of 4 have none"):
        per_label(point(baseline), "filtered/mrr@2")


def test_points_are_compared_on_the_users_they_share():
    a = PerUser(np.array([1, 3, 5, 8]), np.array([[10.0, 30, 50, 80]]))
    b = PerUser(np.array([3, 4, 8]), np.array([[3.0, 4, 8], [0.3, 0.4, 0.8]]))
    of_a, of_b = shared(a, b)
    assert of_a.tolist() == [[30, 80]]
    assert of_b.tolist() == [[3, 8], [0.3, 0.8]]


@pytest.mark.parametrize("users", [np.array([2, 4]), np.array(["1", "3"], object)])
def test_points_without_a_shared_user_are_refused(users):
    a = PerUser(np.array([1, 3]), np.zeros((1, 2)))
    with pytest.raises(DataError, match="share none of their 2 and 2 users"):
        shared(a, PerUser(users, np.zeros((1, 2))))
