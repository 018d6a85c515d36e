"""SLICEs of one tensor become a SPLIT, and results stay the same to the bit."""

from collections import Counter

import numpy as np
import pytest

from flaxrec.tflite import flatbuffer, splits
from flaxrec.tflite.graph_writer import GraphWriter
from flaxrec.tflite.runtime import TfliteModel

schema = pytest.importorskip(
    "ai_edge_litert.schema_py_generated", reason="needs the extra 'export'"
)


def sliced(ends: list[tuple[list[int], list[int]]], dtype: str = "float32") -> bytes:
    """The input x [6, 8] -> the parts (begin, size), and each with one added."""
    graph = schema.SubGraphT(tensors=[], operators=[], inputs=[], outputs=[])
    signature = schema.SignatureDefT(inputs=[], outputs=[], signatureKey="serving_default")
    model = schema.ModelT(
        version=3, subgraphs=[graph], buffers=[schema.BufferT()], operatorCodes=[]
    )
    model.signatureDefs = [signature]
    ops = GraphWriter(model)
    x = ops.input("x", [6, 8], dtype)
    parts = [ops.slice(x, begin, size) for begin, size in ends]
    sums = {f"sum{n}": part + 1 for n, part in enumerate(parts)}
    ops.set_outputs(**{f"part{n}": part for n, part in enumerate(parts)}, **sums)
    return flatbuffer.write(model)


def columns(*places: int, width: int = 2) -> list[tuple[list[int], list[int]]]:
    return [([0, place], [6, width]) for place in places]


ROWS = [([n, 0], [1, 8]) for n in (5, 0, 3)]


@pytest.mark.parametrize(
    ("ends", "left", "made"),
    [
        (columns(0, 2, 6), 0, 1),  # three of four parts, the third is not read
        (columns(6, 0), 0, 1),
        (columns(0, 2, 0), 1, 1),  # the second of the same part stays
        (ROWS, 0, 1),
        (columns(0, 2, 6) + ROWS, 0, 2),
        (columns(4), 1, 0),  # alone
        (columns(0, 2, width=1), 2, 0),  # two of eight
        (columns(1, 3), 2, 0),  # between the parts
        (columns(0, 3, width=3), 2, 0),  # eight is no multiple
        ([([0, 0], [3, 4]), ([3, 4], [3, 4])], 2, 0),  # of two axes
    ],
)
def test_parts_of_an_axis(ends, left, made):
    before = sliced(ends)
    after = flatbuffer.finish(splits.merge_slices(before))
    counts = Counter(flatbuffer.operators(after))
    assert (counts["SLICE"], counts["SPLIT"]) == (left, made)
    x = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    own, others = (TfliteModel(content)({"x": x}) for content in (before, after))
    assert own.keys() == others.keys()
    for n, (begin, size) in enumerate(ends):
        part = x[begin[0] : begin[0] + size[0], begin[1] : begin[1] + size[1]]
        np.testing.assert_array_equal(others[f"part{n}"], part)
        np.testing.assert_array_equal(others[f"sum{n}"], own[f"sum{n}"])


def test_what_is_no_float_stays():
    content = flatbuffer.finish(sliced(columns(0, 2, 6), "int32"))
    assert flatbuffer.finish(splits.merge_slices(content)) == content
