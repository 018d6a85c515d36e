"""The export folder: what is in it and whether it is true, and that nothing wrong is published."""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest
from export.test_tflite import NAMES, exported, quick_compilation, require_export, tiny_config

import flaxrec
from flaxrec.checkpoints import Checkpoints
from flaxrec.data import read
from flaxrec.errors import ConfigError, ExportError, FlaxrecError, TrainingError
from flaxrec.export import bundle, flatbuffer, publish, saved_model, serving, tflite, verify
from flaxrec.export.metadata import in_file
from flaxrec.export.quantize import RECIPES
from flaxrec.export.runtime import TfliteModel
from flaxrec.features import ModelSpec
from flaxrec.recommender import Recommender
from flaxrec.workdir import Workdir

REPOSITORY = Path(__file__).parents[2]
EXPORTS_METADATA = '{"inputs": [], "label_vocabulary": "", "top_k": 1}'


@pytest.fixture(scope="module", params=NAMES)
def run(request, tmp_path_factory) -> Workdir:
    return exported(tmp_path_factory, request.param)


@pytest.fixture(scope="module")
def bow_id(tmp_path_factory) -> Workdir:
    return exported(tmp_path_factory, "bow_id")


@pytest.fixture
def copy(bow_id, tmp_path) -> Workdir:
    """A run of the test's own, with an export."""
    ignore = shutil.ignore_patterns("tensorboard")
    return Workdir(shutil.copytree(bow_id.path, tmp_path / "run", ignore=ignore))


def export(workdir: Workdir, output: Path | None = None, top_k: int | None = None):
    with quick_compilation():
        return bundle.export(workdir, output, say=lambda line: None, top_k=top_k)


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def metadata_of(workdir: Workdir) -> dict:
    return json.loads((workdir.export / "metadata.json").read_text(encoding="utf-8"))


def lines_of(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return text[:-1].split("\n")


def spec_of(workdir: Workdir) -> ModelSpec:
    return ModelSpec.from_json((workdir.assets / "spec.json").read_text(encoding="utf-8"))


def message_of(function, *arguments, error=FlaxrecError) -> str:
    """The one sentence of the error that the call raises."""
    with pytest.raises(error) as raised:
        function(*arguments)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600
    return str(raised.value)


# ---- the folder -----------------------------------------------------------------------------


def test_layout(run):
    android = {"android"} if metadata_of(run)["android"]["supported"] else set()
    files = {"model.tflite", "saved_model", "metadata.json", "vocabularies", "items.jsonl"}
    assert names_in(run.export) == files | android
    assert {"saved_model.pb", "variables"} <= names_in(run.export / "saved_model")
    assert [name for name in os.listdir(run.path) if name.startswith(".")] == []


def test_vocabularies_are_the_runs(run):
    assert contents(run.export / "vocabularies") == contents(run.assets / "vocabularies")
    wanted = {f"{spec.vocabulary}.txt" for spec in spec_of(run).inputs if spec.vocabulary}
    assert names_in(run.export / "vocabularies") == wanted | {"item.txt"}


def test_items_are_the_datas_in_order_of_count(run):
    items = [json.loads(line) for line in lines_of(run.export / "items.jsonl")]
    data = read.read(tiny_config(run.path.name).data)
    counts = Counter(data.events["item"].to_list())
    assert {item["id"]: item["count"] for item in items} == counts
    lines = lines_of(run.export / "vocabularies/item.txt")
    if run.path.name == "reference":  # identity: line n is the raw id n
        assert lines == [str(n) for n in range(max(counts) + 1)]
    else:
        assert [str(item["id"]) for item in items] == lines[1:]
        ordered = [(-item["count"], item["id"]) for item in items]
        assert ordered == sorted(ordered)
    described = {row["item"]: row for row in data.items.to_dicts()}
    for item in items:
        assert item["title"] == described[item["id"]]["title"]
        assert item["genres"] == described[item["id"]]["genres"]


# ---- metadata.json --------------------------------------------------------------------------


def test_inputs_are_described_in_the_files_order(run):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(run.export / "model.tflite"))
    described = metadata_of(run)["inputs"]
    in_file = interpreter.get_input_details()
    assert len(described) == len(in_file) == len(spec_of(run).inputs)
    for ours, theirs in zip(described, in_file, strict=True):
        assert theirs["name"] == ours["name"]
        assert theirs["shape"].tolist() == ours["shape"]
        assert np.dtype(theirs["dtype"]).name == ours["dtype"]


