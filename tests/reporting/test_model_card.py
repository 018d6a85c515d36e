"""The model card: what its head and tables say, and that the copy beside it is an export."""

import json
import shutil

import pytest
import yaml

from flaxrec.errors import ExportError
from flaxrec.recommender import Recommender
from flaxrec.reporting import model_card
from flaxrec.tflite.metadata import read_metadata
from tests.support.bundles import names_in


def head_of(text: str) -> dict:
    _, head, _ = text.split("---\n", 2)
    return yaml.safe_load(head)


def test_the_folder_is_an_export_with_a_card(bow_id, tmp_path):
    output, told = tmp_path / "hub", {"data": "made-up events", "license": "mit"}
    flags = [f"--{name}={text}" for name, text in told.items()]
    assert model_card.main([str(bow_id.export), f"--output={output}", *flags]) == 0
    text = (output / "README.md").read_text(encoding="utf-8")
    head, metadata = head_of(text), read_metadata(bow_id.export)
    assert (head["library_name"], head["license"]) == ("flaxrec", "mit")
    (result,) = head["model-index"][0]["results"]
    assert result["dataset"] == {
        "name": "made-up events", "type": "made-up events", "config": "leave_one_out",
    }  # fmt: skip
    means = metadata["metrics"]["leave_one_out"]
    assert {row["type"]: row["value"] for row in result["metrics"]} == {
        name: pytest.approx(means[name], abs=5e-5)
        for name in ("recall@10", "ndcg@10", "filtered/recall@10", "filtered/ndcg@10")
    }
    for name in metadata["baselines"]["leave_one_out"]:
        assert f"\n| {name} " in text
    assert f"{(output / 'model.tflite').stat().st_size:,} bytes" in text
    for name in ("model.tflite", "metadata.json", "items.jsonl"):
        assert (output / name).read_bytes() == (bow_id.export / name).read_bytes()
    history = [json.loads((output / "items.jsonl").read_text().splitlines()[0])["id"]]
    lists = [Recommender.load(folder).recommend(history) for folder in (output, bow_id.export)]
    assert lists[0] == lists[1]


@pytest.mark.parametrize("name", ['a "b": [c]\n- d: e | f', "", "# x"])
def test_any_name_stays_a_name(bow_id, name):
    text = model_card.render(read_metadata(bow_id.export), 1, name=name)
    shown = " ".join(name.replace("|", "/").split())
    assert head_of(text)["model-index"][0]["name"] == shown or not name
    assert text.split("---\n", 2)[2].startswith(f"\n# {shown}" if name else "\n# ")


def test_what_was_not_measured_is_said(bow_id):
    metadata = read_metadata(bow_id.export) | {"metrics": {}, "quantization": None}
    text = model_card.render(metadata, 1)
    assert "model-index" not in head_of(text)
    assert "Not measured." in text
    assert "The data are not named." in text


def test_the_file_of_fewer_bits_has_figures_of_its_own(bow_id):
    own = {"recipe": "int8", "test": {"labels": 1234, "recall@10": 0.25, "ndcg@10": 0.125}}
    metadata = read_metadata(bow_id.export) | {"quantization": own, "asked": "at the label's time"}
    text = model_card.render(metadata, 1)
    assert "in int8, over 1,234 of these labels: recall@10 0.2500, NDCG@10 0.1250" in text
    assert "was asked at the label's time" in text


def test_nothing_is_written_over_or_from_a_damaged_export(bow_id, tmp_path):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("kept")
    with pytest.raises(ExportError, match="exists and is not an empty folder; use another"):
        model_card.write(bow_id.export, taken)
    assert names_in(taken) == {"mine.txt"}
    damaged = shutil.copytree(bow_id.export, tmp_path / "damaged")
    (damaged / "items.jsonl").write_bytes(b"{}\n")
    with pytest.raises(ExportError, match=r"items\.jsonl has 3 bytes instead of"):
        model_card.write(damaged, tmp_path / "new")
    assert not (tmp_path / "new").exists()
