"""An export folder as it is read: its files belong together, and it leads nowhere else."""

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flaxrec.demo import content
from flaxrec.errors import ExportError
from flaxrec.exporting.bundle import publish
from flaxrec.recommend import main
from flaxrec.recommender import Recommender
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.export_folder import ExportFolder
from flaxrec.tflite.inspection import inspect
from flaxrec.tflite.metadata import read_metadata, write_metadata
from tests.fuzz import export_folder
from tests.fuzz.attempts import search
from tests.support.bundles import contents, message_of
from tests.support.exports import require_export
from tests.support.places import ROOT

OLD = ROOT / "tests" / "compatibility" / "version_0_1_0" / "run" / "export"
ITEMS, GENRES, MODEL = "vocabularies/item.txt", "vocabularies/context_genre.txt", "model.tflite"


@pytest.fixture
def old(tmp_path) -> Path:
    """An export of version 0.1.0."""
    require_export()
    return shutil.copytree(OLD, tmp_path / "old")


@pytest.fixture
def noted(old) -> Path:
    """An export that notes its files."""
    write_metadata(old, read_metadata(old))
    return old.rename(old.with_name("noted"))


def change(folder: Path, name: str, old: bytes, new: bytes, count: int = -1) -> None:
    file = folder / name
    assert old in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(old, new, count))


def put(folder: Path, **fields) -> None:
    """Changes metadata.json as a stranger who knows how its checks are made."""
    write_metadata(folder, read_metadata(folder) | fields)


# ---- files that belong together -------------------------------------------------------------


def test_every_file_is_noted(noted):
    files = contents(noted)
    files.pop("metadata.json")
    sums = read_metadata(noted)["files"]
    assert sums.keys() == files.keys()
    assert all(len(files[name]) == one["bytes"] for name, one in sums.items())


def test_it_recommends_as_before_without_a_word(noted, caplog):
    before = Recommender.load(OLD).recommend([2, 17, 29])
    assert "does not note which files belong to it" in caplog.text
    caplog.clear()
    assert Recommender.load(noted).recommend([2, 17, 29]) == before
    assert not caplog.text


EDITS = {
    "CR LF": lambda text: text.replace(b"\n", b"\r\n"),
    "no last newline": lambda text: text.removesuffix(b"\n"),
    "one line more": lambda text: text + b"new\n",
    "one line fewer": lambda text: text[: text.rstrip().rindex(b"\n") + 1],
    "emptied": lambda text: b"",
    "a mark": lambda text: b"\xef\xbb\xbf" + text,
    "a letter": lambda text: text.replace(b"2", b"4", 1),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("name", [ITEMS, "items.jsonl"])
def test_a_file_that_an_editor_changed(noted, name, edit):
    (noted / name).write_bytes(EDITS[edit]((noted / name).read_bytes()))
    for read in (Recommender.load, lambda folder: content.collect([folder])):
        assert str(noted / name) in message_of(read, noted)


@pytest.mark.parametrize("edit", sorted(EDITS.keys() - {"a letter", "no last newline"}))
@pytest.mark.parametrize("name", [ITEMS, GENRES])
def test_without_notes_lines_are_counted(old, name, edit):
    (old / name).write_bytes(EDITS[edit]((old / name).read_bytes()))
    assert str(old / name) in message_of(Recommender.load, old)


def test_without_notes_the_models_own_are_compared(noted):
    sums = {name: one["sha256"] for name, one in read_metadata(noted)["files"].items()}
    model = flatbuffer.with_metadata((noted / MODEL).read_bytes(), {"files": sums})
    (noted / MODEL).write_bytes(model)
    change(noted, ITEMS, b"\n17\n", b"\n71\n")
    metadata = read_metadata(noted)
    metadata = {name: value for name, value in metadata.items() if name not in ("files", "sha256")}
    (noted / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    assert "its SHA-256 differs" in message_of(Recommender.load, noted)


def test_files_of_another_export(noted):
    change(noted, MODEL, b"flaxrec", b"flaxreC", 1)
    for read in (Recommender.load, inspect):
        message = message_of(read, noted)
        assert str(noted / MODEL) in message
        assert "another export's" in message


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"context_length": 6', b'"context_length": 5'),
        (b"item.genres", b"item.genreS"),
        (b'"multi_valued": true', b'"multi_valued": false'),
        (b'"bytes": ', b'"bytes": 1'),
    ],
)
def test_metadata_that_was_changed(noted, before, after):
    change(noted, "metadata.json", before, after, 1)
    message = message_of(Recommender.load, noted)
    assert "metadata.json was changed after it was written" in message
    assert "'sha256'" in message


