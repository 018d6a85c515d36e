"""The form written for conversion computes what the training form does, for any input."""

import dataclasses
import functools
import itertools

import jax
import numpy as np
import pytest

from flaxrec.config import FeatureConfig, GroupConfig
from flaxrec.exporting import serving_form
from tests.support.builders import random_model
from tests.support.grouped_models import (
    AGE,
    ALL_ENCODERS,
    GENRE,
    ITEM,
    ROWS,
    STARS,
    WIDTH,
    group,
    settings,
)

GROUPS = {
    "bow": [group("bow", ITEM)],
    "cnn": [group("cnn", ITEM)],
    "lstm": [group("lstm", ITEM)],
    "several features": [group(e, ITEM, GENRE, STARS) for e in ("bow", "cnn", "lstm")],
    "of the latest": [
        group(e, ITEM, GENRE, STARS)
        for e in ("attention", "causal_cnn", "recency_bow", "linear_rnn")
    ],
    "all encoders": list(ALL_ENCODERS),
}
# Of tied tables; as wide as the labels' encodings.
WIDE = FeatureConfig("item", "item.id", "INT", WIDTH)
TABLE = "context_encoder/groups/0/features/tables/item"


def some_long(default: list[tuple], long: list[tuple]) -> list:
    """Parameters of the default suite and of the long one."""
    return [*default, *(pytest.param(*case, marks=pytest.mark.long) for case in long)]


def any_inputs(spec, count=40) -> dict[str, np.ndarray]:
    """Ids of all rows and beyond, padding anywhere; the first context is padding only."""
    random = np.random.default_rng(5)
    inputs = {}
    for i in spec.inputs:
        if i.type == "FLOAT":
            inputs[i.name] = random.normal(size=(count, i.length)).astype("float32")
        else:
            ids = random.integers(-3, i.rows + 4, (count, i.length), np.int32)
            inputs[i.name] = np.where(random.random(ids.shape) < 0.3, 0, ids).astype("int32")
        inputs[i.name][0] = 0
    return inputs


def both(config, spec, size=3):
    structure, params = random_model(config, spec)
    params = {name: size * value for name, value in params.items()}
    return compared(structure, params, any_inputs(spec), spec)


def compared(structure, params, inputs, spec):
    """Logits of both forms."""

    @jax.jit
    def run(params):
        ours = serving_form.logits(structure, params, inputs, spec)
        return ours, structure.merge(params).logits(inputs)

    return run(params)


def assert_equal(ours, training):
    np.testing.assert_allclose(ours, training, atol=1e-5 * max(1, np.abs(training).max()))


# Those of the default suite: every encoder, both modes, every length.
DEFAULT = {
    ("bow", 5, False),
    ("cnn", 4, False),
    ("lstm", 4, False),
    ("several features", 5, False),
    ("several features", 4, True),
    ("of the latest", 4, False),
    ("of the latest", 5, True),
    ("all encoders", 1, False),
    ("all encoders", 1, True),
}


def cases() -> list:
    return [
        pytest.param(
            *case,
            id=f"{case[0]}-{case[1]}-{'reference' if case[2] else 'default'}",
            marks=() if case in DEFAULT else pytest.mark.long,
        )
        for case in itertools.product(GROUPS, (1, 4, 5), (False, True))
    ]


@pytest.mark.parametrize(("name", "length", "reference"), cases())
def test_is_the_training_form(name, length, reference):
    ours, training = both(*settings(*GROUPS[name], length=length, reference_mode=reference))
    assert np.ptp(training, axis=0).max() > 0.1  # contexts differ
    assert_equal(ours, training)


@pytest.mark.parametrize("reference", [False, True], ids=["default", "reference"])
def test_global_groups_of_one_value(reference):
    config = settings(
        group("bow", ITEM),
        global_groups=[group(e, f) for e in ("bow", "causal_cnn") for f in (AGE, STARS)],
        reference_mode=reference,
    )
    ours, training = both(*config)
    assert_equal(ours, training)


def test_without_activities_an_attention_group_is_zero():
    config, spec = settings(group("attention", ITEM), length=6, hidden=())
    structure, params = random_model(config, spec)
    ours, training = compared(structure, params, {"item": np.zeros((1, 6), np.int32)}, spec)
    bias, labels = params["context_encoder/projection/bias"], params["label_encoder/table"]
    np.testing.assert_allclose(ours[0], labels @ bias, atol=1e-6)
    np.testing.assert_allclose(training[0], labels @ bias, atol=1e-6)


# ---- attention and causal convolutions ------------------------------------------------------