def test_outputs_are_described_in_the_files_order(run):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(run.export / "model.tflite"))
    interpreter.allocate_tensors()
    described = metadata_of(run)["outputs"]
    in_file = interpreter.get_output_details()
    assert {d["name"] for d in described} == {"top_prediction_ids", "top_prediction_scores"}
    for ours, theirs in zip(described, in_file, strict=True):
        assert np.dtype(theirs["dtype"]).name == ours["dtype"]
        assert ours["dtype"] == ("int32" if ours["name"] == "top_prediction_ids" else "float32")
        assert theirs["shape"].tolist() == ours["shape"] == [metadata_of(run)["top_k"]]


def test_the_row_after_a_vocabularys_last_line_is_unknown(run):
    model = TfliteModel(run.export / "model.tflite")
    specs = {spec.name: spec for spec in spec_of(run).inputs}
    padding = {name: np.zeros(shape, dtype) for name, shape, dtype in model.inputs}
    for described in metadata_of(run)["inputs"]:
        spec = specs[described["name"]]
        if described["dtype"] == "float32":
            assert described["vocabulary"] is None
            continue
        lines = lines_of(run.export / described["vocabulary"])
        # The reference's item table has no row for 'unknown': ids beyond it clamp to the last.
        identity = run.path.name == "reference" and spec.source == "item.id"
        assert spec.rows == len(lines) + (not identity)
        answers = []
        for row in (len(lines), spec.rows - 1, spec.rows + 1000):
            ids = np.full(described["shape"], row, np.int32)
            answers.append(model({**padding, spec.name: ids})["top_prediction_scores"].copy())
        np.testing.assert_array_equal(answers[1:], [answers[0]] * 2)


def test_label_vocabulary_and_candidates(run):
    metadata = metadata_of(run)
    assert metadata["label_vocabulary"] == "vocabularies/item.txt"
    lines = lines_of(run.export / metadata["label_vocabulary"])
    if run.path.name == "reference":
        assert (lines[0], metadata["candidates"]) == ("0", len(lines))
    else:
        assert (lines[0], metadata["candidates"]) == ("<pad>", len(lines) - 1)
    items = {spec["name"]: spec["vocabulary"] for spec in metadata["inputs"]}
    assert items["context_item_id"] == metadata["label_vocabulary"]


def test_defaults_of_numbers_are_means_of_the_events(tmp_path_factory):
    run = exported(tmp_path_factory, "cnn_combined")
    defaults = {spec["name"]: spec["default"] for spec in metadata_of(run)["inputs"]}
    ratings = read.read(tiny_config("cnn_combined").data).events["rating"]
    assert defaults.pop("context_rating") == pytest.approx(ratings.mean(), rel=1e-6)
    assert set(defaults.values()) == {None}


def test_metadata_tells_where_the_model_comes_from(run):
    metadata, config = metadata_of(run), tiny_config(run.path.name)
    assert metadata["name"] == run.path.name
    groups = config.model.global_groups + config.model.activity_groups
    assert metadata["encoder"] == [group.encoder for group in groups]
    assert metadata["context_length"] == config.model.context_length
    assert metadata["flatten_keeps_oldest"] == config.reference_mode
    assert metadata["config_sha256"] == hashlib.sha256(run.config_file.read_bytes()).hexdigest()
    tested = [row for row in run.read_metrics() if row["split"] == "test"]
    assert metadata["metrics"] == {"leave_one_out": tested[-1]["metrics"]}
    assert "filtered/recall@10" in metadata["metrics"]["leave_one_out"]
    assert metadata["step"] == tested[-1]["step"]


