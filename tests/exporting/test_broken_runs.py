"""Runs that cannot be exported are told in a sentence; exports by the commands."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from flaxrec import export_tflite
from flaxrec.errors import ConfigError, ExportError, FlaxrecError, TrainingError
from flaxrec.exporting import bundle, serving
from flaxrec.tflite.runtime import TfliteModel
from flaxrec.training.checkpoints import Checkpoints
from flaxrec.training.run_assets import RunAssets
from flaxrec.training.workdir import Workdir
from tests.support.bundles import contents, export, message_of, names_in
from tests.support.exports import require_export
from tests.support.places import ROOT

# ---- runs that cannot be exported -----------------------------------------------------------


@pytest.mark.parametrize(
    ("top_k", "remedy", "error"),
    [
        (121, "use 1 to 120", ExportError),
        (10_000, "use 1 to 120", ExportError),
        (-1, "use 1 to 10000000", ConfigError),
        (0, "use 1 to 10000000", ConfigError),
    ],
)
def test_a_k_that_does_not_fit(bow_id, tmp_path, top_k, remedy, error):
    message = message_of(export, bow_id, tmp_path / "out", top_k, error=error)
    assert f"top_k is {top_k}" in message
    assert remedy in message
    assert names_in(tmp_path) == set()


def test_a_model_that_no_file_can_hold(bow_id, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "MOST_BYTES", 1000)
    message = message_of(export, bow_id, tmp_path / "out", error=ExportError)
    assert "bytes of float32, and a .tflite holds 1,000; train with a smaller" in message
    assert names_in(tmp_path) == set()


def test_a_folder_that_is_no_run(tmp_path):
    require_export()
    for path in (tmp_path, tmp_path / "missing"):
        message = message_of(export, Workdir(path), error=TrainingError)
        told = f"{path} is not a run of flaxrec: it has no config.json; give the folder of a run."
        assert message == told
    assert names_in(tmp_path) == set()


def test_a_config_that_was_cut_off(copy):
    text = copy.config_file.read_text()
    copy.config_file.write_text(text[: len(text) // 2])
    message_of(export, copy, error=ConfigError)


def test_a_run_that_was_not_trained_yet(copy):
    shutil.rmtree(copy.checkpoints)
    message = message_of(export, copy, error=TrainingError)
    assert message == f"There are no checkpoints in {copy.path}; train first."


def best(run: Workdir) -> Path:
    (step,) = (run.checkpoints / "best").iterdir()
    return step


def empty_array_files(run: Workdir) -> None:
    for path in (best(run) / "params").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")


def halve_array_files(run: Workdir) -> None:
    for path in (best(run) / "params").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda run: shutil.rmtree(run.checkpoints / "best"), "train first"),
        (lambda run: shutil.rmtree(best(run)), "train first"),
        (lambda run: shutil.rmtree(best(run) / "params"), "cannot be read"),
        (lambda run: shutil.rmtree(best(run) / "params" / "d"), "cannot be read"),
        (lambda run: shutil.rmtree(best(run) / "notes"), "cannot be read"),
        (empty_array_files, "cannot be read"),
        (halve_array_files, "cannot be read"),
    ],
    ids=["best", "step", "params", "arrays", "notes", "emptied", "halved"],
)
def test_a_checkpoint_that_is_half_there(copy, damage, words):
    damage(copy)
    before = contents(copy.export)
    message = message_of(export, copy, error=TrainingError)
    assert str(copy.checkpoints / "best") in message
    assert words in message
    assert contents(copy.export) == before


def test_a_checkpoint_of_another_model(copy):
    text = copy.config_file.read_text()
    copy.config_file.write_text(text.replace('"embedding_dim": 16', '"embedding_dim": 8'))
    assert "does not fit the config" in message_of(export, copy, error=TrainingError)


def test_a_parameter_of_another_name(copy):
    params, step = dict(serving.load(copy).params), int(best(copy).name)
    params["label_encoder/embedding"] = params.pop("label_encoder/table")
    shutil.rmtree(copy.checkpoints / "best")
    with contextlib.closing(Checkpoints(copy.checkpoints)) as checkpoints:
        checkpoints.save_best(step, params, {"step": step})
    message = message_of(export, copy, error=TrainingError)
    assert "does not fit the config" in message


@pytest.mark.parametrize("damaged", ["contexts.npz", "judged/validation.npz", "judged/test.npz"])
@pytest.mark.parametrize("how", ["halved", "emptied", "changed"])
def test_assets_that_are_damaged(copy, damaged, how):
    path = copy.assets / damaged
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(
        {
            "halved": whole[:middle],
            "emptied": b"",
            "changed": whole[: middle - 20] + bytes(40) + whole[middle + 20 :],
        }[how]
    )
    message = message_of(export, copy, error=ExportError)
    assert f"{path} is damaged (" in message
    assert "run train_main.py again" in message


@pytest.mark.parametrize(
    "missing", ["spec.json", "contexts.npz", "items.jsonl", "vocabularies", "vocabularies/item.txt"]
)
def test_assets_that_are_half_there(copy, missing):
    path = copy.assets / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    before, around = contents(copy.export), names_in(copy.path)
    message = message_of(export, copy, error=ExportError)
    assert missing.partition("/")[0] in message
    assert contents(copy.export) == before
    assert names_in(copy.path) == around


# ---- parts that do not belong together ------------------------------------------------------


def test_a_byte_of_a_checkpoint(copy):
    """Orbax reads the changed weights without a word: zstd stores them as they are."""
    files = sorted((best(copy) / "params").rglob("d/*"), key=lambda path: path.stat().st_size)
    whole = files[-1].read_bytes()
    for place in (len(whole) // 3, len(whole) // 2):
        files[-1].write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        message = message_of(export, copy, error=TrainingError)
        assert str(best(copy)) in message
        assert "restore the folder" in message


def test_a_checkpoint_that_orbax_passes_over(copy):
    """Training would begin anew."""
    folder = best(copy)
    shutil.rmtree(folder)
    folder.write_bytes(b"")
    assert f"{folder} is not whole" in message_of(export, copy, error=TrainingError)


@pytest.mark.parametrize("kind", ["pipe", "dead link"])
@pytest.mark.parametrize("name", ["_CHECKPOINT_METADATA", "params/_METADATA"])
def test_what_orbax_would_wait_for(copy, kind, name):
    file = best(copy) / name
    file.unlink()
    os.mkfifo(file) if kind == "pipe" else file.symlink_to("nowhere")
    assert f"{file} is no file" in message_of(export, copy, error=TrainingError)


def test_notes_of_a_checkpoint(copy):
    (notes,) = (best(copy) / "notes").glob("metadata")
    notes.write_text(notes.read_text().replace('"epoch": ', '"epoch": 1'))
    assert "notes are not as they were saved" in message_of(export, copy, error=TrainingError)
    os.unlink(notes)
    os.mkfifo(notes)
    assert "is no file" in message_of(export, copy, error=TrainingError)


def test_a_config_of_another_model_of_the_same_shapes(copy):
    text = copy.config_file.read_text()
    copy.config_file.write_text(text.replace('"context_length": ', '"context_length": 1'))
    message = message_of(export, copy, error=TrainingError)
    assert f"{copy.config_file} is not what" in message


def test_assets_of_another_run(copy):
    """Whole in themselves."""
    listed = copy.assets / "files.json"
    noted = json.loads(listed.read_text())
    listed.write_text(json.dumps(noted | {"run": "0" * 64}))
    assert "of another run than the checkpoints" in message_of(export, copy, error=ExportError)


def one_fewer(text: str) -> str:
    return text.rpartition("\n")[0].rpartition("\n")[0] + "\n"


@pytest.mark.parametrize("noted", [True, False], ids=["noted", "of old"])
@pytest.mark.parametrize(
    "change",
    [
        one_fewer,
        lambda text: f"{text}x\n",
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "",
    ],
    ids=["fewer", "more", "CRLF", "emptied"],
)
def test_a_vocabulary_that_an_editor_changed(copy, change, noted):
    file = copy.assets / "vocabularies" / "item.txt"
    file.write_text(change(file.read_text()), newline="")
    if not noted:
        (copy.assets / "files.json").unlink()
    with pytest.raises(FlaxrecError) as raised:
        RunAssets(copy.assets).vocabularies()
    assert str(file) in str(raised.value)
    assert ";" in str(raised.value)


def test_a_split_of_judged_labels_that_is_gone(copy):
    (copy.assets / "judged" / "test.npz").unlink()
    assert "test.npz is missing" in message_of(RunAssets(copy.assets).judged, error=ExportError)


# ---- the commands ---------------------------------------------------------------------------


@pytest.mark.long
def test_trained_on_eight_devices_and_exported_on_one(tmp_path, capsys):
    require_export()
    command = [
        sys.executable,
        "train_main.py",
        "--config=configs/example_networks.py:bow,id,smoke",
        f"--workdir={tmp_path / 'run'}",
        "--config.export.enabled=False",
        "--config.train.devices=8",
    ]
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    devices = {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    trained = subprocess.run(
        command, cwd=ROOT, env=os.environ | devices, capture_output=True, text=True, timeout=300
    )
    assert trained.returncode == 0, trained.stderr
    assert "8 x cpu" in trained.stdout
    output = tmp_path / "new" / "out"
    status = export_tflite.main(
        [f"--workdir={tmp_path / 'run'}", f"--output={output}", "--top_k=15"]
    )
    said = capsys.readouterr()
    assert status == 0, said.err
    assert "top 15" in said.out
    assert "50 of 50 contexts" in said.out
    assert names_in(tmp_path / "new") == {"out"}
    assert_agrees(Workdir(tmp_path / "run"), output)


def assert_agrees(run: Workdir, folder: Path) -> None:
    assert len(jax.devices()) == 1
    file = TfliteModel(folder / "model.tflite")
    contexts = np.load(run.assets / "contexts.npz")["context_item_id"]
    logits = serving.load(run).batch_logits({"context_item_id": contexts})
    for context, row in zip(contexts, logits, strict=True):
        out = file({"context_item_id": context})
        best = np.sort(row)[::-1][:15]
        np.testing.assert_allclose(out["top_prediction_scores"], 1 / (1 + np.exp(-best)), atol=1e-5)
        np.testing.assert_allclose(row[out["top_prediction_ids"] - 1], best, atol=5e-5)


def test_the_command_reports_errors_in_one_line(tmp_path, capsys):
    assert export_tflite.main([f"--workdir={tmp_path}"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("flaxrec: ")
    assert said.err.count("\n") == 1
    assert "is not a run of flaxrec" in said.err
    assert said.out == ""
