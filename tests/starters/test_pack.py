"""From a sweep's rows and a run folder to models/NAME, and figures of three seeds."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from flaxrec import config as config_lib
from flaxrec.errors import ConfigError, DataError, ExportError
from flaxrec.exporting import serving
from flaxrec.starters import folder as folder_lib
from flaxrec.starters import pack
from flaxrec.starters.folder import write
from flaxrec.training.workdir import Workdir
from tests.support import made_up_starters
from tests.support.bundles import contents, message_of


@pytest.fixture
def sweep(trained, tmp_path) -> Path:
    """The trained run in a sweep folder of the test's own, without rows."""
    ignore = shutil.ignore_patterns("tensorboard", "latest", "results.jsonl")
    return Path(shutil.copytree(trained[0], tmp_path / "sweep", ignore=ignore))


@pytest.fixture
def config(trained):
    return trained[1]


def packed(sweep: Path, models: Path, **options) -> Path:
    (folder,) = pack.pack(sweep, models, say=lambda line: None, **options)
    return folder


# ---- what is packed ---------------------------------------------------------------------------


def test_the_weights_of_seed_0_in_float16(sweep, config, tmp_path):
    made_up_starters.write_rows(sweep, "tiny", config)
    starter = folder_lib.read(packed(sweep, tmp_path / "models"))
    params = serving.load(Workdir(sweep / "runs/starter=tiny,seed=0")).params
    assert starter.weights.keys() == params.keys()
    for name, value in params.items():
        np.testing.assert_array_equal(starter.weights[name], np.asarray(value).astype(np.float16))
    assert starter.facts["parameters"] == sum(value.size for value in params.values())


def test_the_config_is_the_run_s_without_places(sweep, config, data, tmp_path):
    made_up_starters.write_rows(sweep, "tiny", config)
    folder = packed(sweep, tmp_path / "models")
    changed = config_lib.differences(config, folder_lib.read(folder).config)
    assert sorted(changed) == ["data.path", "export.quantization", "name"]
    assert folder_lib.read(folder).config.export.quantization == "int8"  # as the rows tell
    for raw in contents(folder).values():
        assert str(data.parent).encode() not in raw


def test_packing_twice_gives_equal_bytes(sweep, config, tmp_path):
    made_up_starters.write_rows(sweep, "tiny", config)
    first = packed(sweep, tmp_path / "a", device="an abacus")
    again = packed(sweep, tmp_path / "b", device="an abacus")
    assert contents(first) == contents(again)
    assert contents(packed(sweep, tmp_path / "a", device="an abacus")) == contents(again)


# ---- figures ----------------------------------------------------------------------------------


def test_figures_are_of_the_exported_files_over_three_seeds(sweep, config, tmp_path):
    made_up_starters.write_rows(sweep, "tiny", config)
    found = folder_lib.read(packed(sweep, tmp_path / "models")).facts
    assert found["measured_on"] == "exported"
    assert (found["recipe"], found["bytes"]) == ("int8", 1000)
    assert found["seeds"] == [0, 1, 2]
    for metric in made_up_starters.METRICS:
        of = found["metrics"][metric]
        assert of["seeds"] == [0.30, 0.31, 0.35]
        assert of["mean"] == 0.32
        # deviations of -0.02, -0.01 and 0.03 from the mean
        deviation = math.sqrt((0.02**2 + 0.01**2 + 0.03**2) / 2)
        assert of["deviation"] == pytest.approx(deviation, abs=1e-6)
        width = 4.302653 * deviation * math.sqrt(4 / 3)  # t of two degrees of freedom
        assert of["next_run"] == pytest.approx([0.32 - width, 0.32 + width], abs=1e-5)
    assert found["training"]["seconds"] == 120.0  # of 60, 120 and 180
    assert found["epochs"] == [4, 5, 6]
    assert found["step"] == 40
    assert found["training"]["device"] == "cpu"
    assert found["training"]["revision"] == "abc123"
    assert found["labels"]["labels"] == made_up_starters.USERS


