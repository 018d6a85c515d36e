"""Costs of points: how runs came about; latency, measured again when a file is another."""

import dataclasses
import json
from pathlib import Path

import pytest

from flaxrec.measuring import comparison
from flaxrec.reporting import costs
from flaxrec.reporting.measured import Breakdown, Measured
from flaxrec.reporting.results import Results
from flaxrec.reporting.table_forms import Estimate
from flaxrec.research.statistics import Interval
from flaxrec.tflite import inspection
from tests.support.report_points import METRIC, NOISE, measured, of_points, point, run


def test_origin_is_apart_from_results():
    rows = [
        {"wall_seconds": s, "examples_per_second": 0, "device": d, "git": {"revision": "a" * 40}}
        for s, d in ((10, "cpu"), (20, "gpu"))
    ]
    runs = [run(None, row=row, seed=i, name=f"r{i}") for i, row in enumerate(rows)]
    made = point(*runs, encoder="bow")
    one = Measured(made, "bow", {}, {}, Breakdown(), 1, 1, 1, 1, "")
    table = costs.training_table(of_points(one), ["encoder"])
    assert table.rows[0].cells == ("bow", Estimate(15.0), None, "cpu, gpu", "a" * 10)
    failed = run(None, name="f", row={"run": "f", "reason": "No, never.", "status": "failed"},
                 metrics={})  # fmt: skip
    lines = costs.runs_csv(Results((made,), (failed,))).splitlines()
    assert lines[0].startswith("run,kind,status,reason,")
    assert lines[0].endswith(",test.filtered/recall@10")
    assert len(lines) == 4
    assert lines[3].startswith('f,,failed,"No, never.",')


# ---- latency -----------------------------------------------------------------------------------


@pytest.fixture
def points(tmp_path):
    made = []
    for name in ("bow", "cnn", "lstm"):
        folders = [tmp_path / f"{name}{seed}" for seed in (0, 1)]
        for folder in folders[1:] if name == "cnn" else folders:
            if name != "lstm":
                (folder / "export").mkdir(parents=True)
                (folder / "export" / "model.tflite").write_bytes(folder.name.encode())
        runs = [dataclasses.replace(run(None), folder=f, seed=i) for i, f in enumerate(folders)]
        made.append(point(*runs, encoder=name))
    return made


@pytest.fixture
def calls(monkeypatch):
    """Files measured, call by call; nothing is run."""
    called = []

    def compare(models, options):
        called.append([model.parent.parent.name for model in models])
        rows = [
            comparison.Row(str(m), 10 * i, 3, (), None, 1.0, 2.0 * i, 3.0 * i, 4.0 * i, float(i),
                           (i - 0.1, i + 0.1) if i > 1 else None)
            for i, m in enumerate(models, 1)
        ]  # fmt: skip
        return comparison.Comparison(rows, options, "", 5000, "a processor", 0.25, "2.0")

    monkeypatch.setattr(comparison, "compare", compare)
    monkeypatch.setattr(inspection, "inspect", Path)
    return called


def test_one_export_a_point_all_in_one_run(points, calls, tmp_path):
    made = costs.measure_latency(points, tmp_path / "latency.json", calls=100)
    assert calls == [["bow0", "cnn1"]]
    assert costs.medians(made) == {"encoder=bow": 2.0, "encoder=cnn": 4.0}
    assert made["comparison"]["options"]["calls"] == 100


def test_what_is_kept_is_used_for_the_same_files_only(points, calls, tmp_path):
    kept = tmp_path / "latency.json"
    first = costs.measure_latency(points, kept, calls=100)
    kept.write_text(json.dumps(first))
    assert costs.measure_latency(points, kept, calls=100) == json.loads(kept.read_text())
    assert len(calls) == 1
    costs.measure_latency(points, kept, calls=50)
    costs.measure_latency(points[:1], kept, calls=100)
    (tmp_path / "cnn1" / "export" / "model.tflite").write_bytes(b"another")
    costs.measure_latency(points, kept, calls=100)
    assert calls == [["bow0", "cnn1"], ["bow0", "cnn1"], ["bow0"], ["bow0", "cnn1"]]
    kept.write_text('{"files"')
    costs.measure_latency(points, kept, calls=100)
    assert len(calls) == 5


def test_without_exports_nothing_is_measured(points, calls, tmp_path):
    assert costs.measure_latency(points[2:], tmp_path / "latency.json", calls=100) is None
    assert calls == []


def test_the_table(points, calls, tmp_path):
    made = costs.measure_latency(points, tmp_path / "latency.json", calls=100)
    of_set = [measured(f"encoder={n}", NOISE[0], encoder=n) for n in ("bow", "cnn", "lstm")]
    table = costs.latency_table(made, of_points(*of_set))
    assert [row.cells[1:5] for row in table.rows] == [
        (10, 2.0, 3.0, Estimate(1.0)),
        (20, 4.0, 6.0, Estimate(2.0, interval=Interval(1.9, 2.1))),
    ]
    assert table.notes[0].startswith("a processor, 100 calls of each file with a new context")
    assert METRIC not in str(table)
