"""A run folder and an export of version 0.1.0 are of use to every later version."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from flaxrec import files, report
from flaxrec.config import Config
from flaxrec.demo import content
from flaxrec.errors import TrainingError
from flaxrec.recommender import Recommender
from flaxrec.reporting import results
from flaxrec.tflite.metadata import IDS, SCORES
from flaxrec.tflite.runtime import TfliteModel
from flaxrec.training.run import train
from flaxrec.training.run_assets import RunAssets
from flaxrec.training.workdir import Workdir
from tests.support.bundles import contents, export
from tests.support.exports import require_export

OLD = Path(__file__).parent / "version_0_1_0"
RECORDED = json.loads((OLD / "recorded.json").read_text(encoding="utf-8"))


@pytest.fixture
def run(tmp_path) -> Workdir:
    """A copy to write to."""
    return Workdir(shutil.copytree(OLD / "run", tmp_path / "run"))


def trained(config: Config, run: Workdir):
    said: list[str] = []
    return train(config, run, said.append), said


# ---- the export -----------------------------------------------------------------------------


@pytest.mark.parametrize("case", RECORDED["recommended"], ids=str)
def test_the_export_recommends_what_it_did(case):
    require_export()
    found = Recommender.load(OLD / "run" / "export").recommend(
        case["history"], 5, **case["options"]
    )
    assert [r.item for r in found] == case["items"]
    assert [r.title for r in found] == case["titles"]
    np.testing.assert_allclose([r.score for r in found], case["scores"], rtol=0, atol=1e-5)


def test_the_demo_reads_the_export():
    export_folder = OLD / "run" / "export"
    made = content.collect([export_folder])
    (model,) = made.models
    assert model["label"] == "version_0_1_0"
    assert made.assets[model["file"]] == (export_folder / "model.tflite").read_bytes()
    items = files.read_jsonl(export_folder / "items.jsonl")
    assert made.first["titles"] == [item["title"] for item in items]


# ---- the run --------------------------------------------------------------------------------


def test_the_run_is_exported_and_the_file_ranks_as_the_old_one(run):
    """The earlier export is replaced."""
    require_export()
    earlier = OLD / "run" / "export"
    made = export(run)
    assert (made.equality.agree, made.equality.contexts) == (36, 36)
    old, new = (TfliteModel(folder / "model.tflite") for folder in (earlier, run.export))
    contexts = RunAssets(run.assets).contexts()
    for row in range(36):
        before, after = (m({name: c[row] for name, c in contexts.items()}) for m in (old, new))
        # Neighbours within the tolerance may change places.
        steps = np.r_[np.inf, -np.diff(before[SCORES]), 0] > 1e-5
        apart = steps[:-1] & steps[1:]
        np.testing.assert_array_equal(after[IDS][apart], before[IDS][apart])
        np.testing.assert_allclose(after[SCORES], before[SCORES], rtol=0, atol=1e-5)
    was, now = (
        json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
        for folder in (earlier, run.export)
    )
    for key in ("name", "inputs", "outputs", "label_vocabulary", "top_k", "metrics", "labels"):
        assert now[key] == was[key]
    for name in ("items.jsonl", "vocabularies/item.txt", "vocabularies/context_genre.txt"):
        assert (run.export / name).read_bytes() == (earlier / name).read_bytes()
    assert (run.export / "saved_model").is_dir()
    assert contents(run.export).keys() >= contents(earlier).keys()


def test_everything_that_the_run_kept_is_read(run):
    kept = RunAssets(run.assets)
    spec, vocabularies, items = kept.spec(), kept.vocabularies(), kept.items()
    assert [i.name for i in spec.inputs] == ["context_item_id", "context_genre"]
    assert vocabularies.keys() == {"item", "context_genre"}
    assert len(vocabularies["item"].entries) == 1 + len(items) == 41
    assert items[0].keys() >= {"id", "title", "genres", "count"}
    judged, histories = kept.judged(), run.read_histories()
    assert judged.keys() == {"validation", "test"}
    labels = vocabularies["item"].lookup([history["label"] for history in histories])
    np.testing.assert_array_equal(judged["test"].labels, labels)
    for name, values in kept.contexts().items():
        np.testing.assert_array_equal(judged["test"].contexts[name], values)


def test_a_finished_run_stays_as_it_is(run):
    def unchanged() -> dict[str, bytes]:
        return {n: c for n, c in contents(run.path).items() if not n.startswith("tensorboard/")}

    before = unchanged()
    result, said = trained(run.read_config(), run)
    (test,) = (row for row in run.read_metrics() if row["split"] == "test")
    assert result.metrics == pytest.approx(test["metrics"], rel=1e-5)
    assert (result.best_step, result.labels) == (4, test["labels"])
    assert any(line.startswith("resuming after step 4 ") for line in said)
    now = unchanged()
    # What is evaluated again may differ in the last digits on another machine.
    # It is evaluated into tables that say more: how their times count, which files they are.
    assert now.keys() == before.keys() | {"per_label/clock.json", "per_label/files.json"}
    evaluated = {"metrics.jsonl", "per_label/test.parquet", "per_label/items.parquet"}
    assert {name for name in before if now[name] != before[name]} <= evaluated


def test_more_epochs_are_another_config(run):
    config = run.read_config()
    config.train.epochs = 2
    before = contents(run.path)
    with pytest.raises(TrainingError, match=r"another config \(config\.train\.epochs\)"):
        train(config, run, print)
    assert contents(run.path) == before


def test_the_run_goes_on_as_in_version_0_1_0(run):
    """Once its own config says that it has a second epoch."""
    text = run.config_file.read_text(encoding="utf-8")
    run.config_file.write_text(text.replace('"epochs": 1,', '"epochs": 2,'), encoding="utf-8")
    expected = RECORDED["two_epochs"]
    result, _ = trained(run.read_config(), run)
    assert result.best_step == expected["best_step"]
    assert result.metrics == pytest.approx(expected["metrics"], rel=1e-5)


def test_the_run_is_reported(run, tmp_path):
    (test,) = (row for row in run.read_metrics() if row["split"] == "test")
    (point,) = results.read([run.path]).points
    assert point.values("recall@10") == [test["metrics"]["recall@10"]]
    assert report.main([str(run.path), f"--output={tmp_path / 'report'}"]) == 0
    shown = f"{test['metrics']['filtered/ndcg@10']:.4f}"
    assert shown in (tmp_path / "report" / "table.md").read_text(encoding="utf-8")
