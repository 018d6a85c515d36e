"""Tied tables in the finished file: one copy of the rows for the lookup and for the labels."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from flaxrec.config import Config, ExportConfig, FeatureConfig, GroupConfig, ModelConfig
from flaxrec.data.spec import InputSpec, ModelSpec
from flaxrec.exporting import converter, saved_model, serving_form
from flaxrec.exporting.ranked_lists import lists_agree
from flaxrec.exporting.serving import ServingModel
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.metadata import IDS, SCORES
from flaxrec.tflite.runtime import TfliteModel
from tests.support.builders import random_model
from tests.support.exports import quick_compilation, require_export

ROWS, WIDTH, LENGTH = 300, 8, 4
TABLE = "context_encoder/groups/0/features/tables/item"


def finished(
    tied: bool, exclude: bool, folder: Path, **fields
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
    with quick_compilation():
        saved_model.save(serving_model, options, folder)
        content = flatbuffer.finish(converter.convert(folder))
    read = serving_form.fold(serving_model.structure, serving_model.params).params
    return read, content, serving_model


def copies(content: bytes, rows: np.ndarray) -> int:
    return content.count(np.asarray(rows, np.float32).tobytes())


@pytest.mark.parametrize("exclude", [False, True], ids=["all items", "without the context's"])
def test_the_table_is_stored_once(exclude, tmp_path):
    require_export()
    params, content, _ = finished(True, exclude, tmp_path / "tied")
    assert copies(content, params[TABLE]) == 1
    assert copies(content, params[TABLE][1:-1]) == 1  # nor the candidates' part once more
    untied, two_tables, _ = finished(False, exclude, tmp_path / "own")
    labels = untied["label_encoder/table"]
    assert copies(two_tables, untied[TABLE]) == copies(two_tables, labels) == 1
    saved = len(two_tables) - len(content)
    assert abs(saved - labels.nbytes) < 500


@pytest.mark.parametrize("tied", [True, False])
def test_normalized_vectors_are_constants(tied, tmp_path):
    require_export()
    fields = {"normalized": True, "temperature": 0.1}
    params, content, model = finished(tied, False, tmp_path / "saved", **fields)
    name = TABLE if tied else "label_encoder/table"
    assert copies(content, params[name]) == 1
    assert copies(content, model.params[name][1:-1]) == 0
    # The context's own norm and the temperature are what is left in the graph.
    bare = finished(tied, False, tmp_path / "bare")[1]
    more = Counter(flatbuffer.operators(content)) - Counter(flatbuffer.operators(bare))
    assert more == {"MUL": 3, "SUM": 1, "MAXIMUM": 1, "RSQRT": 1}
    assert len(content) - len(bare) < 1000

    ids = np.random.default_rng(0).integers(0, ROWS, (20, LENGTH), np.int32)
    file, logits = TfliteModel(content), model.batch_logits({"item": ids})
    for row, expected in zip(ids, logits, strict=True):
        out = file({"item": row})
        assert lists_agree(out[IDS] - 1, out[SCORES], expected, 5)
