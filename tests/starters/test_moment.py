"""Starters that know the moment of asking: measured with and without it; their cards say so."""

import dataclasses
import types

import numpy as np
import pytest

from flaxrec.exporting import bundle, file_ranks
from flaxrec.starters import card, folder, measure
from flaxrec.starters.folder import Starter
from tests.support import made_up_starters
from tests.support.made_up_starters import METRICS


@pytest.fixture(scope="module")
def starter(data) -> Starter:
    return made_up_starters.starter("id_time", data)[0]


@pytest.fixture(scope="module")
def measured(starter, data, tmp_path_factory) -> Starter:
    """Measured with a 'file' whose logits are a function of the time inputs."""
    models = tmp_path_factory.mktemp("models_of_time")
    folder.write(starter, models / starter.config.name)
    table = np.random.default_rng(0).normal(size=(1000, starter.spec.candidates))

    def finished(model, assets, output, say):
        output.mkdir()
        (output / "model.tflite").write_bytes(b"")
        return types.SimpleNamespace(bytes=1234, quantization={"recipe": "float16"})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "export_model", finished)
        logits = lambda context: table[context["context_gap_after"].sum()]  # noqa: E731
        patch.setattr(file_ranks, "LogitsModel", lambda *_, **__: logits)
        said = []
        names = [starter.config.name]
        measure.measure(models, names, movielens=str(data), say=said.append)
    assert [line.rpartition("(")[2] for line in said[-2:]] == ["moment unknown)", "times absent)"]
    return folder.read(models / starter.config.name)


def test_what_is_measured(measured):
    file = measured.facts["file"]
    assert list(file["unknown"]) == ["moment", "times"]
    known = [file["metrics"], *file["unknown"].values()]
    assert len({str(metrics) for metrics in known}) == 3
    parts = file["by_since"]
    labels = [part["labels"] for part in parts]
    assert sum(labels) == made_up_starters.USERS
    for metric in METRICS:
        means = [np.average([p[key][metric] for p in parts], weights=labels)
                 for key in ("metrics", "moment")]  # fmt: skip
        assert means[0] == pytest.approx(file["metrics"][metric], abs=1e-5)
        assert means[1] == pytest.approx(file["unknown"]["moment"][metric], abs=1e-5)


def test_the_card(measured):
    text, file = card.render(measured), measured.facts["file"]
    section = text.partition("### The moment of asking\n")[2].partition("\n## ")[0]
    assert "it was asked at the label's time. Compare them with" in section
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("|")]
    by_label = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}
    for way, title in (("moment", "moment unknown"), ("times", "times absent")):
        assert by_label[title] == [f"{file['unknown'][way][m]:.4f}" for m in METRICS]
    for part in file["by_since"]:
        figures = [f"{part[key][m]:.4f}" for key in ("metrics", "moment") for m in METRICS]
        assert by_label[part["part"]] == [str(part["labels"]), *figures]
    assert "inputs: ids, gap_after (asked at the label's time)" in text
    assert "tiny_id_time 1@978300019 364@978300055 --now=978303655  # an hour later\n```" in text


def test_before_it_is_measured(starter, data):
    assert "it too. Without it: not measured.\n\n## Size and speed" in card.render(starter)
    others = made_up_starters.starter("id", data)[0]
    assert "asked" not in card.render(others)
    assert "gap_after (asked at the label's time) |" in card.table([starter])
    assert dataclasses.replace(starter).spec.asked