def latest_in(encoder, *, length, features=(WIDE,), **fields):
    """A model of one group, and contexts that end anywhere, with holes or without."""
    own = GroupConfig(list(features), encoder, **fields)
    config, spec = settings(own, length=length, hidden=())
    structure, params = random_model(config, spec)
    inputs = any_inputs(spec, count=3 * (length + 1))
    ends = np.arange(length) < np.tile(np.arange(length + 1), 3)[:, None]
    inputs = {name: (values * ends).astype(values.dtype) for name, values in inputs.items()}
    whole = np.random.default_rng(0).integers(1, ROWS["item"], ends.shape, np.int32) * ends
    inputs["item"][::2] = whole[::2]
    return structure, params, inputs, spec


@pytest.mark.parametrize(
    ("blocks", "heads"),
    some_long([(1, 3), (3, 2)], [(1, 1), (1, 2), (1, 6), (3, 1), (3, 3), (3, 6)]),
)
def test_attention_of_every_size(blocks, heads):
    case = latest_in("attention", length=7, heads=heads, blocks=blocks)
    ours, training = compared(*case)
    assert np.ptp(training, axis=0).max() > 0.1
    assert_equal(ours, training)


@pytest.mark.parametrize("heads", [2, pytest.param(4, marks=pytest.mark.long)])
def test_attention_with_times(heads):
    """Known and unknown, from 0 to the largest, at the steps' edges."""
    ago = FeatureConfig("ago", "event.seconds_ago")
    structure, params, inputs, spec = latest_in(
        "attention", length=5, features=(WIDE, ago), width=8, heads=heads
    )
    random = np.random.default_rng(1)
    edges = 2 ** random.integers(0, 32, inputs["ago"].shape) - random.integers(1, 3, 5)
    inputs["ago"] = np.maximum(edges, -1).astype(np.int32)
    ours, training = compared(structure, params, inputs, spec)
    assert_equal(ours, training)
    inputs["ago"] = np.full_like(inputs["ago"], -1)
    unknown, training = compared(structure, params, inputs, spec)
    assert_equal(unknown, training)
    assert np.abs(unknown - ours).max() > 0.1


@pytest.mark.parametrize("encoder", ["attention", "causal_cnn"])
def test_a_width_of_its_own(encoder):
    case = latest_in(
        encoder, length=5, features=(WIDE, GENRE), width=8, heads=4, conv_kernel_size=2
    )
    ours, training = compared(*case)
    assert_equal(ours, training)


# What the last activity sees is shorter than the context, as long, and longer.
@pytest.mark.parametrize(
    ("kernel", "blocks", "length"),
    some_long(
        [(1, 2, 5), (2, 3, 7), (3, 1, 1), (3, 2, 9)], [(2, 3, 9), (3, 1, 5), (3, 2, 1), (3, 3, 20)]
    ),
)
def test_causal_convolutions_of_every_size(kernel, blocks, length):
    case = latest_in("causal_cnn", length=length, conv_kernel_size=kernel, blocks=blocks)
    ours, training = compared(*case)
    assert_equal(ours, training)


@pytest.mark.parametrize(
    ("length", "kernel", "blocks", "rows", "of_the_last_kernel"),
    [
        (50, 4, 2, 16, 4),  # all that two blocks see
        (50, 4, 3, 64, 4),  # 16 * 3 would not reach the first activities
        (50, 3, 4, 54, 2),  # 27 * 2 suffice
        (10, 4, 3, 16, 1),
    ],
)
def test_causal_convolutions_read_what_the_latest_activity_sees(
    length, kernel, blocks, rows, of_the_last_kernel
):
    case = latest_in("causal_cnn", length=length, conv_kernel_size=kernel, blocks=blocks)
    (constants,) = serving_form.fold(*case[:2]).encoders
    assert constants.rows == rows
    sizes = [len(block.kernel) for block in constants.blocks]
    assert sizes == [WIDTH * kernel] * (blocks - 1) + [WIDTH * of_the_last_kernel]


def test_folded_kernels_of_two_heads_are_no_larger():
    def kernels(heads):
        structure, params, *_ = latest_in("attention", length=4, heads=heads)
        fold = functools.partial(serving_form.fold, structure)
        (constants,) = jax.eval_shape(fold, params).encoders
        block = constants.blocks[0]
        return sum(
            leaf.size
            for leaf in (block.query, block.key, block.value, block.output)
            if leaf is not None
        )

    assert kernels(1) == 2 * WIDTH * WIDTH
    assert kernels(2) == kernels(3) == kernels(6) == 4 * WIDTH * WIDTH


