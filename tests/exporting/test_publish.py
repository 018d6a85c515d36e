"""Nothing wrong is published, and nothing of somebody else is replaced."""

import contextlib
import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from flaxrec import files
from flaxrec.errors import ExportError
from flaxrec.exporting import converter, ranked_lists, saved_model, serving
from flaxrec.exporting.bundle import publish
from flaxrec.tflite import flatbuffer
from tests.support.bundles import EXPORTS_METADATA, contents, export, message_of, names_in
from tests.support.exports import note_again

# ---- nothing wrong is published -------------------------------------------------------------


@pytest.fixture(scope="module")
def right_file(bow_id, keeping, tmp_path_factory) -> bytes:
    """The float32 file of the run, as converted."""
    model = serving.load(bow_id)
    return keeping(model, model.config.export, tmp_path_factory.mktemp("right") / "saved_model")


@pytest.fixture
def converts_right(right_file, monkeypatch):
    """Whatever the SavedModel is like, the converter's file is right."""
    monkeypatch.setattr(converter, "convert", lambda folder: right_file)


def spoil_the_file(monkeypatch, workdir):
    """The converter's file gets another label table of the same size."""
    table = np.asarray(serving.load(workdir).params["label_encoder/table"])
    convert = converter.convert

    def converted(folder):
        content = convert(folder)
        assert content.count(table.tobytes()) == 1
        return content.replace(table.tobytes(), np.float32(1.01 * table).tobytes())

    monkeypatch.setattr(converter, "convert", converted)


def spoil_the_saved_model(monkeypatch, workdir):
    """The SavedModel gets another bias."""
    save = saved_model.save

    def saved(model, options, folder):
        name = "context_encoder/projection/bias"
        params = {**model.params, name: model.params[name] + 1e-3}
        save(dataclasses.replace(model, params=params), options, folder)

    monkeypatch.setattr(saved_model, "save", saved)


def spoil_the_batches(monkeypatch, workdir):
    """The SavedModel's batched signature gets other scores; the rest is right."""
    score_batch = serving.ServingModel.score_batch

    def scored(*arguments):
        scores, *others = score_batch(*arguments)
        return scores + 1e-3, *others

    monkeypatch.setattr(serving.ServingModel, "score_batch", scored)


def spoil_the_order(monkeypatch, workdir):
    """The graph returns candidates instead of rows."""
    save = saved_model.save

    def saved(model, options, folder):
        spec = dataclasses.replace(model.spec, first_candidate=model.spec.first_candidate - 1)
        save(dataclasses.replace(model, spec=spec), options, folder)

    monkeypatch.setattr(saved_model, "save", saved)


def find_one_disagreement(monkeypatch, workdir):
    """One context of 200 disagrees."""
    compare = ranked_lists.compare_lists

    def compared(*arguments, **options):
        equality = compare(*arguments, **options)
        return dataclasses.replace(equality, agree=equality.agree - 1)

    monkeypatch.setattr(ranked_lists, "compare_lists", compared)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (spoil_the_file, ".tflite disagrees with the model on 200 of 200"),
        (spoil_the_saved_model, "SavedModel disagrees with the model on"),
        (spoil_the_batches, "SavedModel, in batches, disagrees with the model on"),
        (spoil_the_order, "SavedModel disagrees with the model on 200 of 200"),
        (find_one_disagreement, "SavedModel disagrees with the model on 1 of 200"),
    ],
)
def test_a_disagreement_publishes_nothing(copy, converts_right, monkeypatch, tmp_path, spoil, what):
    spoil(monkeypatch, copy)
    before, around = contents(copy.path), names_in(copy.path)
    message = message_of(export, copy, error=ExportError)
    assert what in message
    assert "nothing was published" in message
    assert contents(copy.path) == before
    assert names_in(copy.path) == around
    if spoil is find_one_disagreement:  # the same where there was no export before
        (tmp_path / "out").mkdir()
        message_of(export, copy, tmp_path / "out" / "a" / "b" / "new", error=ExportError)
        assert names_in(tmp_path / "out") == set()


def test_a_file_that_its_metadata_changes_is_not_published(copy, converted_once, monkeypatch):
    """The file that is published is run once more, not only the one it was made of."""
    table = np.asarray(serving.load(copy).params["label_encoder/table"])
    with_metadata = flatbuffer.with_metadata

    def spoilt(content, metadata):
        content = with_metadata(content, metadata)
        assert content.count(table.tobytes()) == 1
        return content.replace(table.tobytes(), np.float32(1.000001 * table).tobytes())

    monkeypatch.setattr(flatbuffer, "with_metadata", spoilt)
    before = contents(copy.path)
    assert "with its metadata" in message_of(export, copy, error=ExportError)
    assert contents(copy.path) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_export_that_is_stopped_leaves_nothing(copy, monkeypatch, error):
    def stop(folder):
        raise error

    monkeypatch.setattr(converter, "convert", stop)
    before, around = contents(copy.path), names_in(copy.path)
    with pytest.raises(error):
        export(copy)
    assert contents(copy.path) == before
    assert names_in(copy.path) == around


