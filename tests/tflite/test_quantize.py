"""Quantised files beside a second implementation: decoded by hand, and run with NumPy."""

import dataclasses
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxrec.config import QUANTIZATIONS
from flaxrec.errors import ExportError
from flaxrec.exporting import judge
from flaxrec.tflite import flatbuffer
from flaxrec.tflite.quantize import RECIPES as EVERY_RECIPE
from flaxrec.tflite.quantize import quantize
from tests.support.exports import NAMES, exported, require_export
from tests.support.places import ANCHORS
from tests.support.small_models import (
    LENGTH,
    NAME_OF,
    OPERATORS,
    TYPES,
    as_stored,
    constants,
    drawn,
    made,
    quantised,
    raw_of,
    runs,
)

schema = pytest.importorskip(
    "ai_edge_litert.schema_py_generated", reason="needs the extra 'export'"
)

ANCHOR = ANCHORS / "published_bow_i10o100.tflite"
# Those of product codes have tests of their own.
RECIPES = [recipe for recipe in EVERY_RECIPE if not recipe.startswith("pq")]
INTEGERS = [recipe for recipe in RECIPES if recipe != "float16"]


# ---- what the file holds --------------------------------------------------------------------


def test_the_recipes_are_those_of_the_config():
    assert [r for r in QUANTIZATIONS if r not in ("none", "auto")] == list(EVERY_RECIPE)


def test_float16_is_the_nearest_float16():
    weights = drawn(60, 16)
    held = [(name, values) for name, values, _ in constants(quantised(weights, "float16"))]
    assert {name for name, _ in held} == {"FLOAT16"}
    expected = [weights.table, weights.labels, weights.kernel]
    for mine in expected:
        rounded = mine.astype(np.float16).astype(np.float32)
        assert any(np.array_equal(values, rounded) for _, values in held)


@pytest.mark.parametrize("recipe", INTEGERS)
@pytest.mark.parametrize("tied", [False, True])
def test_integers_are_the_nearest_multiples_of_their_scale(recipe, tied):
    weights = drawn(300, 32, tied=tied)
    bits, kind = (8, "INT8") if recipe.startswith("int8") else (4, "INT4")
    limit = 2 ** (bits - 1) - 1
    held = constants(quantised(weights, recipe))
    tables = [(values, scales) for name, values, scales in held if name == kind]
    assert len(tables) == (1 if tied else 2)
    for values, scales in tables:
        assert len(scales) == (1 if recipe.endswith("_tensor") else 300)
        mine = min((weights.table, weights.labels), key=lambda w: _distance(w, values))
        steps = scales.reshape(-1, 1)
        expected = np.clip(np.round(mine / steps), -limit, limit) * steps
        np.testing.assert_allclose(values, expected, rtol=1e-6)
        assert _distance(mine, values) < (0.02 if bits == 8 else 0.25)


def _distance(mine: np.ndarray | None, values: np.ndarray) -> float:
    if mine is None:
        return np.inf
    return float(np.linalg.norm(values - mine) / np.linalg.norm(mine))


@pytest.mark.parametrize("recipe", INTEGERS)
def test_dense_kernels_become_float16(recipe):
    weights = drawn(300, 32)
    kernel = [v for name, v, _ in constants(quantised(weights, recipe)) if name == "FLOAT16"]
    assert len(kernel) == 1
    np.testing.assert_array_equal(kernel[0], weights.kernel.astype(np.float16))


@pytest.mark.parametrize("recipe", INTEGERS)
def test_kernels_that_hold_an_eighth_of_the_weights_become_eight_bits(recipe):
    # 32 * 32 of them, beside 7 * 32 * 32 in the table, and one row more.
    smaller, larger = drawn(7 * 32, 32, tied=True), drawn(7 * 32 + 1, 32, tied=True)
    (kernel, scales), *_ = (
        (values, scales)
        for _, values, scales in constants(quantised(smaller, recipe))
        if len(values) == 32
    )
    expected = np.round(smaller.kernel / scales[:, None]).clip(-127, 127) * scales[:, None]
    np.testing.assert_allclose(kernel, expected, rtol=1e-6)
    assert len(scales) == 32
    names = {len(values): name for name, values, _ in constants(quantised(larger, recipe))}
    assert names[32] == "FLOAT16"


def test_rare_items_do_not_set_the_scale_of_the_labels():
    weights = drawn(300, 16)
    weights.labels[280:] *= 8
    weights.table[280:] *= 8
    held = [(v, s) for name, v, s in constants(quantised(weights, "int8_tensor")) if name == "INT8"]
    (_, of_table), (_, of_labels) = sorted(held, key=lambda h: _distance(weights.table, h[0]))
    assert of_labels[0] < 0.6 * np.abs(weights.labels).max() / 127
    assert of_table[0] > 0.8 * np.abs(weights.table).max() / 127


