"""models/NAME/: what is written is read again; what is damaged or missing is told in a sentence."""

import dataclasses
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from flaxrec.errors import ExportError
from flaxrec.starters import folder as folder_lib
from flaxrec.starters.folder import files_of, write
from tests.support import made_up_starters
from tests.support.bundles import contents, message_of


@pytest.fixture
def copy(models, tmp_path) -> Path:
    return Path(shutil.copytree(models / "tiny_id_genre", tmp_path / "tiny_id_genre"))


def test_a_starter_is_read_as_it_was_written(data, tmp_path):
    starter, _ = made_up_starters.starter("id_genre", data)
    write(starter, tmp_path / "s")
    read = folder_lib.read(tmp_path / "s")
    assert read.config == starter.config
    assert read.spec == starter.spec
    assert read.vocabularies == starter.vocabularies
    assert read.facts == starter.facts
    assert read.weights.keys() == starter.weights.keys()
    for name, array in starter.weights.items():
        assert read.weights[name].dtype == np.float16
        np.testing.assert_array_equal(read.weights[name], array)


def test_bytes_depend_on_the_content_only(data, tmp_path):
    starter, _ = made_up_starters.starter("id_genre", data)
    write(starter, tmp_path / "a")
    in_another_order = dict(reversed(starter.weights.items()))
    write(dataclasses.replace(starter, weights=in_another_order), tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == files_of(starter)
    with zipfile.ZipFile(tmp_path / "a" / "weights.npz") as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_folder_holds_ids_and_weights_only(models, data):
    """No title, nor a number of ratings, nor which item has which genres."""
    movies = (data / "movies.dat").read_text(encoding="latin-1").splitlines()
    ids, titles, genres = zip(*(line.split("::") for line in movies), strict=True)
    files = contents(models / "tiny_id_genre")
    assert set(files) == {
        "weights.npz",
        "config.json",
        "spec.json",
        "figures.json",
        "card.md",
        "vocabularies/item.txt",
        "vocabularies/context_genres.txt",
    }
    texts = {name: raw.decode() for name, raw in files.items() if name != "weights.npz"}
    assert not [title for title in titles if any(title in text for text in texts.values())]
    items = texts["vocabularies/item.txt"].splitlines()
    assert items[0] == "<pad>"
    assert set(items[1:]) <= set(ids)
    names = set("|".join(genres).split("|"))
    assert set(texts["vocabularies/context_genres.txt"].splitlines()) <= names | {"<pad>"}


@pytest.mark.parametrize(
    "file", ["weights.npz", "config.json", "spec.json", "figures.json", "vocabularies/item.txt"]
)
def test_a_missing_file(copy, file):
    (copy / file).unlink()
    message = message_of(folder_lib.read, copy, error=ExportError)
    assert message == f"{copy / file} is missing; restore it, for example by git checkout."


@pytest.mark.parametrize(
    "file", ["weights.npz", "config.json", "spec.json", "figures.json", "vocabularies/item.txt"]
)
def test_a_file_that_was_cut_off(copy, file):
    raw = (copy / file).read_bytes()
    (copy / file).write_bytes(raw[: len(raw) // 2])
    message = message_of(folder_lib.read, copy, error=ExportError)
    assert str(copy) in message
    assert "restore it, for example by git checkout" in message


def forget_sums(folder: Path) -> None:
    """Makes it one of version 0.1.0, which did not note its files."""
    file = folder / "figures.json"
    facts = json.loads(file.read_text(encoding="utf-8"))
    del facts["files"]
    file.write_text(json.dumps(facts), encoding="utf-8")


def test_without_notes_it_is_read_with_a_warning(copy, caplog):
    noted = folder_lib.read(copy)
    assert not caplog.text
    forget_sums(copy)
    assert folder_lib.read(copy).facts == noted.facts
    assert "does not note which files belong to it" in caplog.text


@pytest.mark.parametrize(
    "file", ["weights.npz", "config.json", "spec.json", "vocabularies/item.txt"]
)
def test_a_file_of_another_starter(copy, file):
    with open(copy / file, "ab") as opened:
        opened.write(b"\n")
    told = f"{file} is not the file that was packed: its SHA-256 differs"
    assert told in message_of(folder_lib.read, copy, error=ExportError)


@pytest.mark.parametrize(
    ("file", "before", "after", "words"),
    [
        ("spec.json", '"length": 6', '"length": "6"', "inputs[0].length is '6', not a whole"),
        ("spec.json", '"inputs": [', '"x": [', "spec.json: inputs is missing"),
        ("spec.json", '"vocabulary": "item"', '"vocabulary": "../item"', "not a file's name"),
        ("spec.json", '"name": "', '"name": "x', "config.json and spec.json have other inputs"),
        ("spec.json", '"item.id"', '"item"', "config.json and spec.json have other inputs"),
        ("config.json", '"model": {', '"modes": {', "config has an unknown field 'modes'"),
        ("config.json", '"seed": 0', '"seed": 0, "seed": 0', "'seed' stands twice"),
        ("figures.json", '"mean": 0.32,', "", "figures.json: metrics.'filtered/recall@10'.mean"),
        ("figures.json", '"name": "', '"name": "\\u001b', "small letters, digits and '_'"),
        ("figures.json", '"mean": 0.32', '"mean": NaN', "mean is None, not a number"),
        ("vocabularies/item.txt", "\n", "\r\n", "has the line ends of Windows"),
    ],
)
def test_what_does_not_fit_is_told(copy, file, before, after, words):
    forget_sums(copy)
    text = (copy / file).read_text(encoding="utf-8")
    assert before in text
    content = text.replace(before, after, -1 if before == "\n" else 1)
    (copy / file).write_bytes(content.encode())
    assert words in message_of(folder_lib.read, copy, error=ExportError)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(copy, value):
    forget_sums(copy)
    with np.load(copy / "weights.npz") as file:
        arrays = dict(file)
    last = sorted(arrays)[-1]
    arrays[last].flat[-1] = value
    np.savez(copy / "weights.npz", **arrays)
    told = f"the weights '{last}' are not all finite numbers"
    assert told in message_of(folder_lib.read, copy, error=ExportError)


def test_a_header_that_lies_about_its_size(copy):
    """Nothing of that size is allocated."""
    forget_sums(copy)
    header = b"{'descr': '<f2', 'fortran_order': False, 'shape': (4000000000000, 16), }"
    with zipfile.ZipFile(copy / "weights.npz", "w") as archive:
        lines = header.ljust(117) + b"\n"
        size = len(lines).to_bytes(2, "little")
        archive.writestr("label_encoder/table.npy", b"\x93NUMPY\x01\x00" + size + lines + b"1234")
    assert "weights.npz" in message_of(folder_lib.read, copy, error=ExportError)


@pytest.mark.parametrize("file", ["weights.npz", "spec.json", "vocabularies/item.txt"])
def test_links_that_lead_out(copy, tmp_path, file):
    (copy / file).rename(tmp_path / "outside")
    (copy / file).symlink_to(tmp_path / "outside")
    assert "which is not in" in message_of(folder_lib.read, copy, error=ExportError)


def test_weights_that_are_not_the_config_s(copy):
    forget_sums(copy)
    config = json.loads((copy / "config.json").read_text())
    config["model"]["hidden_dims"] = [7]
    (copy / "config.json").write_text(json.dumps(config))
    message = message_of(folder_lib.read, copy, error=ExportError)
    assert "weights.npz has float16 [" in message
    assert "ask for float16 [" in message


def test_weights_in_another_precision_or_too_few(copy):
    forget_sums(copy)
    with np.load(copy / "weights.npz") as file:
        arrays = dict(file)
    last = sorted(arrays)[-1]
    np.savez(copy / "weights.npz", **arrays | {last: arrays[last].astype(np.float32)})
    assert f"has float32 {list(arrays[last].shape)} for {last}" in message_of(folder_lib.read, copy)
    np.savez(copy / "weights.npz", **{k: v for k, v in arrays.items() if k != last})
    assert f"has nothing for {last}" in message_of(folder_lib.read, copy)


def test_finding_one(models, tmp_path):
    assert folder_lib.names(models) == ["tiny_id", "tiny_id_genre"]
    assert folder_lib.find("tiny_id", models) == models / "tiny_id"
    message = message_of(folder_lib.find, "tiny", models, error=ExportError)
    assert message == f"There is no starter 'tiny' in {models}; there are tiny_id, tiny_id_genre."
    message = message_of(folder_lib.find, "../models/tiny_id", models, error=ExportError)
    assert "there are tiny_id, tiny_id_genre" in message
    message = message_of(folder_lib.find, "tiny", tmp_path / "none", error=ExportError)
    assert message.endswith("there are none.")
    assert folder_lib.names(tmp_path / "none") == []