def test_of_distances_the_last_block_has_those_of_the_latest_activity():
    structure, params, *_ = latest_in("attention", length=4, heads=2)
    (constants,) = serving_form.fold(structure, params).encoders
    first, last = (block.distances for block in constants.blocks)
    learned = [params[f"context_encoder/groups/0/encoder/blocks/{n}/distances"] for n in (0, 1)]
    np.testing.assert_array_equal(last, learned[1][:, ::-1])  # by head, then by key
    # Rows are by query, then by head: of the third activity, the second head's.
    np.testing.assert_array_equal(first[2 * 2 + 1, :3], learned[0][1, 2::-1])


# ---- lengths and temperatures ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoder", "tied", "normalized", "temperature"),
    some_long(
        [
            ("bow", True, False, 0.07),
            ("bow", True, True, 1.0),
            ("bow", True, True, 0.07),
            ("attention", False, True, 0.07),
        ],
        [("attention", False, False, 0.07), ("attention", False, True, 1.0)],
    ),
)
def test_normalized_and_divided_by_a_temperature(encoder, tied, temperature, normalized):
    config, spec = settings(group(encoder, WIDE))
    fields = {"tied_tables": tied, "normalized": normalized, "temperature": temperature}
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, **fields))
    ours, training = both(config, spec, size=1)
    assert not normalized or np.abs(training).max() <= 1.0001 / temperature
    assert_equal(ours, training)


@pytest.mark.parametrize("tied", [False, True])
def test_of_normalized_tables_the_vectors_are_stored_at_length_1(tied):
    config, spec = settings(group("bow", WIDE))
    model = dataclasses.replace(config.model, tied_tables=tied, normalized=True)
    structure, params = random_model(dataclasses.replace(config, model=model), spec)
    read = serving_form.fold(structure, params).params
    one, other = (TABLE, None) if tied else ("label_encoder/table", TABLE)
    lengths = np.linalg.norm(read[one], axis=1)
    np.testing.assert_allclose(lengths[tied:], 1, atol=1e-6)
    if tied:
        assert not read[one][0].any()
        labels, _ = structure.merge(read).label_rows()
        assert labels is read[one]  # one array for lookups and labels
    else:
        np.testing.assert_array_equal(read[other][1:], params[other][1:])


@pytest.mark.parametrize(
    ("encoder", "hidden", "fields"),
    [
        ("recency_bow", (), {}),
        ("recency_bow", (), {"item_bias": True, "temperature": 0.07}),
        ("recency_bow", (), {"normalized": True, "temperature": 0.07}),
        ("bow", (), {"temperature": 0.5}),  # nothing to fold the temperature into
        ("bow", (), {"normalized": True, "item_bias": True, "tied_tables": False}),
        ("recency_bow", (5, WIDTH), {"temperature": 0.07, "item_bias": True}),
    ],
)
def test_without_a_projection(encoder, hidden, fields):
    config, spec = settings(group(encoder, WIDE), length=5, hidden=hidden)
    fields = {"tied_tables": True, "projection": False} | fields
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, **fields))
    ours, training = both(config, spec, size=1)
    assert np.ptp(training, axis=0).max() > 0.1
    assert_equal(ours, training)


def test_an_items_bias_is_added_to_its_logit():
    config, spec = settings(group("bow", WIDE))
    model = dataclasses.replace(config.model, tied_tables=True, item_bias=True)
    structure, params = random_model(dataclasses.replace(config, model=model), spec)
    bias = params["label_encoder/bias"]
    inputs = any_inputs(spec, count=3)
    ours, training = compared(structure, params, inputs, spec)
    without = params | {"label_encoder/bias": bias * 0}
    for found, base in zip(
        (ours, training), compared(structure, without, inputs, spec), strict=True
    ):
        np.testing.assert_allclose(found - base, np.tile(bias, (3, 1)), atol=1e-5)


# ---- padding and state ----------------------------------------------------------------------


def test_a_long_hole_leaves_the_state_of_an_lstm():
    """Closed gates are closed to the bit, however many of them there are."""
    config, spec = settings(group("lstm", ITEM), length=60)
    structure, params = random_model(config, spec)
    whole = np.zeros((2, 60), np.int32)
    whole[0, :2] = whole[1, [0, 59]] = [3, 7]
    ours = serving_form.logits(structure, params, {"item": whole}, spec)
    np.testing.assert_array_equal(ours[0], ours[1])


def test_of_the_tables_only_row_0_changes():
    config, spec = settings(group("bow", ITEM, GENRE), reference_mode=True)
    structure, params = random_model(config, spec)
    changed = serving_form.fold(structure, params).params
    assert set(changed) == set(params)
    for name, value in params.items():
        if "/tables/" in name:
            assert not changed[name][0].any()
            assert value[0].any()
            np.testing.assert_array_equal(changed[name][1:], value[1:])
        else:
            np.testing.assert_array_equal(changed[name], value)
