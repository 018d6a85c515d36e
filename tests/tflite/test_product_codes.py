"""Product codes: the codes beside a plain reading of them, and files that read them."""

import functools

import numpy as np
import pytest

from flaxrec.errors import ExportError
from flaxrec.exporting import logits
from flaxrec.tflite import flatbuffer, product_codes, runtime_versions
from flaxrec.tflite.product_codes import CENTROIDS, Codes
from flaxrec.tflite.quantize import quantize
from tests.support.small_models import Weights, drawn, made, quantised, runs

ROWS, WIDTH, PARTS = 2500, 20, 8


def grouped(rows: int = ROWS, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    """Rows near 40 centres in a few of the directions, as trained tables have; row 0 is zero."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(40, 6)) @ random.normal(size=(6, width))
    table = centres[random.integers(40, size=rows)] + 0.3 * random.normal(size=(rows, width))
    table[0] = 0
    return table.astype(np.float32)


@functools.cache
def codes_of(parts: int = PARTS) -> Codes:
    return product_codes.encode(grouped(), parts)


def read_plainly(codes: Codes, row: int) -> np.ndarray:
    """A row by the words of the module."""
    parts, _, _ = codes.centroids.shape
    found = []
    for part in range(parts):
        pair = int(codes.codes[part % (parts // 2), row])
        number = pair // CENTROIDS if part < parts // 2 else pair % CENTROIDS
        found += (codes.centroids[part, number] * float(codes.scale)).tolist()
    return codes.rotation * float(codes.turn) @ np.array(found)


def test_rows_are_their_centroids_turned_back():
    codes, table = codes_of(), grouped()
    assert codes.codes.shape == (PARTS // 2, ROWS)
    assert codes.codes.dtype == np.int16
    assert codes.codes.min() >= 0
    decoded = codes.decoded()
    for row in (0, 1, 777, ROWS - 1):
        np.testing.assert_allclose(decoded[row], read_plainly(codes, row), atol=1e-5)
    assert not decoded[0].any()  # padding's
    assert np.square(decoded - table).sum() < 0.05 * np.square(table).sum()


def test_no_other_number_of_a_part_is_nearer():
    codes, table = codes_of(), grouped()
    turned = (table @ (codes.rotation * codes.turn)).reshape(ROWS, PARTS, -1)
    numbers = np.concatenate(np.divmod(codes.codes, CENTROIDS))
    for part in range(PARTS):
        centres = codes.centroids[part] * codes.scale
        distances = np.square(turned[1:, part, None] - centres).sum(axis=2)
        own = distances[np.arange(ROWS - 1), numbers[part, 1:]]
        np.testing.assert_allclose(own, distances.min(axis=1), atol=1e-4)


def test_the_rotation_keeps_lengths():
    rotation = codes_of().rotation * codes_of().turn
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(WIDTH), atol=0.03)


def test_the_rotation_halves_the_error_where_few_directions_matter(monkeypatch):
    random = np.random.default_rng(2)
    directions = np.linalg.svd(random.normal(size=(16, 16)))[0]
    table = random.normal(size=(2000, 16)) * 0.7 ** np.arange(16) @ directions
    table = table.astype(np.float32)
    turned = product_codes.encode(table, 4)
    monkeypatch.setattr(np.linalg, "svd", lambda _: (np.eye(16), None, np.eye(16)))
    unturned = product_codes.encode(table, 4)
    errors = [np.square(codes.decoded() - table).sum() for codes in (turned, unturned)]
    assert errors[0] < 0.5 * errors[1]


def test_the_same_table_has_the_same_codes():
    again = product_codes.encode(grouped(), PARTS)
    np.testing.assert_array_equal(again.codes, codes_of().codes)


@pytest.mark.parametrize("rows", [1, 30])
def test_few_rows(rows):
    table = grouped(rows + 1)[1:]
    decoded = product_codes.encode(table, PARTS).decoded()
    assert np.square(decoded - table).sum() < 0.01 * np.square(table).sum()


# ---- in a file ------------------------------------------------------------------------------


def weights_of(tied: bool) -> Weights:
    weights = drawn(ROWS, WIDTH, tied=True)
    labels = None if tied else grouped(seed=1)
    return Weights(grouped(), weights.kernel, weights.bias, labels)


def stored(weights: Weights) -> Weights:
    """As the codes hold them."""
    labels = weights.labels
    return Weights(
        codes_of().decoded(),
        weights.kernel.astype(np.float16).astype(np.float32),
        weights.bias,
        None if labels is None else product_codes.encode(labels, PARTS).decoded(),
    )


@pytest.mark.parametrize("tied", [False, True])
def test_results_are_those_of_the_decoded_tables(tied):
    weights = weights_of(tied)
    content, expected = quantised(weights, "pq8"), stored(weights)
    for xnnpack in (True, False):
        for ids in ([0, 1, 2, ROWS - 1, 5], [7, 7, 0, 0, 0]):
            rows, scores = runs(content, np.array(ids), xnnpack=xnnpack)
            own_rows, own = expected.run(np.array(ids))
            np.testing.assert_allclose(rows, own_rows, atol=1e-5)
            np.testing.assert_allclose(scores[0], own, atol=1e-5 * np.abs(own).max())
    tables = (1 if tied else 2) * product_codes.size(ROWS, WIDTH, PARTS)
    assert tables < len(content) < tables + 2 * WIDTH * WIDTH + 6000


def test_the_logits_are_found():
    # Without a ranking, they are the last operator's result.
    content = flatbuffer.read(quantised(weights_of(tied=True), "pq8"))
    content.signatureDefs = [
        flatbuffer.schema().SignatureDefT(inputs=[], outputs=[], signatureKey="serving_default")
    ]
    added = flatbuffer.read(logits.with_logits(flatbuffer.write(content), ROWS))
    graph = added.subgraphs[0]
    assert flatbuffer.operator_name(added, graph.operators[-1]) == "SUM"
    assert graph.outputs[-1] == graph.operators[-1].outputs[0]


def test_the_oldest_runtimes_of_codes():
    versions = runtime_versions.versions(quantised(weights_of(tied=True), "pq8"))
    assert versions["GATHER"] == 6  # places in int16
    assert runtime_versions.oldest(quantised(weights_of(tied=True), "pq8")) == {
        "tflite": "2.13.0",
        "litert": "1.0.1",
    }


def test_a_table_that_codes_do_not_make_smaller():
    few = made(drawn(200, 32))
    wide = made(weights_of(tied=True))
    gathered = made(weights_of(tied=True), also_gathered=True)
    for content, recipe in ((few, "pq8"), (wide, "pq24"), (gathered, "pq8")):
        with pytest.raises(ExportError, match=f"{recipe} makes no table of this model smaller"):
            quantize(content, recipe)