def test_metadata_may_be_written_in_another_way(noted):
    metadata = json.loads((noted / "metadata.json").read_text(encoding="utf-8"))
    metadata = dict(reversed(metadata.items()))
    (noted / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    assert Recommender.load(noted).top_k == 10


def test_only_what_is_read_must_be_there(noted):
    shutil.rmtree(noted / "android")
    (noted / "more.txt").write_text("of somebody else", encoding="utf-8")
    assert Recommender.load(noted).recommend([2], 1)


def test_a_damaged_export_may_be_replaced(noted):
    change(noted, "metadata.json", b'"context_length": 6', b'"context_length": 5')
    with publish(noted) as new:
        (new / "metadata.json").write_text("new", encoding="utf-8")
    assert (noted / "metadata.json").read_text(encoding="utf-8") == "new"


# ---- a folder that is replaced while it is read ----------------------------------------------


def another(folder: Path, number: int) -> None:
    """Replaces an export by one whose model and lists of items differ, number by number."""
    with publish(folder) as new:
        shutil.copytree(OLD, new, dirs_exist_ok=True)
        model = flatbuffer.with_metadata((new / MODEL).read_bytes(), {"number": number})
        (new / MODEL).write_bytes(model)
        with (new / "items.jsonl").open("a", encoding="utf-8") as items:
            items.write(json.dumps({"id": f"of {number}"}) + "\n")
        write_metadata(new, read_metadata(new) | {"name": str(number)})


def number_of(found: Recommender) -> str:
    assert f"of {found.metadata['name']}" in found.items
    return found.metadata["name"]


@pytest.mark.parametrize("replaced", [0, 1, 2, 3])
def test_a_folder_that_is_replaced_is_read_again(noted, monkeypatch, replaced):
    numbers = itertools.count()
    another(noted, next(numbers))
    checks, times = ExportFolder.check_ends, []

    def check(self, *ends) -> None:
        checks(self, *ends)
        times.append(0)
        if len(times) <= replaced:  # between the model and the items
            another(noted, next(numbers))

    monkeypatch.setattr(ExportFolder, "check_ends", check)
    for read in (Recommender, lambda folder: content.collect([folder])):
        times.clear()
        if replaced < 3:
            read(noted)
            assert len(times) == replaced + 1
        else:
            assert "is not the file that was exported" in message_of(read, noted)
    times.clear()
    if replaced < 3:
        assert number_of(Recommender(noted)) == str(next(numbers) - 1)


def test_a_damaged_folder_is_read_once(noted, monkeypatch):
    (noted / "items.jsonl").write_text("", encoding="utf-8")
    times = []
    monkeypatch.setattr(ExportFolder, "check_ends", lambda *ends: times.append(0))
    assert "items.jsonl" in message_of(Recommender, noted)
    assert len(times) == 1


REPLACER = """
import sys
from pathlib import Path
from tests.tflite.test_export_folder import another

for number in range(1, int(sys.argv[2]) + 1):
    another(Path(sys.argv[1]), number)
"""


@pytest.mark.long
def test_loading_beside_a_process_that_replaces(noted):
    times = 200
    another(noted, 0)
    argv = [sys.executable, "-c", REPLACER, str(noted), str(times)]
    seen = set()
    with subprocess.Popen(argv, cwd=ROOT) as process:
        while process.poll() is None:
            seen.add(number_of(Recommender(noted)))
    assert process.returncode == 0
    assert number_of(Recommender(noted)) == str(times)
    print(f"{len(seen)} of {times} exports seen")


# ---- searched --------------------------------------------------------------------------------


def test_searched_folders_have_a_right_answer_or_a_sentence(tmp_path):
    require_export()
    found = search(export_folder.attempts(random.Random(5), tmp_path), 25, seconds=60)
    assert not found.faults
    assert found.refused > 8


# ---- of strangers ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.txt", "a/../../secret.txt", "C:\\x"])
def test_names_that_lead_out(noted, name):
    (noted.parent / "secret.txt").write_text("<pad>\nsecret\n", encoding="utf-8")
    put(noted, label_vocabulary=name)
    for read in (Recommender.load, lambda folder: content.collect([folder])):
        assert "which is not in" in message_of(read, noted)


@pytest.mark.parametrize("name", ["metadata.json", "items.jsonl", MODEL, ITEMS])
@pytest.mark.parametrize("kind", ["link", "circle", "fifo", "folder", "device"])
def test_what_is_no_file_of_the_folder(noted, name, kind):
    file = noted / name
    outside = noted.parent / "outside"
    file.rename(outside)
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        file.symlink_to({"link": outside, "circle": file, "device": "/dev/zero"}[kind])
    assert str(noted) in message_of(Recommender.load, noted)


def test_links_within_the_folder_are_followed(noted):
    (noted / ITEMS).rename(noted / "elsewhere.txt")
    (noted / ITEMS).symlink_to("../elsewhere.txt")
    link = noted.with_name("link")
    link.symlink_to(noted)
    assert Recommender.load(link).recommend([2], 1)


def test_it_does_not_speak_to_the_terminal(noted, capsys):
    change(noted, "items.jsonl", b"The ", b"\\u001b[2J\\u202e", 40)
    change(noted, "items.jsonl", b'"id": 17,', b'"id": "17", "x": "\\u0007",', 1)
    put(noted, name="\x1b]0;owned\x07")
    assert main([str(noted), "2", "17", "--top_k=10"]) == 0
    out, err = capsys.readouterr()
    assert "\\x1b[2J\\u202e" in out
    assert (out + err).replace("\n", "").isprintable()
    assert main([str(noted), "\x1b[2J"]) == 2
    assert capsys.readouterr().err.strip().isprintable()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{}", "line 3 has None as id"),
        (b"[]", "line 3 is no object"),
        (b'{"id": null}', "line 3 has None as id"),
        (b'{"id": NaN}', "line 3 has None as id"),
        (b'{"id": [1]}', "line 3 has [1] as id"),
        (b'{"id": 2}', "line 3 has the id '2' of another line"),
        (b'{"id": 3, "id": 4}', "line 3 is not valid JSON (the field 'id' stands twice)"),
        (b'{"id": ', "line 3 is not valid JSON (Expecting value, line 1, column 8)"),
        (b'{"id": "\xff"}', "line 3 is not UTF-8"),
        (b'{"id": "\\ud800"}', "line 3 is not UTF-8"),
        (b'{"id": 3, "x": ' + b"[" * 99 + b"]" * 99 + b"}", "line 3 has more than 64 lists"),
        (b"[" * 100_000, "line 3 has more than 64 lists"),
        (b'{"id": ' + b"7" * 5000 + b"}", "line 3 is not valid JSON"),
        (b"", "line 3 is not valid JSON"),
    ],
)
def test_items_that_are_none(noted, line, words):
    lines = (noted / "items.jsonl").read_bytes().split(b"\n")
    lines.insert(2, line)
    (noted / "items.jsonl").write_bytes(b"\n".join(lines))
    put(noted)
    assert f"items.jsonl, {words}" in message_of(ExportFolder(noted).tables)


