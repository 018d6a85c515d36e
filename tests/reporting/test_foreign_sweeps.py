"""Sweeps and reports that somebody else may have made."""

import csv
import json
import random

import pytest

from flaxrec import report
from tests.fuzz import sweep_folder
from tests.fuzz.attempts import search
from tests.support import made_up_reports

pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    from flaxrec.reporting import drawing

    monkeypatch.setattr(drawing, "save", lambda figure, folder, stem: [])


def test_a_sweep_of_a_stranger_speaks_to_no_program_that_reads_its_report(tmp_path):
    """Not to the terminal, LaTeX, Markdown or a spreadsheet."""
    axes = {"encoder": "\x1b[2J\\input{x}|<b>", "=cmd|' /C calc'!A0": "=HYPERLINK(1)"}
    size = made_up_reports.Size(users=12, items=30)
    row = made_up_reports.trained(tmp_path / "sweep", {"encoder": "bow"}, 0, 0.1, size)
    (tmp_path / "sweep" / row["folder"]).rename(tmp_path / "sweep" / "runs" / "x")
    row |= {"run": "\x1b]0;title\x07", "folder": "runs/x", "axes": axes}
    failed = row | {"run": "b", "status": "failed", "reason": "\x1b[31m\u202e"}
    made_up_reports.write_rows(tmp_path / "sweep", [row, failed])
    assert report.main([str(tmp_path / "sweep"), f"--output={tmp_path / 'report'}"]) == 0
    for name in ("table.md", "table.tex", "table.csv", "runs.csv"):
        text = (tmp_path / "report" / name).read_text(encoding="utf-8")
        assert all(line.isprintable() for line in text.splitlines()), name
    assert "\\input" not in (tmp_path / "report" / "table.tex").read_text(encoding="utf-8")
    with open(tmp_path / "report" / "table.csv", encoding="utf-8", newline="") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    assert not [cell for cell in cells if cell.startswith("=")]


def test_a_list_of_a_stranger_removes_no_file_of_ones_own(tmp_path):
    made_up_reports.sweep(tmp_path / "sweep", ("bow",), (5,), 1, made_up_reports.Size(12, 30))
    output = tmp_path / "report"
    output.mkdir()
    for kept in (tmp_path / "mine.md", output / "thesis.docx", output / ".profile.md"):
        kept.write_text("mine")
    names = ["../mine.md", "..", "", "thesis.docx", ".profile.md", "a\0.md", "old.md"]
    (output / "old.md").write_text("of an earlier report")
    (output / "report.json").write_text(json.dumps({"files": names}))
    assert report.main([str(tmp_path / "sweep"), f"--output={output}"]) == 0
    assert not (output / "old.md").exists()
    for kept in (tmp_path / "mine.md", output / "thesis.docx", output / ".profile.md"):
        assert kept.read_text() == "mine"


def test_search(tmp_path):
    """More by `python -m tests.fuzz sweep_folder`."""
    found = search(sweep_folder.attempts(random.Random(20), tmp_path), 8)
    assert found.tried == 8
    assert not found.faults