def test_an_export_that_cannot_be_put_in_place_leaves_the_earlier_one(tmp_path, monkeypatch):
    output, rename = tmp_path / "export", os.rename
    output.mkdir()
    (output / "metadata.json").write_text(EXPORTS_METADATA)

    def fail(source, target):
        if Path(source).name == f".export.{os.getpid()}":
            raise OSError(28, "No space left on device")
        rename(source, target)

    def replace():
        with publish(output) as folder:
            (folder / "metadata.json").write_text("new")

    monkeypatch.setattr(files.whole, "_exchange", lambda one, other: False)
    monkeypatch.setattr(os, "rename", fail)
    assert "No space left on device" in message_of(replace, error=ExportError)
    assert (output / "metadata.json").read_text() == EXPORTS_METADATA
    assert names_in(tmp_path) == {"export"}


def test_what_a_killed_process_of_this_number_left_is_no_obstacle(tmp_path):
    """In a container every export may be process 1."""
    output = tmp_path / "export"
    for name in (f".export.{os.getpid()}", f".export.old.{os.getpid()}", "export"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metadata.json").write_text(EXPORTS_METADATA)
    with publish(output) as folder:
        assert names_in(folder) == set()
        (folder / "metadata.json").write_text("new")
    assert (output / "metadata.json").read_text() == "new"
    assert names_in(tmp_path) == {"export"}


def test_a_disk_that_is_full_is_told_in_a_sentence(tmp_path):
    output = tmp_path / "made" / "for it" / "export"

    def fill():
        with publish(output) as folder:
            (folder / "half").write_text("of it")
            raise OSError(28, "No space left on device")

    message = message_of(fill, error=ExportError)
    assert f"{output} cannot be written (No space left on device)" in message
    assert names_in(tmp_path) == set()


def test_a_failed_export_leaves_folders_that_were_there(tmp_path):
    (tmp_path / "there").mkdir()
    output = tmp_path / "there" / "made" / "export"

    def stop():
        with publish(output):
            assert names_in(output.parent) == {f".export.{os.getpid()}"}
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert names_in(tmp_path) == {"there"}
    assert names_in(tmp_path / "there") == set()


def test_an_output_that_is_a_link_leaves_no_link_behind(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "metadata.json").write_text(EXPORTS_METADATA)
    (tmp_path / "export").symlink_to(tmp_path / "elsewhere")
    with publish(tmp_path / "export") as folder:
        (folder / "metadata.json").write_text("new")
    assert (tmp_path / "export" / "metadata.json").read_text() == "new"
    assert names_in(tmp_path) <= {"elsewhere", "export"}


def test_a_run_without_verification_contexts_is_not_called_verified(copy):
    with np.load(copy.assets / "contexts.npz") as file:
        none = {name: file[name][:0] for name in file.files}
    np.savez_compressed(copy.assets / "contexts.npz", **none)
    note_again(copy.assets)
    assert "verification_contexts" in message_of(export, copy)


# ---- folders that are not ours --------------------------------------------------------------


@pytest.mark.parametrize(
    "files",
    [
        {"thesis.tex": "years of work"},
        {".hidden": ""},
        {"model.tflite": "somebody's"},
        {"metadata.json": '{"title": "holiday"}', "photo.jpg": "irreplaceable"},
        {"metadata.json": "not JSON", "photo.jpg": "irreplaceable"},
    ],
    ids=lambda files: "+".join(files),
)
def test_a_folder_of_somebody_else_is_refused(bow_id, tmp_path, files):
    output = tmp_path / "mine"
    output.mkdir()
    for name, text in files.items():
        (output / name).write_text(text)
    before = contents(tmp_path)
    message = message_of(export, bow_id, output, error=ExportError)
    assert str(output) in message
    assert "--output" in message
    assert contents(tmp_path) == before


def test_a_file_in_the_outputs_place_is_refused(bow_id, tmp_path):
    (tmp_path / "out").write_text("text")
    assert "is not an export" in message_of(export, bow_id, tmp_path / "out", error=ExportError)
    assert contents(tmp_path) == {"out": b"text"}


def test_the_run_itself_is_refused(copy):
    before = contents(copy.path)
    assert "is not an export" in message_of(export, copy, copy.path, error=ExportError)
    assert contents(copy.path) == before


def test_the_current_folder_as_output_is_no_crash(bow_id, converted_once, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with contextlib.suppress(ExportError):
        export(bow_id, Path("."))


def test_an_output_that_cannot_be_written(bow_id, tmp_path):
    (tmp_path / "file").write_text("text")
    message = message_of(export, bow_id, tmp_path / "file" / "out", error=ExportError)
    assert f"{tmp_path}/file cannot be written (" in message
    message = message_of(export, bow_id, Path("/proc/flaxrec/out"), error=ExportError)
    assert "/proc/flaxrec cannot be written (" in message