def test_a_line_of_5_megabytes(noted):
    lines = (noted / "items.jsonl").read_bytes().split(b"\n")
    lines[2] = json.dumps({"id": 29, "title": "x" * 5_000_000}).encode()
    (noted / "items.jsonl").write_bytes(b"\n".join(lines))
    put(noted)
    (item,) = (i for i in Recommender.load(noted).items.values() if i["id"] == 29)
    assert len(item["title"]) == 5_000_000


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"top_k": 11}, "the output top_prediction_ids should be ([11], 'int32')"),
        ({"inputs": [{"shape": [7]}, {}]}, "the inputs should be"),
        ({"inputs": [{"name": "other"}, {}]}, "the inputs should be"),
        ({"inputs": [{}]}, "the inputs should be"),
    ],
)
def test_metadata_of_another_model(noted, fields, words):
    if "inputs" in fields:
        own = read_metadata(noted)["inputs"]
        fields = {"inputs": [a | b for a, b in zip(own, fields["inputs"], strict=False)]}
    put(noted, **fields)
    for read in (Recommender.load, lambda folder: content.collect([folder])):
        message = message_of(read, noted)
        assert "do not belong together" in message
        assert words in message


def test_ids_that_the_vocabulary_lacks_are_left_out(noted):
    """A stranger's model may return any."""
    recommender = Recommender.load(noted)
    out = recommender._model
    recommender._model = lambda inputs: {n: v * 0 - 1 for n, v in out(inputs).items()}
    assert recommender.recommend([2]) == []


def test_an_export_may_be_read_after_it_is_gone(noted):
    export = ExportFolder(noted)
    assert export.model
    shutil.rmtree(noted)
    assert export.model
    with pytest.raises(ExportError, match="is missing"):
        export.tables()