def test_metadata_tells_what_was_compared(run):
    equality = metadata_of(run)["equality"]
    assert equality["contexts"] == equality["agree"] == 200
    assert 190 <= equality["identical_ids"] <= 200
    assert 0 < equality["max_score_difference"] < 1e-5
    assert equality["tolerance"] == 1e-5
    assert equality["compared"] == ["JAX", "SavedModel", "TFLite"]


def test_metadata_names_the_versions(run):
    versions = metadata_of(run)["versions"]
    assert versions.pop("flaxrec") == flaxrec.__version__
    assert versions.pop("python") == ".".join(map(str, sys.version_info[:3]))
    assert versions.keys() == {"jax", "flax", "tensorflow", "ai-edge-litert"}
    for package, version in versions.items():
        assert version == importlib.metadata.version(package)


# ---- a new export ---------------------------------------------------------------------------


def test_an_earlier_export_is_replaced_as_a_whole(copy):
    (copy.export / "stale.txt").write_text("of the old one")
    said = []
    with quick_compilation():
        made = bundle.export(copy, top_k=7, say=said.append)
    assert made.folder == copy.export
    assert made.bytes == (copy.export / "model.tflite").stat().st_size
    assert made.equality.agree == made.equality.contexts == 200
    assert not (copy.export / "stale.txt").exists()
    assert metadata_of(copy)["top_k"] == 7
    assert TfliteModel(copy.export / "model.tflite").outputs[0][1] == [7]
    assert not [name for name in names_in(copy.path) if name.startswith(".")]
    assert len(said) == 1
    assert f"{made.bytes:,} bytes, top 7" in said[0]
    assert "200 of 200" in said[0]


def test_no_data_are_needed(copy, monkeypatch):
    """Nor the settings of training once more: both are in the run folder."""

    def gone(config):
        raise AssertionError(f"the export reads {config}")

    monkeypatch.setattr(read, "read", gone)
    inputs = metadata_of(copy)["inputs"]
    shutil.rmtree(copy.export)
    export(copy)
    assert metadata_of(copy)["inputs"] == inputs
    assert metadata_of(copy)["top_k"] == copy.read_config().export.top_k


def test_an_output_elsewhere_leaves_the_runs_export_alone(copy, tmp_path):
    before = contents(copy.export)
    (tmp_path / "new" / "folder").mkdir(parents=True)  # an empty folder is free
    export(copy, tmp_path / "new" / "folder", top_k=3)
    assert contents(copy.export) == before
    assert names_in(tmp_path / "new") == {"folder"}
    # A smaller K is the beginning of a larger one.
    small = TfliteModel(tmp_path / "new" / "folder" / "model.tflite")
    large = TfliteModel(copy.export / "model.tflite")
    for row in np.load(copy.assets / "contexts.npz")["context_item_id"][:50]:
        ids = [file({"context_item_id": row})["top_prediction_ids"] for file in (small, large)]
        np.testing.assert_array_equal(ids[0], ids[1][:3])


def test_the_context_may_be_left_out(copy):
    with quick_compilation():
        made = bundle.export(copy, say=lambda line: None, exclude_context=True, top_k=20)
    assert made.equality.agree == 200
    assert metadata_of(copy)["excludes_context"]
    file = TfliteModel(copy.export / "model.tflite")
    contexts = np.load(copy.assets / "contexts.npz")["context_item_id"]
    with quick_compilation():
        logits = serving.load(copy).batch_logits({"context_item_id": contexts})
    for context, row in zip(contexts, logits, strict=True):
        ids = file({"context_item_id": context})["top_prediction_ids"]
        order = np.argsort(-row, kind="stable") + 1
        np.testing.assert_array_equal(ids, order[~np.isin(order, context)][:20])


def test_the_file_tells_whose_it_is(run):
    """A part of metadata.json is inside, and nothing else of the converter's."""
    metadata = metadata_of(run)
    inside = flatbuffer.read_metadata((run.export / "model.tflite").read_bytes())
    assert inside == in_file(metadata)
    assert inside["name"] == run.path.name
    assert inside["config_sha256"] == metadata["config_sha256"]
    assert metadata["quantization"] == {"recipe": "none"}