# ---- what it costs --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "a_weight", "a_row"),
    [
        ("float16", 2, 0),
        ("int8", 1, 1),
        ("int8_tensor", 1, 0),
        ("int4", 0.5, 1),
        ("int4_tensor", 0.5, 0),
    ],
)
def test_a_tied_table_is_stored_once(recipe, a_weight, a_row):
    rows, width = 1000, 32
    weights = drawn(rows, width, tied=True)
    rest = 2 * width * width + 4 * width
    for also_gathered in (False, True):
        if also_gathered and a_row:  # what a gather reads of it cannot be multiplied afterwards
            a_row = 12
        table = rows * width * a_weight + rows * a_row
        size = len(quantised(weights, recipe, also_gathered=also_gathered))
        assert table + rest < size < table + rest + 2000


@settings(max_examples=25)
@given(st.integers(1, 60), st.integers(1, 12), st.booleans(), st.sampled_from(sorted(RECIPES)))
def test_no_model_becomes_larger(half_rows, half_width, tied, recipe):
    weights = drawn(2 * half_rows, 2 * half_width, tied=tied)
    before = flatbuffer.finish(made(weights))
    assert len(flatbuffer.finish(quantize(before, recipe))) <= len(before)


def test_the_smallest_weights_stay_as_they_are():
    weights = drawn(6, 4)
    before = flatbuffer.finish(made(weights))
    for recipe in RECIPES:
        assert flatbuffer.finish(quantize(before, recipe)) == before


def test_a_narrow_table_is_smaller_in_float16_than_with_a_scale_a_row():
    # 2 weights a row: 4 bytes, beside 2 + 1 and the operators that multiply.
    assert {name for name, *_ in constants(quantised(drawn(500, 2), "int8"))} >= {"FLOAT16"}
    assert "INT8" not in {name for name, *_ in constants(quantised(drawn(500, 2), "int8"))}
    assert "INT8" in {name for name, *_ in constants(quantised(drawn(500, 2), "int8_tensor"))}


@pytest.mark.parametrize("recipe", ["int4", "int4_tensor"])
def test_a_lookups_table_of_an_odd_width_becomes_eight_bits(recipe):
    weights = drawn(400, 16)
    rng = np.random.default_rng(0)
    weights = dataclasses.replace(
        weights,
        table=rng.normal(size=(400, 19)).astype(np.float32),
        kernel=rng.normal(size=(16, 19)).astype(np.float32),
    )
    content = quantised(weights, recipe)
    widths = {name: values.shape[1] for name, values, _ in constants(content)}
    assert (widths["INT8"], widths["INT4"]) == (19, 16)
    rows, _ = runs(content, np.array([0, 7, 8, 398, 399]))
    np.testing.assert_allclose(
        rows, as_stored(content, weights).table[[0, 7, 8, 398, 399]], rtol=1e-6
    )


@pytest.mark.parametrize(("rows", "expected"), [(20, "INT8"), (60, "INT4")])
def test_a_small_table_is_not_worth_four_bits(rows, expected):
    # 20 * 16 of 1,020 * 16 weights in tables are below a 32nd, 60 of 1,060 above.
    weights = dataclasses.replace(drawn(1000, 16), table=drawn(rows, 16).table)
    held = constants(quantised(weights, "int4_tensor"))
    assert {len(values): name for name, values, _ in held} == {
        1000: "INT4",
        rows: expected,
        16: "FLOAT16",
    }


def test_what_float16_cannot_hold_stays_float32():
    weights = drawn(60, 16)
    weights.kernel[3, 5] = 7e4
    held = {name: values for name, values, _ in constants(quantised(weights, "float16"))}
    np.testing.assert_array_equal(held["FLOAT32"], weights.kernel)


# ---- running it -----------------------------------------------------------------------------


