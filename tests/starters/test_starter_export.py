"""Starters exported: the file against JAX, what it answers, how it is measured; the commands."""

import json
import shutil

import numpy as np
import pytest

from flaxrec.data.sources.movielens import read_movielens
from flaxrec.errors import ExportError
from flaxrec.exporting import bundle
from flaxrec.recommender import Recommender
from flaxrec.starters import __main__ as command
from flaxrec.starters import folder as folder_lib
from flaxrec.starters import load, measure
from flaxrec.tflite.runtime import TfliteModel
from tests.support.bundles import message_of


@pytest.mark.parametrize("inputs", ["id", "id_genre"])
def test_the_file_ranks_as_jax_does(exported, models, data, inputs):
    export = exported[inputs]
    assert export.equality.contexts == export.equality.agree == 30
    model, assets = load.load(models / f"tiny_{inputs}", str(data))
    file = TfliteModel(export.folder / "model.tflite")
    logits, first = model.batch_logits(assets.contexts), model.spec.first_candidate
    for row, own in enumerate(logits):
        out = file({name: values[row] for name, values in assets.contexts.items()})
        # The weights are float16 in the folder and in the file: what is ranked is the same.
        scores = 1 / (1 + np.exp(-own.astype(np.float64)))
        np.testing.assert_allclose(
            out["top_prediction_scores"], np.sort(scores)[:-11:-1], atol=1e-5
        )
        np.testing.assert_allclose(
            out["top_prediction_scores"], scores[out["top_prediction_ids"] - first], atol=1e-5
        )


def test_titles_come_from_the_user_s_copy(exported, data):
    recommender = Recommender.load(exported["id_genre"].folder)
    titles = dict(read_movielens(data).items.select("item", "title").rows())
    history = [int(item["id"]) for item in list(recommender.items.values())[:3]]
    found = recommender.recommend(history, top_k=5)
    assert len(found) == 5
    assert all(isinstance(r.item, int) and titles[r.item] == r.title for r in found)
    assert not {r.item for r in found} & set(history)
    metadata = json.loads((exported["id_genre"].folder / "metadata.json").read_text())
    assert metadata["name"] == "tiny_id_genre"
    assert metadata["metrics"]["leave_one_out"]["filtered/recall@10"] == 0.30  # seed 0
    assert metadata["step"] == 77
    assert metadata["quantization"]["recipe"] == "float16"  # what it is shipped with
    assert metadata["quantization"]["test"]["labels"] == 60  # judged on the user's copy


def test_ids_alone(exported):
    recommender = Recommender.load(exported["id"].folder)
    found = recommender.recommend(list(recommender.items)[:2], top_k=3)
    assert [r.title for r in found] == [""] * 3
    assert {str(r.item) for r in found} <= set(recommender.items)
    assert all(item.keys() == {"id"} for item in recommender.items.values())


# ---- measured ---------------------------------------------------------------------------------


def test_the_file_of_the_folder_is_measured(models, data, exported, tmp_path, capsys, monkeypatch):
    """Beside ranks by NumPy from the training form's logits, and another starter's file."""
    name, own = "tiny_id_genre", exported["id_genre"]
    shutil.copytree(models / name, tmp_path / name)
    model, assets = load.load(models / name, str(data))

    def finished(asked, with_assets, output, say):
        """The export is made already, if it is asked of the same model."""
        assert asked.config == model.config
        assert with_assets.items == assets.items
        for parameter, value in model.params.items():
            np.testing.assert_array_equal(asked.params[parameter], value)
        shutil.copytree(own.folder, output)
        return own

    monkeypatch.setattr(bundle, "export_model", finished)
    published = exported["id"].folder / "model.tflite"
    arguments = ["--measure", f"--output={tmp_path}", f"--movielens={data}"]
    assert command.main([*arguments, f"--published={published}"]) == 0
    found = folder_lib.read(tmp_path / name).facts["file"]

    judged = assets.judged["test"]
    labels = judged.labels - model.spec.first_candidate
    logits = model.batch_logits(judged.contexts)
    ranks = (logits > logits[np.arange(len(labels)), labels][:, None]).sum(axis=1)
    assert found["metrics"]["recall@10"] == pytest.approx((ranks < 10).mean(), abs=1e-6)
    ndcg = np.where(ranks < 10, 1 / np.log2(ranks + 2), 0).mean()
    assert found["metrics"]["ndcg@10"] == pytest.approx(ndcg, abs=1e-6)
    assert found["metrics"]["filtered/recall@10"] >= found["metrics"]["recall@10"]
    assert (found["recipe"], found["bytes"]) == ("float16", own.bytes)
    latency = found["latency"]
    low, high = latency["interval"]
    assert 0 < low <= latency["ratio"] <= high
    assert latency["reference"] == "model.tflite"

    assert command.main(arguments) == 0  # without a published file the latency stays
    assert folder_lib.read(tmp_path / name).facts["file"] == found
    assert command.main(["--table", f"--output={tmp_path}"]) == 0
    assert f"| {own.bytes:,} |" in capsys.readouterr().out


def test_measuring_needs_data(models):
    message = message_of(
        lambda: measure.measure(models, ["tiny_id"], movielens="none"), error=ExportError
    )
    assert "pass --movielens=DIR" in message


# ---- the commands -----------------------------------------------------------------------------


def test_the_command_in_a_sentence(tmp_path, capsys):
    for arguments, words in {
        (): "Give a sweep folder to pack, --measure or --table",
        (str(tmp_path),): "is neither a sweep folder",
        ("--table", f"--output={tmp_path}"): "There are no starters in",
    }.items():
        assert command.main(arguments) == 2
        said = capsys.readouterr().err
        assert words in said
        assert len(said.strip().splitlines()) == 1
