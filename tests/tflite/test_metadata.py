"""What an export says of itself, in metadata.json and inside the file."""

import json

import pytest

from flaxrec.errors import ExportError
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.metadata import IDS, SCORES, in_file, read_metadata
from tests.support.exports import exported

FULL = {
    "name": "movielens_lstm",
    "inputs": [
        {
            "name": "g",
            "dtype": "int32",
            "shape": [32],
            "vocabulary": "vocabularies/g.txt",
            "source": "item.genres",
            "multi_valued": True,
        },
        {
            "name": "a",
            "dtype": "float32",
            "shape": [10],
            "vocabulary": None,
            "source": "event.rating",
            "multi_valued": False,
            "default": 3.5,
        },
    ],
    "outputs": [
        {"name": IDS, "dtype": "int32", "shape": [100]},
        {"name": SCORES, "dtype": "float32", "shape": [100]},
    ],
    "label_vocabulary": "vocabularies/item.txt",
    "top_k": 100,
    "candidates": 3706,
    "encoder": ["lstm", "bow"],
    "context_length": 10,
    "flatten_keeps_oldest": False,
    "metrics": {
        "leave_one_out": {
            "loss": 6.5,
            "recall@1": 0.0304,
            "recall@10": 0.210987654321,
            "ndcg@10": 0.1175,
            "mrr@10": 0.0987,
            "filtered/recall@10": 0.2708609,
            "filtered/ndcg@10": 0.00015423456,
        }
    },
    "labels": {"leave_one_out": 6040},
    "step": 38190,
    "config_sha256": "0" * 64,
    "versions": {"flaxrec": "0.1.0", "python": "3.11.7", "jax": "0.10.2"},
    "equality": {
        "contexts": 200,
        "agree": 200,
        "identical_ids": 198,
        "max_score_difference": 2.384185791015625e-07,
        "tolerance": 1e-05,
        "compared": ["JAX", "TFLite"],
    },
    "quantization": {
        "recipe": "int8",
        "bytes": 115000,
        "test": {"recall_loss": 0.0012345678, "overlap@10": 0.99},
        "candidates": [{"recipe": "none"}, {"recipe": "int8"}],
    },
    "android": {"supported": False, "reason": "…"},
}


def test_in_file():
    assert in_file(FULL) == {
        "name": "movielens_lstm",
        "encoder": ["lstm", "bow"],
        "top_k": 100,
        "inputs": {"g": "vocabularies/g.txt", "a": None},
        "outputs": {IDS: "vocabularies/item.txt", SCORES: None},
        "metrics": {
            "leave_one_out": {
                "recall@10": 0.211,
                "ndcg@10": 0.1175,
                "filtered/recall@10": 0.2709,
                "filtered/ndcg@10": 0.0001542,
            }
        },
        "quantization": {"recipe": "int8", "recall_loss": 0.001235},
        "versions": {"flaxrec": "0.1.0", "jax": "0.10.2"},
        "config_sha256": "0" * 64,
        "equality": {
            "contexts": 200,
            "agree": 200,
            "max_score_difference": 2.384e-07,
            "tolerance": 1e-05,
            "compared": ["JAX", "TFLite"],
        },
    }


def test_how_times_count_is_told_where_an_input_is_of_times():
    clock = {"unit": "s", "zone": "UTC", "resolution": 1, "dates": False, "moments": False}
    assert "time" not in in_file({**FULL, "time": clock})
    since = {"name": "s", "source": "ask.since", "vocabulary": "vocabularies/s.txt"}
    assert in_file({**FULL, "inputs": [since], "time": clock})["time"] == clock


def test_inputs_stand_in_the_files_order():
    assert list(in_file(FULL)["inputs"]) == ["g", "a"]
    assert list(in_file(FULL)["outputs"]) == [IDS, SCORES]


@pytest.mark.parametrize("test", ["not measured", None])
def test_a_loss_that_nobody_measured_is_not_told(test):
    metadata = FULL | {"quantization": {"recipe": "float16", "test": test}, "metrics": {}}
    assert in_file(metadata)["quantization"] == {"recipe": "float16"}
    assert in_file(metadata)["metrics"] == {}


def test_the_file_of_an_export_tells_its_own(tmp_path_factory):
    folder = exported(tmp_path_factory, "bow_id").export
    inside = flatbuffer.read_metadata((folder / "model.tflite").read_bytes())
    assert inside == in_file(read_metadata(folder))
    assert inside["metrics"]
    assert len(json.dumps(inside, separators=(",", ":"))) < 800


# ---- metadata.json --------------------------------------------------------------------------


def test_read(tmp_path):
    (tmp_path / "metadata.json").write_text(json.dumps(FULL), encoding="utf-8")
    assert read_metadata(tmp_path) == FULL


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "is not an export of flaxrec"),
        ("{", "is not valid JSON"),
        ("[]", "is not an export's"),
        ('{"inputs": [], "top_k": 5}', "label_vocabulary"),
    ],
)
def test_what_is_no_metadata_is_refused(tmp_path, text, words):
    if text is not None:
        (tmp_path / "metadata.json").write_text(text, encoding="utf-8")
    with pytest.raises(ExportError, match=words) as raised:
        read_metadata(tmp_path)
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)
