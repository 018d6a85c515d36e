"""Estimates of points by hand, and which points were ranked on the same labels."""

import pytest

from flaxrec.errors import ConfigError
from flaxrec.reporting import measured
from flaxrec.reporting.results import Point
from tests.support.point_examples import labels
from tests.support.report_points import point, run


def measure(*points: Point, metrics=("filtered/recall@10",)) -> list[measured.TestSet]:
    return measured.measure(points, metrics)


def test_figures_are_means_over_users_and_seeds(tmp_path):
    other = labels(filtered_rank=[10.0, 0.0, 0.0, 0.0])
    runs = run(tmp_path / "0"), run(tmp_path / "1", other, seed=1)
    ((one,),) = [s.measured for s in measure(point(*runs, encoder="bow"))]
    estimate = one.estimates["filtered/recall@10"]
    # Seed 0: ann 1, bob one of two, cat 0. Seed 1: ann 0, bob 1, cat 1.
    first, second = (1 + 0.5 + 0) / 3, (0 + 1 + 1) / 3
    assert estimate.mean == pytest.approx((first + second) / 2)
    assert estimate.deviation == pytest.approx((second - first) / 2**0.5)
    low, high = estimate.interval
    # Means over the seeds: ann 0.5, bob 0.75, cat 0.5; no draw of users is outside.
    assert 0.5 <= low <= estimate.mean <= high <= 0.75
    assert one.per_user["filtered/recall@10"].values.tolist() == [[1, 0.5, 0], [0, 1, 1]]
    assert (one.labels, one.users, one.candidates, one.without) == (4, 3, 5, "")
    assert list(one.breakdown.context) == [10]
    assert [part.name for part in one.breakdown.context[10]] == ["1", "2–4", "5–9", "10 (full)"]
    assert one.breakdown.leak.share == 0.5


def test_baselines_are_broken_down_for_every_context_length(tmp_path):
    short = run(tmp_path / "0", row={"config": {"model": {"context_length": 5}}})
    points = point(short, n=5), point(run(tmp_path / "1"), n=10)
    points += (point(run(tmp_path / "2", kind="baseline"), baseline="popularity"),)
    (of_set,) = measure(*points)
    assert [list(m.breakdown.context) for m in of_set.measured] == [[5], [10], [5, 10]]


def test_without_per_label_files_figures_are_those_of_the_runs():
    runs = run(None), run(None, seed=1, metrics={"filtered/recall@10": 0.7})
    ((one,),) = [s.measured for s in measure(point(*runs))]
    estimate = one.estimates["filtered/recall@10"]
    assert estimate.mean == pytest.approx(0.6)
    assert (estimate.interval, one.per_user, one.users) == (None, {}, None)
    assert one.without == "no per-label files"


def test_a_gap_in_the_files_leaves_the_metric_to_the_runs(tmp_path):
    # Records do not tell which items were seen.
    table = labels(filtered_rank=[None] * 4)
    known = {"filtered/recall@10": 0.5, "recall@10": 0.9}
    (of_set,) = measure(
        point(run(tmp_path / "0", table, metrics=known)),
        metrics=("filtered/recall@10", "recall@10"),
    )
    estimates = of_set.measured[0].estimates
    assert estimates["filtered/recall@10"].interval is None
    assert estimates["recall@10"].mean == pytest.approx(2 / 3)  # not the run's


def test_labels_that_cannot_be_read_leave_the_runs_metrics(tmp_path):
    broken = run(tmp_path / "0")
    (tmp_path / "0" / "per_label" / "test.parquet").write_bytes(b"PAR1")
    ((one,),) = [s.measured for s in measure(point(broken))]
    assert "test.parquet cannot be read" in one.without
    assert one.estimates["filtered/recall@10"].mean == 0.5


def test_points_of_the_same_labels_are_together(tmp_path):
    moved = labels(history=[2, 4, 30, 9])  # one label is another
    points = [
        point(run(tmp_path / "0"), encoder="bow"),
        point(run(tmp_path / "1", moved), encoder="bow", min_rating=4),
        point(run(tmp_path / "2", labels(rank=[5.0] * 4)), encoder="cnn"),
        point(run(None), encoder="lstm"),
        point(run(None, labels={"labels": 5}), encoder="lstm", min_rating=3),
        point(run(tmp_path / "3", protocol="leave_one_out"), encoder="bow", split="l"),
        point(run(tmp_path / "4", kind="baseline"), baseline="popularity", data="d"),
    ]
    sets = measure(*points)
    assert [s.protocol for s in sets] == ["leave_one_out", "random", "random", "random"]
    names = [[m.name for m in s.measured] for s in sets]
    assert names[1] == ["encoder=bow", "encoder=cnn", "encoder=lstm", "popularity"]
    assert [len(n) for n in names] == [1, 4, 1, 1]
    assert [len(s.trained) for s in sets] == [1, 3, 1, 1]


def test_titles_tell_test_sets_apart(tmp_path):
    protocols = ["random", "random", "global_time"]
    data = ["ml-1m random min_rating=4", "ml-1m random", "ml-1m global_time"]
    points = [
        point(run(None, protocol=p, data=d, labels={"labels": n}), n=n)
        for n, (p, d) in enumerate(zip(protocols, data, strict=True))
    ]
    assert [s.title for s in measure(*points)] == [
        "global_time",
        "ml-1m random min_rating=4",
        "ml-1m random",
    ]


def test_baselines_of_two_training_sets_are_told_apart(tmp_path):
    points = [
        point(run(tmp_path / d, kind="baseline"), baseline="popularity", data=d)
        for d in ("keep", "drop")
    ]
    (of_set,) = measure(*points)
    assert [m.name for m in of_set.measured] == ["popularity, keep", "popularity, drop"]


def test_axes_that_stand_for_the_test_set_are_left_out(tmp_path):
    points = [
        point(run(None, protocol=p), encoder=e, protocol=p, size=1)
        for p in ("random", "global_time")
        for e in ("bow", "cnn")
    ]
    axes = ["encoder", "protocol", "size"]
    assert measured.distinguishing(measure(*points), axes) == ["encoder", "size"]
    assert measured.distinguishing(measure(*points[:2]), axes) == axes


def test_choose_metrics():
    runs = run(None, metrics={"recall@10": 1, "ndcg@10": 1, "loss": 1, "batch_recall@10": 1})
    points = [point(runs)]
    assert measured.choose_metrics(points, ()) == ("recall@10", "ndcg@10")
    assert measured.choose_metrics(points, ["recall@7", "loss"]) == ("recall@7", "loss")
    with pytest.raises(ConfigError, match=r"No run has the metric 'mrr@10'; use some of recall@10"):
        measured.choose_metrics(points, ["mrr@10"])
    with pytest.raises(ConfigError, match="batch_recall"):
        measured.choose_metrics(points, ["batch_recall@10"])
    with pytest.raises(ConfigError, match=r"choose with --metrics among loss\."):
        measured.choose_metrics([point(run(None, metrics={"loss": 1}))], ())
