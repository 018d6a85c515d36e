"""Tied tables in the finished file: one copy of the rows for the lookup and for the labels."""

import functools
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from flaxrec.config import Config, ExportConfig, FeatureConfig, GroupConfig, ModelConfig
from flaxrec.data.spec import InputSpec, ModelSpec
from flaxrec.exporting import bundle, serving_form
from flaxrec.exporting.logits import LogitsModel
from flaxrec.exporting.ranked_lists import lists_agree
from flaxrec.exporting.serving import ServingModel
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.metadata import IDS, SCORES
from flaxrec.tflite.runtime import TfliteModel
from tests.support.builders import random_model
from tests.support.exports import require_export

ROWS, WIDTH, LENGTH = 300, 8, 4
TABLE = "context_encoder/groups/0/features/tables/item"


@functools.cache
def finished(
    tied: bool, exclude: bool, **fields
) -> tuple[dict[str, np.ndarray], bytes, ServingModel]:
    """Parameters as they are exported, the file, and the model."""
    model = ModelConfig(
        context_length=LENGTH,
        embedding_dim=WIDTH,
        activity_groups=[GroupConfig([FeatureConfig("item", "item.id", "INT", WIDTH)])],
        tied_tables=tied,
        **fields,
    )
    config = Config(model=model)
    spec = ModelSpec((InputSpec("item", "item.id", "INT", LENGTH, ROWS, "item"),), ROWS - 2, 1)
    serving_model = ServingModel(config, spec, *random_model(config, spec))
    options = ExportConfig(top_k=5, exclude_context=exclude)
    with tempfile.TemporaryDirectory() as folder:
        content = bundle.make_float_file(serving_model, options, Path(folder))
    read = serving_form.fold(serving_model.structure, serving_model.params).params
    return read, content, serving_model


def copies(content: bytes, rows: np.ndarray) -> int:
    return content.count(np.asarray(rows, np.float32).tobytes())


@pytest.mark.parametrize("exclude", [False, True], ids=["all items", "without the context's"])
def test_the_table_is_stored_once(exclude):
    require_export()
    params, content, _ = finished(True, exclude)
    assert copies(content, params[TABLE]) == 1
    assert copies(content, params[TABLE][1:-1]) == 1  # nor the candidates' part once more
    untied, two_tables, _ = finished(False, exclude)
    labels = untied["label_encoder/table"]
    assert copies(two_tables, untied[TABLE]) == copies(two_tables, labels) == 1
    saved = len(two_tables) - len(content)
    assert abs(saved - labels.nbytes) < 500


@pytest.mark.parametrize("tied", [True, False])
def test_normalized_vectors_are_constants(tied):
    require_export()
    fields = {"normalized": True, "temperature": 0.1}
    params, content, model = finished(tied, False, **fields)
    name = TABLE if tied else "label_encoder/table"
    assert copies(content, params[name]) == 1
    assert copies(content, model.params[name][1:-1]) == 0
    # The context's own norm and the temperature are what is left in the graph.
    bare = finished(tied, False)[1]
    more = Counter(flatbuffer.operators(content)) - Counter(flatbuffer.operators(bare))
    assert more == {"MUL": 3, "SUM": 1, "MAXIMUM": 1, "RSQRT": 1}
    assert len(content) - len(bare) < 1000

    ids = np.random.default_rng(0).integers(0, ROWS, (20, LENGTH), np.int32)
    file, logits = TfliteModel(content), model.batch_logits({"item": ids})
    for row, expected in zip(ids, logits, strict=True):
        out = file({"item": row})
        assert lists_agree(out[IDS] - 1, out[SCORES], expected, 5)


@pytest.mark.parametrize("tied", [False, True], ids=["own table", "tied"])
@pytest.mark.parametrize("exclude", [False, True], ids=["all items", "without the context's"])
def test_logits_are_those_of_the_candidates(tied, exclude):
    """Also where the product has rows for padding and 'unknown'."""
    require_export()
    _, content, model = finished(tied, exclude)
    contexts = {"item": np.random.default_rng(0).integers(0, ROWS, (30, LENGTH), np.int32)}
    expected = model.batch_logits(contexts).copy()
    if exclude:
        for row, ids in zip(expected, contexts["item"], strict=True):
            row[[i - 1 for i in ids if 1 <= i <= ROWS - 2]] = -np.inf
    file = LogitsModel(content, model.spec, excludes_context=exclude)
    found = np.stack([file({"item": ids}) for ids in contexts["item"]])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
