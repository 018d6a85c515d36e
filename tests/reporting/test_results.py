"""Results: rows to runs, runs to points, whatever the order in which they finished."""

import json
import random
import shutil

import pytest

from flaxrec.errors import DataError, FlaxrecError
from flaxrec.reporting import results
from tests.support import made_up_reports as made_up
from tests.support.made_up_reports import Size

SIZE = Size(users=12, items=30)


def row(encoder: str, seed: int, /, **further) -> dict:
    """A row without files."""
    axes = {"encoder": encoder, "context_length": 5}
    config = {"seed": seed, "name": "n", "model": {"context_length": 5}, "data": {"path": "/a"}}
    return {
        "run": f"encoder={encoder},seed={seed}", "kind": "trained", "axes": axes, "seed": seed,
        "status": "finished", "reason": "", "protocol": "leave_one_out", "folder": "runs/x",
        "metrics": {"test": {"recall@10": seed / 10}}, "labels": {"labels": 12},
        "config": config,
    } | further  # fmt: skip


def write(folder, *rows, tail: str = ""):
    folder.mkdir(exist_ok=True)
    text = "".join(json.dumps(r) + "\n" for r in rows) + tail
    (folder / "results.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_runs_that_differ_in_their_seed_are_one_point(tmp_path):
    rows = [row(e, s) for e in ("bow", "cnn") for s in (0, 1, 2)]
    random.Random(1).shuffle(rows)
    points = results.read([write(tmp_path, *rows)]).points
    assert [p.name for p in points] == [
        "encoder=bow,context_length=5",
        "encoder=cnn,context_length=5",
    ]
    assert [[run.seed for run in p.runs] for p in points] == [[0, 1, 2]] * 2
    assert points[0].values("recall@10") == [0.0, 0.1, 0.2]
    assert points[0].values("ndcg@10") == []
    assert points[0].context_length == 5


def test_a_metric_that_one_seed_lacks_is_the_points_no_more(tmp_path):
    rows = [row("bow", 0), row("bow", 1, metrics={"test": {}})]
    (point,) = results.read([write(tmp_path, *rows)]).points
    assert point.values("recall@10") == []


def test_the_last_row_of_a_run_counts(tmp_path):
    failed = row("bow", 0, status="failed", reason="Killed.", metrics={})
    again = row("bow", 0, metrics={"test": {"recall@10": 0.7}})
    read = results.read([write(tmp_path, failed, row("bow", 1), again)])
    assert read.failed == ()
    assert read.points[0].values("recall@10") == [0.7, 0.1]
    read = results.read([write(tmp_path, again, row("bow", 1), failed)])
    assert [(run.name, run.failure) for run in read.failed] == [("encoder=bow,seed=0", "Killed.")]
    assert read.points[0].values("recall@10") == [0.1]


def test_a_torn_last_line_is_left_out(tmp_path, caplog):
    whole = json.dumps(row("bow", 1))
    folder = write(tmp_path, row("bow", 0), tail=whole[: len(whole) // 2])
    assert [run.seed for run in results.read([folder]).points[0].runs] == [0]
    assert caplog.messages == [
        f"{folder / 'results.jsonl'}, line 2 ends within a row, which is left out."
    ]
    # In the middle it is no torn end: something is lost.
    folder = write(tmp_path, row("bow", 0), tail=whole[:20] + "\n" + whole + "\n")
    with pytest.raises(DataError, match=r"results.jsonl, line 2 is not valid JSON"):
        results.read([folder])


def test_points_are_in_the_order_of_their_values(tmp_path):
    lengths = [100, 5, 20]
    rows = [row("bow", 0, run=f"L{n}", axes={"context_length": n}) for n in lengths]
    rows.insert(
        0, row("x", 0, run="b", kind="baseline", seed=None, axes={"baseline": "popularity"})
    )
    rows.append(row("bow", 0, run="none", axes={"context_length": None}))
    points = results.read([write(tmp_path, *rows)]).points
    values = [p.axes["context_length"] for p in points if not p.is_baseline]
    assert values == [5, 20, 100, None]
    assert points[-1].is_baseline


def test_folders_of_one_setting_are_put_together(tmp_path):
    a = write(tmp_path / "a", row("bow", 0), row("bow", 1))
    moved = row("bow", 2)
    moved["config"] = moved["config"] | {"data": {"path": "/elsewhere"}}
    b = write(tmp_path / "b", row("bow", 1, metrics={"test": {"recall@10": 0.9}}), moved)
    (point,) = results.read([a, b]).points
    assert [run.seed for run in point.runs] == [0, 1, 2]
    assert point.values("recall@10")[1] == 0.1  # a seed counts once
    assert results.read([a, a / ".." / "a"]).points == results.read([a]).points


def test_folders_of_other_settings_are_kept_apart(tmp_path):
    a = write(tmp_path / "a", row("bow", 0), row("cnn", 0))
    other = row("bow", 0)
    other["config"] = other["config"] | {"model": {"context_length": 99}}
    b = write(tmp_path / "b", other)
    names = [p.name for p in results.read([a, b]).points]
    assert names == [
        "encoder=bow,context_length=5,folder=a",
        "encoder=bow,context_length=5,folder=b",
        "encoder=cnn,context_length=5",
    ]
    other_data = write(tmp_path / "c", row("bow", 0, data="ml-20m"))
    assert len(results.read([a, other_data]).points) == 3


def test_a_baseline_of_two_sweeps_is_one(tmp_path):
    folders = []
    for name, length in (("a", 5), ("b", 50)):
        config = {"data": {"source": "movielens"}, "model": {"context_length": length}}
        axes = {"baseline": "popularity"}
        own = row("x", 0, kind="baseline", seed=None, axes=axes, config=config)
        folders.append(write(tmp_path / name, own))
    (point,) = results.read(folders).points
    assert len(point.runs) == 1


def test_what_finished_first_does_not_matter(tmp_path):
    rows = [row(e, s) for e in ("bow", "cnn", "lstm") for s in (0, 1)]
    rows.append(row("bow", 0, run="w", axes={"context_length": 5, "units": 8}))
    rows.append(row("x", 0, run="b", kind="baseline", seed=None, axes={"baseline": "popularity"}))
    rows.append(row("bow", 0, run="f", status="failed", reason="No."))
    rows.append(row("bow", 0, run="e", status="failed", reason="No."))
    first = results.read([write(tmp_path, *rows)])
    for seed in range(5):
        random.Random(seed).shuffle(rows)
        again = results.read([write(tmp_path, *rows)])
        assert again == first
        assert results.axes_of(again.points) == ["context_length", "units", "encoder"]


def test_a_baseline_of_version_0_1_has_its_new_name(tmp_path):
    """Also where the sweep went on with a newer version."""
    rows = [
        row("x", 0, run=name, kind="baseline", seed=None, axes={"baseline": name})
        for name in ("popularity", "last_10_items", "last_ten")
    ]
    points = results.read([write(tmp_path, *rows)]).points
    assert [point.axes for point in points] == [{"baseline": n} for n in ("last_ten", "popularity")]


def test_a_run_folder_is_a_point_of_its_name(tmp_path):
    sweep_row = made_up.trained(tmp_path / "s", {"encoder": "cnn"}, 3, 0.1, SIZE)
    folder = tmp_path / "runs" / "movielens_cnn"
    folder.parent.mkdir()
    shutil.move(tmp_path / "s" / sweep_row["folder"], folder)
    (folder / "config.json").write_text(json.dumps(sweep_row["config"]))
    read = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    with pytest.raises(DataError, match=r"no finished run; movielens_cnn: It has no test metrics"):
        results.read([folder])
    test = {"step": 1200, "epoch": 3, "split": "test", "protocol": "leave_one_out"}
    test |= {"metrics": {"recall@10": 0.5}, "labels": {"labels": 12}}
    counted = [
        test | {"split": split, "metrics": {"recall@10": 0.9, "filtered/ndcg@10": 0.9}}
        for split in ("validation", "test")
    ]
    with open(folder / "metrics.jsonl", "a") as file:
        counts = [row | {"baseline": "transitions"} for row in counted]
        for own in (counted[0] | {"transitions_weight": 5.0}, test, *counts):
            file.write(json.dumps(own) + "\n")
    (folder / "export").mkdir()
    (folder / "export" / "model.tflite").write_bytes(b"1234567")
    (point,) = results.read([folder]).points
    assert point.axes == {"run": "movielens_cnn"}
    assert point.values("recall@10") == [0.5]
    assert (point.protocol, point.export_bytes, point.runs[0].seed) == ("leave_one_out", 7, 3)
    (run,) = point.runs
    assert run.select_metric == "filtered/ndcg@10"
    assert run.learning_curve() == {
        r["epoch"]: r["metrics"]["filtered/ndcg@10"] for r in read if r["split"] == "validation"
    }


def test_folders_of_one_name_are_told_apart(tmp_path):
    for parent in ("old", "new"):
        folder = tmp_path / parent / "bow"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        test = {"split": "test", "protocol": "random", "metrics": {}, "step": 1, "epoch": 1}
        (folder / "metrics.jsonl").write_text(json.dumps(test) + "\n")
    points = results.read([tmp_path / "old" / "bow", tmp_path / "new" / "bow"]).points
    assert [p.axes["run"] for p in points] == ["new/bow", "old/bow"]


@pytest.mark.parametrize("place", ["../other", "/etc", "runs/../../other", "link", "\x1b[2J"])
def test_a_folder_outside_is_not_read(tmp_path, place):
    folder = write(tmp_path / "sweep", row("bow", 0, folder=place))
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(FlaxrecError, match=r"results.jsonl names the file .* which is not in"):
        results.read([folder])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"axes": []}, "'axes': expected 'object'"),
        ({"axes": {"encoder": {}}}, "got 'object'"),
        ({"axes": {"encoder": [[[[1]]] * 70]}}, None),
        ({"seed": 1e30}, "'seed': expected"),
        ({"metrics": {"test": {"recall@10": "x"}}}, "'metrics[...][...]': expected 'float'"),
        ({"config": {"model": {"context_length": -1}}}, "'config.model.context_length': expected"),
        ({"status": "maybe"}, "'status': invalid enum value 'maybe'"),
    ],
)
def test_a_row_that_does_not_fit_is_named(tmp_path, change, told):
    folder = write(tmp_path, row("cnn", 0), row("bow", 0, **change))
    if told is None:
        results.read([folder])
        return
    with pytest.raises(DataError) as raised:
        results.read([folder])
    assert str(raised.value).startswith(f"{folder / 'results.jsonl'}, line 2 does not fit: ")
    assert told in str(raised.value)


def test_what_is_no_result(tmp_path):
    with pytest.raises(DataError, match=r"neither a sweep folder .* nor a run folder"):
        results.read([tmp_path])
    with pytest.raises(
        DataError, match=r"results.jsonl, line 1 does not fit: object missing required field 'kind'"
    ):
        results.read([write(tmp_path, {"run": "a"})])
    failed = row("bow", 0, status="failed", reason="The loss is not finite.")
    with pytest.raises(
        DataError, match=r"no finished run; encoder=bow,seed=0: The loss is not fin"
    ):
        results.read([write(tmp_path, failed)])
