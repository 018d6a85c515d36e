"""Compares exact top-K over large catalogues with TOPK_V2 over all scores.

    python benchmarks/large_catalogues.py [--items=10000,100000,1000000] [--calls=500]

The model is a bag of words over ten ids with tables of normal numbers and one hidden layer of 32.
Both files come from the same model; the first ranks all scores by TOPK_V2. The second's lists are
checked against the first's on a hundred contexts.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import small_network

from flaxrec.config import Config, ExportConfig
from flaxrec.exporting import bundle, coarse, converter, ranked_lists, serving, topk
from flaxrec.exporting.serving import ServingModel
from flaxrec.measuring.comparison import Options, compare
from flaxrec.measuring.comparison_table import render
from flaxrec.tflite.inspection import inspect
from flaxrec.tflite.metadata import IDS, SCORES
from flaxrec.tflite.runtime import TfliteModel


def model_of(items: int, width: int) -> ServingModel:
    """A model with random parameters, of this size."""
    config = Config(model=small_network.network("bow", width))
    spec = small_network.spec_of(config.model, items)
    structure = serving.structure_of(config, spec)
    random = np.random.default_rng(0)
    params = {
        name: jax.numpy.asarray(random.normal(size=shape.shape, scale=0.25), "float32")
        for name, shape in structure.shapes.items()
    }
    return ServingModel(config, spec, structure, params)


def write(model: ServingModel, options: ExportConfig, file: Path) -> None:
    """Writes the finished float32 .tflite."""
    with tempfile.TemporaryDirectory() as folder:
        file.write_bytes(bundle.make_float_file(model, options, Path(folder) / "saved_model"))


def write_plain(model: ServingModel, options: ExportConfig, file: Path) -> None:
    """As `write`, with TOPK_V2 over all scores."""
    tf = converter.import_tensorflow()
    ours: tuple[Callable, int] = topk.top_k, coarse.FROM
    topk.top_k, coarse.FROM = tf.math.top_k, 2**62
    try:
        write(model, options, file)
    finally:
        topk.top_k, coarse.FROM = ours


def check(plain: Path, ours: Path, model: ServingModel) -> None:
    """Raises AssertionError if the files' lists differ by more than rounding."""
    files = TfliteModel(plain), TfliteModel(ours)
    (spec,) = model.spec.inputs
    for ids in np.random.default_rng(1).integers(1, spec.rows, (100, spec.length), np.int32):
        first, second = (file({spec.name: ids}) for file in files)
        differ = first[IDS] != second[IDS]
        np.testing.assert_allclose(first[SCORES], second[SCORES], atol=ranked_lists.SCORE_TOLERANCE)
        assert differ.mean() < 0.1, "the lists differ"


def main() -> None:
    """Prints a table for each catalogue."""
    parser = small_network.parser(__doc__)
    parser.add_argument("--items", default="10000,100000,1000000", help="sizes of catalogues")
    parser.add_argument("--width", type=int, default=16, help="D of both tables")
    parser.add_argument("--top_k", type=int, default=100, help="K")
    parser.add_argument("--calls", type=int, default=500, help="of each file")
    arguments = parser.parse_args()
    for items in small_network.integers(arguments.items):
        model, options = model_of(items, arguments.width), ExportConfig(top_k=arguments.top_k)
        with tempfile.TemporaryDirectory() as folder:
            plain, ours = (Path(folder) / f"{name}-{items}.tflite" for name in ("plain", "ours"))
            write_plain(model, options, plain)
            write(model, options, ours)
            check(plain, ours, model)
            measured = compare([inspect(plain), inspect(ours)], Options(calls=arguments.calls))
            print(render(measured, "markdown", ()), flush=True)


if __name__ == "__main__":
    main()
