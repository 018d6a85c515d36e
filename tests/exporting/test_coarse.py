"""Exact lists by way of coarse scores, on a small catalogue that is taken for a large one."""

import dataclasses

import numpy as np
import pytest

from flaxrec.config import ExportConfig
from flaxrec.errors import ExportError
from flaxrec.exporting import (
    coarse,
    converter,
    exclusion,
    masking,
    ranked_lists,
    ranking,
    saved_model,
    serving,
)
from flaxrec.exporting.serving import ServingModel
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.metadata import CANDIDATE_MASK, IDS, SCORES
from flaxrec.tflite.runtime import TfliteModel
from tests.support.builders import random_model
from tests.support.exports import require_export
from tests.support.grouped_models import ITEM, WIDTH, group, settings

CANDIDATES, LENGTH = 6000, 4


@pytest.fixture(autouse=True)
def small_catalogues_count_as_large(monkeypatch):
    monkeypatch.setattr(coarse, "FROM", CANDIDATES)


def model_of(tied: bool) -> ServingModel:
    item = dataclasses.replace(ITEM, embedding_dim=WIDTH)
    config, spec = settings(group("bow", item), length=LENGTH)
    inputs = (dataclasses.replace(spec.inputs[0], rows=CANDIDATES + 2),)
    spec = dataclasses.replace(spec, inputs=inputs, candidates=CANDIDATES)
    config.model.tied_tables = tied
    structure, params = random_model(config, spec)
    return ServingModel(config, spec, structure, {n: 3 * v for n, v in params.items()})


def file_of(model: ServingModel, options: ExportConfig, folder) -> bytes:
    require_export()
    saved_model.save(model, options, folder)
    return flatbuffer.finish(ranking.with_coarse(converter.convert(folder), model, options))


@pytest.mark.parametrize(
    ("tied", "excluded"),
    [
        (False, False),
        (True, True),
        pytest.param(False, True, marks=pytest.mark.long),
        pytest.param(True, False, marks=pytest.mark.long),
    ],
)
def test_lists_are_the_tables_own(tied, excluded, tmp_path):
    model, options = model_of(tied), ExportConfig(top_k=50, exclude_context=excluded)
    content = file_of(model, options, tmp_path)
    ids = np.random.default_rng(0).integers(-1, CANDIDATES + 5, (60, LENGTH), np.int32)
    logits = model.batch_logits({"item": ids})
    if excluded:
        logits = exclusion.without_context(logits, {"item": ids}, model.spec)
    file = TfliteModel(content)
    for row, own in zip(ids, logits, strict=True):
        out = file({"item": row})
        assert ranked_lists.lists_agree(out[IDS] - model.spec.first_candidate, out[SCORES], own, 50)
    # The copy is there once, as int8, beside the table.
    tables = CANDIDATES * WIDTH * 4
    assert tables * (1.2 if tied else 2.2) < len(content) < tables * (1.4 if tied else 2.4)


@pytest.mark.long
@pytest.mark.parametrize("excluded", [False, True])
def test_masked_lists_are_the_tables_own(excluded, tmp_path):
    model = model_of(tied=excluded)
    options = ExportConfig(top_k=50, exclude_context=excluded, candidate_mask=True)
    file = TfliteModel(file_of(model, options, tmp_path))
    random = np.random.default_rng(0)
    contexts = {"item": random.integers(-1, CANDIDATES + 5, (60, LENGTH), np.int32)}
    logits = model.batch_logits(contexts)
    if excluded:
        logits = exclusion.without_context(logits, contexts, model.spec)
    for mask in masking.draw(model, 50):
        own = masking.masked(logits, mask, model)

        def lists(context, mask=mask):
            out = file({**context, CANDIDATE_MASK: mask})
            return out[IDS], out[SCORES]

        found = ranked_lists.compare(lists, contexts, own, first_candidate=1, top_k=50)
        assert found.agree == 60


def test_the_error_covers_what_rounding_does():
    require_export()
    import tensorflow as tf

    labels = np.asarray(model_of(tied=False).params["label_encoder/table"])
    copy = coarse.round_table(labels)
    random = np.random.default_rng(1)
    shares = []
    for context in random.normal(size=(200, WIDTH)) * 10.0 ** random.uniform(-2, 2, (200, 1)):
        most = coarse.error(tf.constant(context[None], tf.float32), copy).numpy()
        for step in (np.ptp([0, *context]) / 255, np.abs(context).max() / 127):  # the runtime's
            rounded = np.floor(context / step) * step  # worse than the nearest
            shares.append(np.abs(labels @ context - copy.table @ rounded).max() / most)
    assert max(shares) <= 1
    assert max(shares) > 0.2  # a bound that lets everything pass would hold as well


def test_rounding():
    copy = coarse.round_table(np.array([[1.27, -0.5], [0.004, 0.006]]))
    np.testing.assert_array_equal(copy.rounded, [[127, -50], [0, 1]])
    assert copy.error == pytest.approx(0.004)
    assert copy.size == pytest.approx(1.77)
    assert not coarse.round_table(np.zeros((3, 2))).rounded.any()


@pytest.mark.parametrize(
    ("labels", "options"),
    [
        (CANDIDATES - 1, ExportConfig(top_k=50)),
        (CANDIDATES, ExportConfig(top_k=50, quantization="float16")),
        (CANDIDATES, ExportConfig(top_k=CANDIDATES // 10)),
    ],
)
def test_where_it_does_not_pay(labels, options):
    assert not coarse.pays(labels, options)


def test_a_file_without_the_copy_is_refused(bow_id):
    model = serving.load(bow_id)
    content = (bow_id.export / "model.tflite").read_bytes()
    with pytest.raises(ExportError, match="does not hold the coarse label table"):
        coarse.store(content, coarse.round_table(model.params["label_encoder/table"]))