# ---- quantised ------------------------------------------------------------------------------


def quantised(workdir: Workdir, **options) -> tuple[bundle.Export, dict, list[str]]:
    """The export, its metadata and what was said."""
    said: list[str] = []
    with quick_compilation():
        made = bundle.export(workdir, say=said.append, **options)
    return made, metadata_of(workdir), said


def test_a_recipe_by_name(copy):
    before = (copy.export / "model.tflite").stat().st_size
    made, metadata, said = quantised(copy, quantization="float16", top_k=20)
    assert made.bytes == (copy.export / "model.tflite").stat().st_size < 0.8 * before
    report = metadata["quantization"]
    assert report["recipe"] == report["asked"] == "float16"
    assert report["overlap"]["contexts"] == report["test"]["labels"] == 200
    assert report["overlap"]["float"]["overlap@20"] > 0.98
    # What was compared with JAX is the float32 form.
    assert metadata["equality"]["agree"] == 200
    assert metadata["equality"]["max_score_difference"] < 1e-6
    assert f"{made.bytes:,} bytes, top 20, float16" in said[-1]
    assert "its float32 form agrees with JAX on 200 of 200" in said[-1]
    inside = flatbuffer.read_metadata((copy.export / "model.tflite").read_bytes())
    assert inside["quantization"]["recipe"] == "float16"


def test_the_recall_that_is_reported_is_the_recommenders(copy):
    """Own ids in and out of the quantised export, beside what the exporter measured on rows."""
    _, metadata, _ = quantised(copy, quantization="int8", top_k=20)
    recommender = Recommender.load(copy.export)
    found = []
    for history in copy.read_histories():
        best = recommender.recommend(history["activities"], exclude_history=False)
        found.append(history["label"] in [r.item for r in best])
    assert len(found) == metadata["quantization"]["test"]["labels"]
    assert metadata["quantization"]["test"]["recall@10"] == pytest.approx(np.mean(found))


def test_the_float_files_recall_is_the_evaluations(copy):
    """The lists break ties by the row, the evaluation counts half: hence the tolerance."""
    _, metadata, _ = quantised(copy, quantization="float16", top_k=20)
    test = metadata["quantization"]["test"]["float"]
    measured = metadata["metrics"]["leave_one_out"]
    assert test["recall@10"] == pytest.approx(measured["recall@10"], abs=0.006)
    assert test["ndcg@10"] == pytest.approx(measured["ndcg@10"], abs=0.006)


def test_auto_takes_the_smallest_within_the_bound(copy):
    _, metadata, said = quantised(copy, quantization="auto", max_recall_loss=0.05, top_k=20)
    report = metadata["quantization"]
    rows = [row for row in report["candidates"] if "obstacle" not in row]
    assert [row["recipe"] for row in report["candidates"]] == ["none", *RECIPES]
    within = {row["recipe"]: row["bytes"] for row in rows if row["recall_loss"] <= 0.05}
    assert within[report["recipe"]] == min(within.values()) == report["bytes"]
    assert report["recipe"] != "none"
    assert report["test"]["labels"] == report["validation_labels"] == 200
    for recipe in ("none", *RECIPES):
        assert any(line.split()[0] == recipe for line in said)
    file = TfliteModel(copy.export / "model.tflite")
    with np.load(copy.judged / "test.npz") as judged:
        contexts, labels = judged["context_item_id"], judged["label"]
    hits = [
        label in file({"context_item_id": context})["top_prediction_ids"][:10]
        for context, label in zip(contexts, labels, strict=True)
    ]
    assert report["test"]["recall@10"] == pytest.approx(np.mean(hits))


