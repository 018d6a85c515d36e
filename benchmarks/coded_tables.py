"""Bytes, latency and lists of each form of a label table, on generated tables of width 64.

    python benchmarks/coded_tables.py [--items=10000,100000,1000000] [--calls=300]
        [--recipes=int8,int4,pq8,pq16]

The graph is the smallest that has both uses of a tied table: the sum of ten items' rows, scaled,
times all rows, ranked as in an export. Two tables a size: 'normal', independent normal numbers,
which no code can shorten without loss; 'decaying', near 2,000 centres, with directions of falling
size, as trained tables have. Contexts are ten rows near each other. Ratios are to int8, side by
side in one run; overlap is of the ten best with the float32 file's.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from flaxrec.exporting import choice, judge, topk
from flaxrec.measuring.comparison import Options, compare
from flaxrec.measuring.comparison_table import render
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.graph_writer import GraphWriter
from flaxrec.tflite.inspection import inspect
from flaxrec.tflite.metadata import IDS, SCORES

WIDTH, LENGTH, TOP = 64, 10, 100


def tables(rows: int) -> dict[str, np.ndarray]:
    """Tables [rows, 64] by name; row 0 is zero."""
    random = np.random.default_rng(0)
    normal = random.normal(size=(rows, WIDTH)).astype(np.float32)
    turn = np.linalg.qr(random.normal(size=(WIDTH, WIDTH)))[0]
    sizes = (0.96 ** np.arange(WIDTH)).astype(np.float32)
    centres = random.normal(size=(2000, WIDTH))[random.integers(0, 2000, rows)]
    decaying = ((0.7 * centres + 0.7 * normal) * sizes) @ turn
    made = {"normal": normal, "decaying": decaying.astype(np.float32)}
    for table in made.values():
        table[0] = 0
    return made


def file_of(table: np.ndarray) -> bytes:
    """The float32 file: ids -> the TOP rows by their product with the ids' rows."""
    schema: Any = flatbuffer.schema()
    graph = schema.SubGraphT(tensors=[], operators=[], inputs=[], outputs=[])
    signature = schema.SignatureDefT(inputs=[], outputs=[], signatureKey="serving_default")
    model = schema.ModelT(
        version=3,
        subgraphs=[graph],
        buffers=[schema.BufferT()],
        operatorCodes=[],
        signatureDefs=[signature],
    )
    ops = GraphWriter(model)
    ids, constant = ops.input("ids", [LENGTH], "int32"), ops.constant(table)
    looked_up = ops._append("EMBEDDING_LOOKUP", [ids, constant], [LENGTH, WIDTH], "float32")
    context = ops.reduce_sum(looked_up, 0, keepdims=True) * np.float32(0.05)
    scores = ops.reshape(ops.matmul(context, constant, transpose_b=True), [-1])
    values, places = topk.top_k(scores, TOP)
    ops.set_outputs(**{IDS: places, SCORES: ops.sigmoid(values)})
    return flatbuffer.finish(flatbuffer.write(model))


def contexts(table: np.ndarray, count: int) -> np.ndarray:
    """Ids [count, 10]: a row and the nine most like it of some thousand."""
    random = np.random.default_rng(1)
    some = random.choice(np.arange(1, len(table)), min(4000, len(table) - 1), replace=False)
    likeness = table[some[:count]] @ table[some].T
    return some[np.argsort(-likeness, axis=1)[:, :LENGTH]].astype(np.int32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", default="10000,100000,1000000")
    parser.add_argument("--recipes", default="int8,int4,pq8,pq16")
    parser.add_argument("--calls", type=int, default=300)
    given = parser.parse_args()
    for rows in map(int, given.items.split(",")):
        for name, table in tables(rows).items():
            plain = file_of(table)
            asked = {"ids": contexts(table, 100)}
            expected = judge.run(plain, asked, range(rows)).ids
            with tempfile.TemporaryDirectory() as folder:
                paths = []
                for recipe in given.recipes.split(","):
                    paths.append(Path(folder) / f"{recipe}.tflite")
                    paths[-1].write_bytes(choice.quantized(plain, recipe))
                    found = judge.run(paths[-1].read_bytes(), asked, range(rows)).ids
                    overlap = judge.overlap(found, expected, 10).mean()
                    print(f"{rows:,} {name} {recipe}: overlap@10 {overlap:.3f}", flush=True)
                files = [inspect(path) for path in paths]
                print(render(compare(files, Options(calls=given.calls)), "text"), flush=True)


if __name__ == "__main__":
    main()
