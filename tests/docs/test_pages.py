"""What the documents name exists: config fields and tests; docs/migration.md is whole and runs."""

import ast
import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from flaxrec.config.quirks import Quirks
from flaxrec.reference import input_config, weights
from tests.support.builders import random_model
from tests.support.doc_pages import problem_of
from tests.support.places import ROOT

MIGRATION = (ROOT / "docs/migration.md").read_text(encoding="utf-8")

# Names of the reference, from its flags and protos.
GENERATION = "data_dir output_dir build_vocabs min_timeline_length max_context_length "
GENERATION += "max_context_movie_genre_length min_rating train_data_fraction"
LAUNCHER = "training_data_filepattern testing_data_filepattern model_dir export_dir vocab_dir "
LAUNCHER += "input_config_file batch_size learning_rate steps_per_epoch num_epochs num_eval_steps "
LAUNCHER += "run_mode gradient_clip_norm hidden_layer_dims eval_top_k conv_num_filter_ratios "
LAUNCHER += "conv_kernel_size lstm_num_units num_predictions checkpoint_path"
INPUT_CONFIG = "global_feature_groups activity_feature_groups label_feature features encoder_type "
INPUT_CONFIG += "feature_name feature_type vocab_name vocab_size embedding_dim feature_length"
MODEL_CONFIG = "hidden_layer_dims eval_top_k conv_num_filter_ratios conv_kernel_size "
MODEL_CONFIG += "lstm_num_units num_predictions"
TABLES = {"Example generation": GENERATION, "Launcher": LAUNCHER, "InputConfig": INPUT_CONFIG}
TABLES["ModelConfig"] = MODEL_CONFIG


def documents() -> list[Path]:
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_config_fields_exist(document):
    text = document.read_text(encoding="utf-8")
    paths = re.findall(r"(?<!flaxrec\.)\bconfig(?:\.[a-z]\w*(?:\[\d\])?)+", text)
    files = {"config.py", "config.json"}
    problems = [problem_of(path) for path in paths if path not in files]
    assert not list(filter(None, problems))
    assert len(paths) > 60 or document.name != "migration.md"


def test_a_field_that_does_not_exist_is_noticed():
    assert problem_of("config.train.steps") == "config.train.steps: TrainConfig has no field steps"
    assert "is no list" in problem_of("config.train[0].epochs")
    assert "nothing is below" in problem_of("config.train.epochs.more")
    assert not problem_of("config.model.activity_groups[0].features[0].vocabulary")


def test_modules_of_the_architecture_exist():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| `(\w+)/` \| modules \|\n((?:\|.*\n)+)", text, re.MULTILINE)
    named = [
        f"{room}/{module}"
        for room, rows in tables
        for row in rows.splitlines()
        for module in re.findall(r"`(\w+(?:/\w+)?)/?`", row.split("|")[2])
    ]
    rooms = "|".join(path.name for path in (ROOT / "flaxrec").iterdir() if path.is_dir())
    named += re.findall(rf"`((?:{rooms})/[a-z]\w*(?:/\w+)?)[`./]", text)
    assert len(named) > 50
    files = [ROOT / "flaxrec" / name for name in named]
    assert not [file for file in files if not file.is_dir() | file.with_suffix(".py").is_file()]


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_tests_exist(document):
    named = re.findall(r"(tests/[\w/]+\.py)::(\w+)", document.read_text(encoding="utf-8"))
    missing = []
    for file, test in named:
        path = ROOT / file
        tree = ast.parse(path.read_text(encoding="utf-8")) if path.exists() else ast.Module([])
        if test not in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}:
            missing.append(f"{file}::{test}")
    assert not missing
    assert len(named) > 30 or document.name != "migration.md"


# ---- docs/migration.md ------------------------------------------------------------------------


def section(title: str) -> str:
    """From a heading to the next."""
    return re.search(rf"^#+ {title}\n(.*?)(?=^#|\Z)", MIGRATION, re.DOTALL | re.MULTILINE)[1]


@pytest.mark.parametrize("title", TABLES)
def test_every_setting_of_the_reference_has_its_row(title):
    rows = re.findall(r"^\| `(\w+)` \|", section(title), re.MULTILINE)
    names = TABLES[title].split()
    if title == "Launcher":
        names += ["run_mode", "train_and_eval", "export", "export_tflite"]  # the table of modes
    assert sorted(rows) == sorted(names)


def test_every_quirk_flag_has_its_row():
    quirks = section("Every quirk")
    flags = {field.name for field in dataclasses.fields(Quirks)}
    columns = [re.split(r" \| ", row) for row in quirks.splitlines() if row.startswith("| ")]
    mentioned = {name for row in columns for name in re.findall(r"`(\w+)`", row[2])}
    assert flags - mentioned == set()
    # Every row but the headings names its test.
    assert [row[0] for row in columns[1:] if "**" not in row[0] and "::test_" not in row[3]] == []


def test_the_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    field = "feature_type: INT vocab_size: 2000 embedding_dim: 4 feature_length: "
    text = (
        f'activity_feature_groups {{ features {{ feature_name: "context_movie_id" {field} 10 }} }}'
    )
    text += f'label_feature {{ feature_name: "label_movie_id" {field} 1 }}'
    Path("films.pbtxt").write_text(text)
    inputs = input_config.read("films.pbtxt")
    _, params = random_model(input_config.training_config(inputs), input_config.to_spec(inputs))
    theirs = weights.to_reference(params)
    np.savez("weights.npz", **theirs)
    blocks = re.findall(r"^```python\n(.*?)^```", MIGRATION, re.DOTALL | re.MULTILINE)
    names: dict = {}
    exec(blocks[0], names)
    assert names["config"].evaluation.ks == (1, 10)
    exec(blocks[1], names)
    assert names["logits"].shape == (1, 2000)
    assert sorted(names["again"]) == sorted(theirs)
    for name, value in theirs.items():
        np.testing.assert_array_equal(names["again"][name], value)
    assert len(blocks) == 2


def test_ablations_say_what_their_reports_measured():
    """Every figure of four places stands in the section's own report, and so do the bytes."""
    page = (ROOT / "docs/ablations.md").read_text(encoding="utf-8")
    reports = {
        "Baselines": "encoder_by_length",
        "Encoder": "encoder_by_length",
        "Ids": "inputs_by_size",
        "Global": "softmax",
        "The reference's": "recipe",
        "Protocols": "protocols",
    }
    checked = 0
    for section in page.split("\n## ")[1:]:
        (name,) = [name for start, name in reports.items() if section.startswith(start)]
        report = (ROOT / "docs/ablations" / f"{name}.md").read_text(encoding="utf-8")
        known = set(re.findall(r"\d*\.\d{4}\b", report)) | set(re.findall(r"\d{3},\d{3}", report))
        for mean, deviation in re.findall(r"(\.\d{4}) ± (\.\d{4})", section):
            assert re.search(rf"0{re.escape(mean)}\W* ± 0{re.escape(deviation)}", report), mean
        figures = [f"0{figure}" for figure in re.findall(r"(?<!\d)\.\d{4}\b", section)]
        figures += re.findall(r"\d{3},\d{3}", section)
        assert [figure for figure in figures if figure not in known] == []
        checked += len(figures)
    assert checked > 100