def test_a_run_without_judged_labels(copy):
    shutil.rmtree(copy.judged)
    before = contents(copy.export)
    with pytest.raises(ExportError, match=r"run train_main\.py on the run folder again"):
        quantised(copy, quantization="auto")
    assert contents(copy.export) == before
    _, metadata, said = quantised(copy, quantization="int8", top_k=20)
    assert metadata["quantization"]["test"] == "not measured"
    assert 0.5 < metadata["quantization"]["overlap"]["float"]["overlap@10"] <= 1
    assert "recall not measured" in said[0]


# ---- nothing wrong is published -------------------------------------------------------------


def spoil_the_file(monkeypatch, workdir):
    """The converter's file gets another label table of the same size."""
    table = np.asarray(serving.load(workdir).params["label_encoder/table"])
    convert = tflite.convert

    def converted(folder):
        content = convert(folder)
        assert content.count(table.tobytes()) == 1
        return content.replace(table.tobytes(), np.float32(1.01 * table).tobytes())

    monkeypatch.setattr(tflite, "convert", converted)


def spoil_the_saved_model(monkeypatch, workdir):
    """The SavedModel gets another bias; the file is converted from it."""
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
    compare = verify.compare_lists

    def compared(*arguments, **options):
        equality = compare(*arguments, **options)
        return dataclasses.replace(equality, agree=equality.agree - 1)

    monkeypatch.setattr(verify, "compare_lists", compared)


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
def test_a_disagreement_publishes_nothing(copy, monkeypatch, tmp_path, spoil, what):
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


def test_a_file_that_its_metadata_changes_is_not_published(copy, monkeypatch):
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

    monkeypatch.setattr(tflite, "convert", stop)
    before, around = contents(copy.path), names_in(copy.path)
    with pytest.raises(error):
        export(copy)
    assert contents(copy.path) == before
    assert names_in(copy.path) == around


