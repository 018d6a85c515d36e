"""Tied tables in the finished file: one copy of the rows for the lookup and for the labels."""

from pathlib import Path

import numpy as np
import pytest
from export.test_tflite import quick_compilation, require_export
from helpers import random_model

from flaxrec.config import Config, ExportConfig, FeatureConfig, GroupConfig, ModelConfig
from flaxrec.export import flatbuffer, folding, saved_model, tflite
from flaxrec.export.serving import ServingModel
from flaxrec.features import InputSpec, ModelSpec

ROWS, WIDTH, LENGTH = 300, 8, 4
TABLE = "context_encoder/groups/0/features/tables/item"


def finished(tied: bool, exclude: bool, folder: Path) -> tuple[dict[str, np.ndarray], bytes]:
    """Parameters as they are exported, and the file."""
    model = ModelConfig(
        context_length=LENGTH,
        embedding_dim=WIDTH,
        activity_groups=[GroupConfig([FeatureConfig("item", "item.id", "INT", WIDTH)])],
        tied_tables=tied,
    )
    config = Config(model=model)
    spec = ModelSpec((InputSpec("item", "item.id", "INT", LENGTH, ROWS, "item"),), ROWS - 2, 1)
    serving_model = ServingModel(config, spec, *random_model(config, spec))
    options = ExportConfig(top_k=5, exclude_context=exclude)
    with quick_compilation():
        saved_model.save(serving_model, options, folder)
        content = flatbuffer.finish(tflite.convert(folder))
    return folding.fold(serving_model.structure, serving_model.params).params, content


def copies(content: bytes, rows: np.ndarray) -> int:
    return content.count(np.asarray(rows, np.float32).tobytes())


@pytest.mark.parametrize("exclude", [False, True], ids=["all items", "without the context's"])
def test_the_table_is_stored_once(exclude, tmp_path):
    require_export()
    params, content = finished(True, exclude, tmp_path / "tied")
    assert copies(content, params[TABLE]) == 1
    assert copies(content, params[TABLE][1:-1]) == 1  # nor the candidates' part once more
    untied, two_tables = finished(False, exclude, tmp_path / "own")
    labels = untied["label_encoder/table"]
    assert copies(two_tables, untied[TABLE]) == copies(two_tables, labels) == 1
    saved = len(two_tables) - len(content)
    assert abs(saved - labels.nbytes) < 500