@pytest.mark.parametrize("xnnpack", [True, False])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("recipe", RECIPES)
def test_results_are_those_of_the_stored_weights(recipe, tied, xnnpack):
    weights = drawn(300, 32, tied=tied)
    content = quantised(weights, recipe)
    stored = as_stored(content, weights)
    rng = np.random.default_rng(1)
    for _ in range(10):
        ids = rng.integers(0, 90, LENGTH)
        rows, logits = runs(content, ids, xnnpack=xnnpack)
        expected_rows, expected = stored.run(ids)
        np.testing.assert_allclose(rows, expected_rows, rtol=1e-6, atol=1e-7)
        # The product with integers rounds its input to 8 bits; float16 is decoded, and it does not.
        tolerance = 1e-6 if recipe == "float16" else 0.01
        assert np.abs(logits[0] - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("xnnpack", [True, False])
def test_a_kernel_of_integers_is_read_as_it_is(xnnpack):
    weights = drawn(90, 32, tied=True)
    content = quantised(weights, "int8")
    assert {name for name, *_ in constants(content)} == {"INT8"}
    stored, ids = as_stored(content, weights), np.array([3, 1, 4, 1, 5])
    _, logits = runs(content, ids, xnnpack=xnnpack)
    _, expected = stored.run(ids)
    # Two products round their input to 8 bits.
    assert np.abs(logits[0] - expected).max() <= 0.02 * np.abs(expected).max()


@pytest.mark.parametrize("recipe", RECIPES)
def test_results_are_near_those_of_the_float_file(recipe):
    weights = drawn(400, 32)
    content, ids = quantised(weights, recipe), np.array([3, 1, 4, 1, 5])
    near = {"float16": 1e-3, "int8": 0.02, "int8_tensor": 0.04, "int4": 0.25, "int4_tensor": 0.4}
    _, expected = weights.run(ids)
    _, logits = runs(content, ids)
    assert np.linalg.norm(logits[0] - expected) < near[recipe] * np.linalg.norm(expected)


@pytest.mark.parametrize("recipe", RECIPES)
def test_other_readers_of_a_table_get_it_decoded(recipe):
    weights = drawn(400, 32, tied=True)
    content = quantised(weights, recipe, also_gathered=True)
    rows, _, third = runs(content, np.array([3, 3, 3, 3, 3]))
    np.testing.assert_allclose(third, rows[:1], rtol=1e-6)
    np.testing.assert_allclose(third[0], as_stored(content, weights).table[3], rtol=1e-6)


@pytest.mark.parametrize(
    ("recipe", "version"),
    [("float16", 3), ("int8", 5), ("int8_tensor", 2), ("int4", 6), ("int4_tensor", 6)],
)
def test_versions_of_decoding(recipe, version):
    model = flatbuffer.read(quantised(drawn(400, 32, tied=True), recipe, also_gathered=True))
    codes = [c for c in model.operatorCodes if c.builtinCode == OPERATORS.DEQUANTIZE]
    assert {code.version for code in codes} == {version, 3}  # 3: the kernel's, in float16


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_is_decoded_and_multiplied(recipe):
    # float16: table, labels, kernel; of integers the kernel, and the factors of the labels' rows.
    decoded = {"float16": 3, "int8": 2, "int8_tensor": 1, "int4": 2, "int4_tensor": 1}[recipe]
    factors = recipe in ("int8", "int4")
    assert flatbuffer.operators(quantised(drawn(400, 32), recipe)) == [
        *["DEQUANTIZE"] * decoded,
        "EMBEDDING_LOOKUP",
        *["EMBEDDING_LOOKUP", "MUL"] * factors,
        "SUM",
        "FULLY_CONNECTED",
        "FULLY_CONNECTED",
        *["MUL"] * factors,
    ]


@pytest.mark.parametrize("recipe", RECIPES)
def test_versions_say_what_a_runtime_must_know(recipe):
    model = flatbuffer.read(quantised(drawn(400, 32), recipe))
    codes = [model.operatorCodes[o.opcodeIndex] for o in model.subgraphs[0].operators]
    versions = {(code.builtinCode, code.version) for code in codes}
    lookup, product = {
        "float16": (1, 1),
        "int8": (1, 9),
        "int8_tensor": (1, 9),
        "int4": (4, 12),
        "int4_tensor": (4, 12),
    }[recipe]
    of_factors = {
        (OPERATORS.DEQUANTIZE, 2),
        (OPERATORS.EMBEDDING_LOOKUP, 1),
        (OPERATORS.MUL, 1),
    }
    assert versions == {
        (OPERATORS.DEQUANTIZE, 3),
        (OPERATORS.EMBEDDING_LOOKUP, lookup),
        (OPERATORS.SUM, 1),
        (OPERATORS.FULLY_CONNECTED, 1),
        (OPERATORS.FULLY_CONNECTED, product),
        *(of_factors if recipe in ("int8", "int4") else ()),
    }


def test_the_input_of_the_product_with_integers_is_rounded_asymmetrically():
    # As XNNPACK does in any case: with a ReLU before, all 255 levels serve.
    model = flatbuffer.read(quantised(drawn(400, 32), "int8"))
    graph = model.subgraphs[0]
    rounds = [
        (NAME_OF[graph.tensors[o.inputs[1]].type], o.builtinOptions.asymmetricQuantizeInputs)
        for o in graph.operators
        if isinstance(o.builtinOptions, schema.FullyConnectedOptionsT)
    ]
    assert rounds == [("FLOAT32", False), ("INT8", True)]


# ---- exported models ------------------------------------------------------------------------


def numbers_of(content: bytes) -> set[bytes]:
    """The float32 constants that are no matrices."""
    model = flatbuffer.read(content)
    small = [
        number
        for number, tensor in enumerate(model.subgraphs[0].tensors)
        if tensor.type == TYPES.FLOAT32
        and (tensor.shape is None or sum(size > 1 for size in tensor.shape) < 2)
    ]
    return {raw_of(model, number) for number in small} - {None}


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_runs_for_every_encoder(name, tmp_path_factory):
    require_export()
    from ai_edge_litert.compiled_model import CompiledModel

    workdir = exported(tmp_path_factory, name)
    content = (workdir.export / "model.tflite").read_bytes()
    with np.load(workdir.assets / "contexts.npz") as file:
        contexts = {key: values[:40] for key, values in file.items()}
    every_row = range(10**6)
    expected = judge.run(content, contexts, every_row).ids
    k = min(20, expected.shape[1])
    least = {"float16": 0.98, "int8": 0.9, "int8_tensor": 0.85, "int4": 0.6, "int4_tensor": 0.5}
    allowed = {"DEQUANTIZE", "MUL", *flatbuffer.operators(content)}
    for recipe in RECIPES:
        small = flatbuffer.finish(quantize(content, recipe))
        ids = judge.run(small, contexts, every_row).ids
        assert judge.overlap(ids, expected, k).mean() >= least[recipe]
        assert len(small) < len(content)
        assert set(flatbuffer.operators(small)) <= allowed
        assert numbers_of(small) == numbers_of(content)  # places and the like stay exact
        assert flatbuffer.ends(small) == flatbuffer.ends(content)
        assert flatbuffer.read_metadata(small) == flatbuffer.read_metadata(content)
        CompiledModel.from_buffer(small)


@pytest.mark.skipif(not ANCHOR.exists(), reason="the published model is not here")
def test_the_published_models_label_table():
    # Its lookup is a GATHER, whose table becomes float16.
    content = ANCHOR.read_bytes()
    rng = np.random.default_rng(0)
    contexts = rng.integers(1, 3953, (200, 10), dtype=np.int32)
    expected = [runs(content, row)[0] for row in contexts]
    rest = len(flatbuffer.finish(content)) - 3953 * 16 * (4 + 2)
    least = {"float16": 0.995, "int8": 0.98, "int8_tensor": 0.96, "int4": 0.75, "int4_tensor": 0.7}
    weight = {"float16": 2, "int8": 1, "int8_tensor": 1, "int4": 0.5, "int4_tensor": 0.5}
    for recipe in RECIPES:
        small = flatbuffer.finish(quantize(content, recipe))
        ids = [runs(small, row)[0] for row in contexts]
        assert judge.overlap(np.array(ids), np.array(expected), 100).mean() >= least[recipe]
        scales = 0 if "float" in recipe or "tensor" in recipe else 3953
        assert abs(len(small) - rest - scales - 3953 * 16 * weight[recipe]) < 1500


# ---- refusals -------------------------------------------------------------------------------


def message_of(content: bytes, recipe: str) -> str:
    """The one sentence of the error."""
    with pytest.raises(ExportError) as error:
        quantize(content, recipe)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(".")
    return str(error.value)


@pytest.mark.parametrize("recipe", ["none", "auto", "int2", ""])
def test_an_unknown_recipe(recipe):
    message = message_of(made(drawn(60, 16)), recipe)
    assert message == (
        f"quantization is {recipe!r}; use one of float16, int8, int8_tensor, int4, int4_tensor, "
        "pq8, pq16, pq24."
    )


@pytest.mark.parametrize("recipe", ["int4", "int4_tensor"])
def test_four_bits_need_an_even_width(recipe):
    # The runtime would read such rows at the wrong places, without a word.
    message = message_of(made(drawn(400, 15)), recipe)
    assert message.startswith(f"{recipe} needs label encodings of an even width, but theirs is 15")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("recipe", RECIPES)
def test_weights_that_are_not_finite(recipe, value):
    weights = drawn(60, 16)
    weights.labels[3, 4] = value
    assert "not finite" in message_of(made(weights), recipe)


def test_what_is_no_model():
    assert "not a TFLite model" in message_of(b"hello world", "int8")


def test_without_the_runtime_the_remedy_is_named(monkeypatch):
    content = made(drawn(60, 16))
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    assert "install flaxrec[export]" in message_of(content, "int8")