def test_an_export_that_cannot_be_put_in_place_leaves_the_earlier_one(tmp_path, monkeypatch):
    for name in ("aside", "export"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metadata.json").write_text(name)
    replace = os.replace

    def fail(source, target):
        if Path(source).name == "aside":
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    message = message_of(publish.put_in_place, tmp_path / "aside", tmp_path / "export")
    assert "No space left on device" in message
    assert (tmp_path / "export" / "metadata.json").read_text() == "export"
    assert names_in(tmp_path) == {"aside", "export"}


def test_what_a_killed_process_of_this_number_left_is_no_obstacle(tmp_path):
    """In a container every export may be process 1."""
    output = tmp_path / "export"
    for name in (f".export.{os.getpid()}", f".export.old.{os.getpid()}", "export"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metadata.json").write_text(EXPORTS_METADATA)
    with publish.aside(output) as folder:
        assert names_in(folder) == set()
        (folder / "metadata.json").write_text("new")
    assert (output / "metadata.json").read_text() == "new"
    assert names_in(tmp_path) == {"export"}


def test_a_disk_that_is_full_is_told_in_a_sentence(tmp_path):
    output = tmp_path / "made" / "for it" / "export"

    def fill():
        with publish.aside(output) as folder:
            (folder / "half").write_text("of it")
            raise OSError(28, "No space left on device")

    message = message_of(fill, error=ExportError)
    assert f"{output} cannot be written (No space left on device)" in message
    assert names_in(tmp_path) == set()


def test_a_failed_export_leaves_folders_that_were_there(tmp_path):
    (tmp_path / "there").mkdir()
    output = tmp_path / "there" / "made" / "export"

    def stop():
        with publish.aside(output):
            assert names_in(output.parent) == {f".export.{os.getpid()}"}
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert names_in(tmp_path) == {"there"}
    assert names_in(tmp_path / "there") == set()


def test_an_output_that_is_a_link_leaves_no_link_behind(tmp_path):
    for name in ("aside", "elsewhere"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metadata.json").write_text(name)
    (tmp_path / "export").symlink_to(tmp_path / "elsewhere")
    publish.put_in_place(tmp_path / "aside", tmp_path / "export")
    assert (tmp_path / "export" / "metadata.json").read_text() == "aside"
    assert names_in(tmp_path) <= {"elsewhere", "export"}


def test_a_run_without_verification_contexts_is_not_called_verified(copy):
    with np.load(copy.assets / "contexts.npz") as file:
        none = {name: file[name][:0] for name in file.files}
    np.savez_compressed(copy.assets / "contexts.npz", **none)
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


def test_the_current_folder_as_output_is_no_crash(bow_id, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with contextlib.suppress(ExportError):
        export(bow_id, Path("."), top_k=5)


def test_an_output_that_cannot_be_written(bow_id, tmp_path):
    (tmp_path / "file").write_text("text")
    message = message_of(export, bow_id, tmp_path / "file" / "out", error=ExportError)
    assert f"{tmp_path}/file cannot be written (" in message
    message = message_of(export, bow_id, Path("/proc/flaxrec/out"), error=ExportError)
    assert "/proc/flaxrec cannot be written (" in message


# ---- runs that cannot be exported -----------------------------------------------------------


@pytest.mark.parametrize(
    ("top_k", "remedy", "error"),
    [
        (121, "use 1 to 120", ExportError),
        (10_000, "use 1 to 120", ExportError),
        (-1, "use a number above 0", ConfigError),
        (0, "use a number above 0", ConfigError),
    ],
)
def test_a_k_that_does_not_fit(bow_id, tmp_path, top_k, remedy, error):
    message = message_of(export, bow_id, tmp_path / "out", top_k, error=error)
    assert f"top_k is {top_k}" in message
    assert remedy in message
    assert names_in(tmp_path) == set()


def test_a_folder_that_is_no_run(tmp_path):
    require_export()
    for path in (tmp_path, tmp_path / "missing"):
        message = message_of(export, Workdir(path), error=TrainingError)
        assert message == f"{path} is not a run of flaxrec: it has no config.json."
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


# ---- the commands ---------------------------------------------------------------------------


def call(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_trained_on_eight_devices_and_exported_on_one(tmp_path):
    require_export()
    trained = call(
        "train_main.py",
        "--config=configs/movielens_bow.py:id,smoke",
        f"--workdir={tmp_path / 'run'}",
        "--config.export.enabled=False",
        "--config.train.devices=8",
        XLA_FLAGS="--xla_force_host_platform_device_count=8",
        JAX_DISABLE_MOST_OPTIMIZATIONS="1",
    )
    assert trained.returncode == 0, trained.stderr
    assert "8 x cpu" in trained.stdout
    made = call(
        "export_tflite.py",
        f"--workdir={tmp_path / 'run'}",
        f"--output={tmp_path / 'new' / 'out'}",
        "--top_k=15",
        XLA_FLAGS="",
        JAX_DISABLE_MOST_OPTIMIZATIONS="1",
    )
    assert made.returncode == 0, made.stderr
    assert "top 15" in made.stdout
    assert "50 of 50 contexts" in made.stdout
    assert names_in(tmp_path / "new") == {"out"}
    assert_agrees(Workdir(tmp_path / "run"), tmp_path / "new" / "out")


def assert_agrees(run: Workdir, folder: Path) -> None:
    assert len(jax.devices()) == 1
    file = TfliteModel(folder / "model.tflite")
    contexts = np.load(run.assets / "contexts.npz")["context_item_id"]
    with quick_compilation():
        logits = serving.load(run).batch_logits({"context_item_id": contexts})
    for context, row in zip(contexts, logits, strict=True):
        out = file({"context_item_id": context})
        best = np.sort(row)[::-1][:15]
        np.testing.assert_allclose(out["top_prediction_scores"], 1 / (1 + np.exp(-best)), atol=1e-5)
        np.testing.assert_allclose(row[out["top_prediction_ids"] - 1], best, atol=5e-5)


def test_the_command_reports_errors_in_one_line(tmp_path):
    failed = call("export_tflite.py", f"--workdir={tmp_path}")
    assert failed.returncode == 2
    assert failed.stderr.startswith("flaxrec: ")
    assert failed.stderr.count("\n") == 1
    assert "is not a run of flaxrec" in failed.stderr
    assert failed.stdout == ""