def test_without_figures_of_every_file_they_are_the_trained_models(sweep, config, tmp_path):
    rows = [made_up_starters.row_of("tiny", config, seed, exported=seed < 2) for seed in range(3)]
    rows[0]["git"]["dirty"] = True
    rows[0]["exported"]["recipe"] = rows[1]["exported"]["recipe"] = "float16"  # the config's
    (sweep / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = folder_lib.read(packed(sweep, tmp_path / "models", device="two cores")).facts
    assert found["measured_on"] == "trained"
    assert found["metrics"]["recall@10"]["seeds"] == [0.40, 0.41, 0.45]
    assert found["recipe"] == "float16"
    assert found["training"]["device"] == "two cores"
    assert found["training"]["revision"] == "abc123+"


# ---- what is refused --------------------------------------------------------------------------


def test_another_starter_is_replaced_only_when_asked(sweep, config, data, tmp_path):
    made_up_starters.write_rows(sweep, "tiny", config)
    models = tmp_path / "models"
    other, _ = made_up_starters.starter("id_genre", data)
    write(other, models / "tiny")
    before = contents(models)
    message = message_of(packed, sweep, models, error=ExportError)
    assert "holds something else than this sweep's starter; pass --replace" in message
    assert contents(models) == before
    packed(sweep, models, replace=True)
    assert contents(models) != before


def test_one_that_cannot_be_packed_keeps_all_from_being_written(sweep, config, tmp_path):
    made_up_starters.write_rows(sweep, "good", config)
    made_up_starters.write_rows(sweep, "bad", config)
    lines = [json.loads(line) for line in (sweep / "results.jsonl").read_text().splitlines()]
    for row in lines:
        row["folder"] = row["folder"].replace("good", "tiny")
    (sweep / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    message_of(packed, sweep, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_what_was_measured_stays_with_the_weights(sweep, config, tmp_path):
    made_up_starters.write_rows(sweep, "tiny", config)
    folder = packed(sweep, tmp_path / "models")
    starter = folder_lib.read(folder)
    file = {"recipe": "int8", "bytes": 999, "metrics": {}, "latency": None}
    write(dataclasses.replace(starter, facts=starter.facts | {"file": file}), folder)
    assert folder_lib.read(packed(sweep, tmp_path / "models")).facts["file"] == file
    half = {name: array / 2 for name, array in starter.weights.items()}
    write(dataclasses.replace(folder_lib.read(folder), weights=half), folder)
    packed(sweep, tmp_path / "models", replace=True)
    assert folder_lib.read(folder).facts["file"] is None


@pytest.mark.parametrize(
    ("change", "words", "error"),
    [
        ({"data.source": "synthetic"}, "is of synthetic ml-1m leave_one_out", ConfigError),
        ({"data.release": "ml-100k"}, "is of movielens ml-100k leave_one_out", ConfigError),
        ({"split.protocol": "random"}, "is of movielens ml-1m random", ConfigError),
    ],
)
def test_what_the_card_would_not_tell_the_truth_about(
    sweep, config, tmp_path, monkeypatch, change, words, error
):
    monkeypatch.setattr(Workdir, "check_parts", lambda *_: None)  # as if it was trained so
    made_up_starters.write_rows(sweep, "tiny", config)
    file = sweep / "runs/starter=tiny,seed=0/config.json"
    changed = json.loads(file.read_text())
    for path, value in change.items():
        section, field = path.split(".")
        changed[section][field] = value
    file.write_text(json.dumps(changed))
    assert words in message_of(packed, sweep, tmp_path / "models", error=error)


def test_weights_that_float16_cannot_hold(sweep, config, tmp_path, monkeypatch):
    made_up_starters.write_rows(sweep, "tiny", config)
    model = serving.load(Workdir(sweep / "runs/starter=tiny,seed=0"))
    name = sorted(model.params)[0]
    large = {**model.params, name: model.params[name] + 70_000}
    monkeypatch.setattr(
        pack.serving, "load", lambda workdir: dataclasses.replace(model, params=large)
    )
    message = message_of(packed, sweep, tmp_path / "models", error=ExportError)
    assert f"The weights {name} of the starter tiny are not finite in float16" in message


def test_sweeps_that_hold_no_starter(sweep, config, tmp_path):
    def refusal(rows: list[dict]) -> str:
        (sweep / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return message_of(packed, sweep, tmp_path / "models", error=DataError)

    rows = [made_up_starters.row_of("tiny", config, seed) for seed in range(3)]
    assert "has finished runs of seed 0, 1; let the sweep finish 3 seeds" in refusal(rows[:2])
    failed = rows[1] | {"status": "failed", "reason": "no room"}
    assert "has finished runs of seed 0, 2; let" in refusal([rows[0], failed, rows[2]])
    others = [row | {"seed": row["seed"] + 1} for row in rows]
    assert "seed 1, 2, 3; let the sweep finish 3 seeds, 0 among them" in refusal(others)
    assert "no point with the axis 'starter'" in refusal(
        [row | {"axes": {"encoder": "bow"}} for row in rows]
    )
    two = [row | {"axes": row["axes"] | {"size": size}} for size in (1, 2) for row in rows]
    two = [row | {"run": f"{row['run']},{row['axes']['size']}"} for row in two]
    assert "has several points of the starter tiny" in refusal(two)
    mixed = [
        row | {"exported": row["exported"] | {"recipe": r}}
        for row, r in zip(rows, "aba", strict=True)
    ]
    assert "were exported by a and b; set config.export.quantization" in refusal(mixed)
    assert "A starter cannot be called '../x'" in refusal(
        [row | {"axes": {"starter": "../x"}} for row in rows]
    )
    short = {"recall@10": 0.1}
    rows = [row | {"exported": row["exported"] | {"metrics": short}} for row in rows]
    assert "have no filtered/recall@10; put 10 into config.evaluation.ks" in refusal(rows)


def test_a_transitions_head_is_not_left_out_silently(sweep, config, tmp_path, monkeypatch):
    made_up_starters.write_rows(sweep, "tiny", config)
    model = serving.load(Workdir(sweep / "runs/starter=tiny,seed=0"))
    with_head = dataclasses.replace(model, head=object())
    monkeypatch.setattr(pack.serving, "load", lambda workdir: with_head)
    with pytest.raises(ConfigError, match="tiny has a transitions head, which a starter's folder"):
        packed(sweep, tmp_path / "models")
    assert not (tmp_path / "models").exists()
