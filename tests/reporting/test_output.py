"""The report's folder: an earlier report is replaced, nothing of others' is written over."""

import os

import pytest

from flaxrec.errors import DataError
from flaxrec.reporting.output import filled


def fill(output, keep=(), **files):
    with filled(output, keep) as folder:
        for name, text in files.items():
            (folder / name.replace("_", ".")).write_text(text)


def content(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != "report.json"}


def test_a_new_and_an_empty_folder(tmp_path):
    fill(tmp_path / "deep" / "new", a_md="1")
    assert content(tmp_path / "deep" / "new") == {"a.md": "1"}
    (tmp_path / "empty").mkdir()
    fill(tmp_path / "empty", a_md="1")
    assert content(tmp_path / "empty") == {"a.md": "1"}
    assert sorted(os.listdir(tmp_path)) == ["deep", "empty"]


def test_an_earlier_report_is_replaced_and_what_is_not_its_own_stays(tmp_path):
    fill(tmp_path / "r", a_md="1", old_png="2", kept_json="3")
    (tmp_path / "r" / "notes.txt").write_text("mine")
    fill(tmp_path / "r", keep=("kept.json", "none.json"), a_md="4", b_md="5")
    expected = {"a.md": "4", "b.md": "5", "kept.json": "3", "notes.txt": "mine"}
    assert content(tmp_path / "r") == expected
    fill(tmp_path / "r", a_md="6")
    assert content(tmp_path / "r") == {"a.md": "6", "notes.txt": "mine"}


def test_what_is_no_report_is_not_touched(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty and holds no report; use another --output"):
        fill(tmp_path, a_md="1")
    with pytest.raises(DataError, match=r"notes.txt is a file; use another --output"):
        fill(tmp_path / "notes.txt", a_md="1")
    fill(tmp_path / "r", a_md="1")
    (tmp_path / "r" / "b.md").write_text("mine")
    with pytest.raises(DataError, match=r"b.md was not written by a report"):
        fill(tmp_path / "r", a_md="2", b_md="2")
    assert content(tmp_path / "r") == {"a.md": "1", "b.md": "mine"}
    assert sorted(os.listdir(tmp_path)) == ["notes.txt", "r"]


def test_a_failure_leaves_the_earlier_report(tmp_path):
    fill(tmp_path / "r", a_md="1")
    unwritable = "\ud800"
    with pytest.raises(UnicodeEncodeError):
        fill(tmp_path / "r", a_md="2", b_md=unwritable)
    assert content(tmp_path / "r") == {"a.md": "1"}
    assert os.listdir(tmp_path) == ["r"]


def test_a_report_that_was_killed_half_way_is_still_one(tmp_path, monkeypatch):
    fill(tmp_path / "r", a_md="1", b_md="1")
    replace, moved = os.replace, []

    def die(source, target):
        if str(target).endswith("b.md"):
            raise KeyboardInterrupt
        moved.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "r", a_md="2", b_md="2", c_md="2")
    monkeypatch.undo()
    assert content(tmp_path / "r") == {"a.md": "2", "b.md": "1"}
    fill(tmp_path / "r", c_md="3")
    assert content(tmp_path / "r") == {"c.md": "3"}


def test_a_list_of_files_reaches_no_other_folder(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "report.json").write_text('{"files": ["../mine"]}')
    fill(tmp_path / "r", a_md="1")
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    def refuse(*arguments, **named):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(DataError, match=r"r cannot be written \(Permission denied\)"):
        fill(tmp_path / "r", a_md="1")
