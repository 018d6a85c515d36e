"""The export folder: what is in it, and whether it is true."""

import hashlib
import importlib.metadata
import json
import os
import shutil
import sys
from collections import Counter

import numpy as np
import pytest

import flaxrec
from flaxrec.data.sources import read
from flaxrec.errors import ExportError
from flaxrec.exporting import bundle, coarse, serving
from flaxrec.recommender import Recommender
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.metadata import in_file
from flaxrec.tflite.quantize import RECIPES
from flaxrec.tflite.runtime import TfliteModel
from flaxrec.training.workdir import Workdir
from tests.support.bundles import contents, export, lines_of, metadata_of, names_in, spec_of
from tests.support.exports import EVERY_CANDIDATE, NAMES, exported, note_again, tiny_config


@pytest.fixture(scope="module", params=NAMES)
def run(request, tmp_path_factory) -> Workdir:
    return exported(tmp_path_factory, request.param)


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


def test_how_the_datas_times_count(run):
    """The app must know what 'now' is; the tiny data have MovieLens' Unix times."""
    clock = {"unit": "s", "zone": "UTC", "resolution": 1, "dates": False, "moments": False}
    assert metadata_of(run)["time"] == clock


def test_metadata_tells_where_the_model_comes_from(run):
    metadata, config = metadata_of(run), tiny_config(run.path.name)
    assert metadata["name"] == run.path.name
    groups = config.model.global_groups + config.model.activity_groups
    assert metadata["encoder"] == [group.encoder for group in groups]
    assert metadata["context_length"] == config.model.context_length
    every = run.path.name in EVERY_CANDIDATE
    assert metadata["top_k"] == (metadata["candidates"] if every else config.export.top_k)
    assert metadata["flatten_keeps_oldest"] == config.reference_mode
    assert metadata["first_events"] is False
    assert metadata["cold"] is None
    assert metadata["config_sha256"] == hashlib.sha256(run.config_file.read_bytes()).hexdigest()
    tested = [row for row in run.read_metrics() if row["split"] == "test"]
    assert metadata["metrics"] == {"leave_one_out": tested[-1]["metrics"]}
    assert "filtered/recall@10" in metadata["metrics"]["leave_one_out"]
    assert metadata["step"] == tested[-1]["step"]
    counted = [row for row in run.read_baselines() if row["split"] == "test"]
    of_names = {row["baseline"]: row["metrics"] for row in counted}
    assert metadata["baselines"] == ({"leave_one_out": of_names} if of_names else {})
    assert bool(of_names) != config.reference_mode


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


def test_an_earlier_export_is_replaced_as_a_whole(copy, monkeypatch):
    """No data are needed, nor the settings of training once more: both are in the run folder."""

    def gone(config):
        raise AssertionError(f"the export reads {config}")

    monkeypatch.setattr(read, "read", gone)
    inputs = metadata_of(copy)["inputs"]
    (copy.export / "stale.txt").write_text("of the old one")
    said = []
    made = bundle.export(copy, top_k=7, say=said.append)
    assert made.folder == copy.export
    assert made.bytes == (copy.export / "model.tflite").stat().st_size
    assert made.equality.agree == made.equality.contexts == 200
    assert not (copy.export / "stale.txt").exists()
    assert metadata_of(copy)["inputs"] == inputs
    assert metadata_of(copy)["top_k"] == 7
    assert TfliteModel(copy.export / "model.tflite").outputs[0][1] == [7]
    assert not [name for name in names_in(copy.path) if name.startswith(".")]
    assert len(said) == 1
    assert f"{made.bytes:,} bytes, top 7" in said[0]
    assert "200 of 200" in said[0]


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
    made = bundle.export(copy, say=lambda line: None, exclude_context=True, top_k=20)
    assert made.equality.agree == 200
    assert metadata_of(copy)["excludes_context"]
    file = TfliteModel(copy.export / "model.tflite")
    contexts = np.load(copy.assets / "contexts.npz")["context_item_id"]
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
    made = bundle.export(workdir, say=said.append, **options)
    return made, metadata_of(workdir), said


def test_a_recipe_by_name(copy, converted_once):
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
    # The float file's recall is the evaluation's. The lists break ties by the row, the evaluation
    # counts half: hence the tolerance.
    measured = metadata["metrics"]["leave_one_out"]
    for name in ("recall@10", "ndcg@10"):
        assert report["test"]["float"][name] == pytest.approx(measured[name], abs=0.006)


def test_the_recall_that_is_reported_is_the_recommenders(copy, converted_once):
    """Own ids in and out of the quantised export, beside what the exporter measured on rows."""
    _, metadata, _ = quantised(copy, quantization="int8", top_k=20)
    recommender = Recommender.load(copy.export)
    found = []
    for history in copy.read_histories():
        best = recommender.recommend(history["activities"], exclude_history=False)
        found.append(history["label"] in [r.item for r in best])
    assert len(found) == metadata["quantization"]["test"]["labels"]
    assert metadata["quantization"]["test"]["recall@10"] == pytest.approx(np.mean(found))


def test_auto_takes_the_smallest_within_the_bound(copy, converted_once):
    _, metadata, said = quantised(copy, quantization="auto", max_recall_loss=0.2, top_k=20)
    report = metadata["quantization"]
    rows = [row for row in report["candidates"] if "obstacle" not in row]
    assert [row["recipe"] for row in report["candidates"]] == ["none", *RECIPES]
    within = {r["recipe"]: r["bytes"] for r in rows if r["recall_loss_interval"][1] <= 0.2}
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


@pytest.mark.long
def test_auto_keeps_the_coarse_copy_that_none_has(copy, monkeypatch):
    monkeypatch.setattr(coarse, "FROM", 100)
    _, metadata, said = quantised(copy, quantization="none", top_k=1)
    operators = flatbuffer.operators((copy.export / "model.tflite").read_bytes())
    size = (copy.export / "model.tflite").stat().st_size
    _, metadata, said = quantised(copy, quantization="auto", max_recall_loss=0.0, top_k=1)
    report = metadata["quantization"]
    assert (report["recipe"], report["coarse_copy"]) == ("none", True)
    assert any("none: with a coarse copy" in line for line in said)
    content = (copy.export / "model.tflite").read_bytes()
    assert flatbuffer.operators(content) == operators
    assert abs(len(content) - size) < 100  # of metadata
    assert report["candidates"][0]["bytes"] > report["float_bytes"]
    assert metadata["equality"]["agree"] == 200


def test_a_run_without_judged_labels(copy, converted_once):
    shutil.rmtree(copy.judged)
    with pytest.raises(ExportError, match=r"validation\.npz is missing"):
        quantised(copy, quantization="auto")
    note_again(copy.assets)
    before = contents(copy.export)
    with pytest.raises(ExportError, match=r"run train_main\.py on the run folder again"):
        quantised(copy, quantization="auto")
    assert contents(copy.export) == before
    _, metadata, said = quantised(copy, quantization="int8", top_k=20)
    assert metadata["quantization"]["test"] == "not measured"
    assert 0.5 < metadata["quantization"]["overlap"]["float"]["overlap@10"] <= 1
    assert "recall not measured" in said[0]
