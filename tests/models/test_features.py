"""Embedding, mask and concatenation, against a second implementation in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flaxrec.config import Config, FeatureConfig, GroupConfig
from flaxrec.data.spec import InputSpec
from flaxrec.models.features import GroupFeatures, clamp, embedding_init, lookup, tap

INT32 = np.iinfo(np.int32)


def group(*inputs, reference=False, dtype=jnp.float32):
    """GroupFeatures of (name, type, rows, width), with tables that have no zero row.

    Returns:
      The module and its tables by name.
    """
    features = [FeatureConfig(name, "item.id", kind, width) for name, kind, _, width in inputs]
    specs = {
        name: InputSpec(name, "item.id", kind, 4, rows, name if rows else "")
        for name, kind, rows, _ in inputs
    }

    def make():
        return GroupFeatures(
            GroupConfig(features),
            specs,
            unit_items=False,
            rate=0.0,
            quirks=Config(reference_mode=reference).quirks,
            dtype=jnp.dtype(dtype),
            rngs=nnx.Rngs(0),
        )

    graphdef, state = nnx.split(nnx.eval_shape(make))
    random = np.random.default_rng(0)
    state = jax.tree.map(lambda s: jnp.asarray(random.normal(size=s.shape), s.dtype), state)
    module = nnx.merge(graphdef, state)
    return module, {name: np.asarray(module.tables[name].get_value()) for name in module.tables}


# ---- order, mask, concatenation -------------------------------------------------------------


def test_embedded_by_name_then_numbers_by_config():
    # Upper case sorts before lower case, as Python's strings do; numbers keep the config's order.
    module, tables = group(
        ("weight", "FLOAT", 0, 0),
        ("item", "INT", 9, 3),
        ("Tag", "STRING", 6, 2),
        ("genre", "STRING", 5, 1),
        ("age", "FLOAT", 0, 0),
    )
    features = {
        "item": np.array([[1, 2, 8, 0], [3, 0, 5, 1]], np.int32),
        "Tag": np.array([[1, 5, 1, 1], [2, 2, 2, 0]], np.int32),
        "genre": np.array([[4, 0, 1, 0], [1, 1, 3, 3]], np.int32),
        "weight": np.array([[0.5, 1.5, 2.5, 3.5], [4.5, 5.5, 6.5, 7.5]], np.float32),
        "age": np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]], np.float32),
    }
    x, mask = jax.jit(module)(features)
    assert module.channels == 2 + 1 + 3 + 2
    assert x.shape == (2, 4, module.channels)
    assert x.dtype == mask.dtype == jnp.float32
    # An activity counts where no id is 0, also between others that do.
    np.testing.assert_array_equal(mask, [[1, 0, 1, 0], [1, 0, 1, 0]])
    expected = np.zeros((2, 4, 8), np.float32)
    for b in range(2):
        for position in range(4):
            at = {name: values[b, position] for name, values in features.items()}
            if at["item"] and at["Tag"] and at["genre"]:
                expected[b, position, :2] = tables["Tag"][at["Tag"]]
                expected[b, position, 2] = tables["genre"][at["genre"], 0]
                expected[b, position, 3:6] = tables["item"][at["item"]]
                expected[b, position, 6:] = at["weight"], at["age"]
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("reference", [False, True])
def test_numbers_alone_are_not_masked(reference):
    module, tables = group(("b", "FLOAT", 0, 0), ("a", "FLOAT", 0, 0), reference=reference)
    assert not tables
    b, a = np.array([[1.0, 0.0, 3.0]], np.float32), np.array([[0.0, 5.0, 6.0]], np.float32)
    x, mask = jax.jit(module)({"a": a, "b": b})
    np.testing.assert_array_equal(x, [[[1, 0], [0, 5], [3, 6]]])
    np.testing.assert_array_equal(mask, [[1, 1, 1]])


def test_bfloat16_between_float32_tables():
    module, tables = group(("item", "INT", 9, 3), ("weight", "FLOAT", 0, 0), dtype=jnp.bfloat16)
    features = {"item": np.array([[1, 8, 0]], np.int32), "weight": np.ones((1, 3), np.float32)}
    x, mask = jax.jit(module)(features)
    assert x.dtype == mask.dtype == jnp.bfloat16
    assert tables["item"].dtype == np.float32
    # 8 bits of mantissa: half a unit in the last place is 1/256 of the value.
    x = np.asarray(x).astype("float32")
    np.testing.assert_allclose(x[0, :2, :3], tables["item"][[1, 8]], rtol=1 / 256)


# ---- ids outside the table ------------------------------------------------------------------


def test_clamp():
    ids = jnp.array([INT32.min, -2, -1, 0, 1, 8, 9, 10, INT32.max])
    expected = [0, 0, 0, 0, 1, 8, 9, 9, 9]
    assert clamp(ids, 10).tolist() == expected
    assert jax.jit(clamp, static_argnums=1)(ids, 10).tolist() == expected


@pytest.mark.parametrize("compiled", [False, True])
def test_ids_outside_the_table_are_padding_or_unknown(compiled):
    module, tables = group(("item", "INT", 10, 3))

    def run(ids):
        return module({"item": ids})

    ids = np.array([[INT32.min, -1, 0, 3, 9, 10, 4000, INT32.max]], np.int32)
    x, mask = (jax.jit(run) if compiled else run)(ids)
    np.testing.assert_array_equal(mask, [[0, 0, 0, 1, 1, 1, 1, 1]])
    zero, unknown = np.zeros(3), tables["item"][9]
    expected = [zero, zero, zero, tables["item"][3], unknown, unknown, unknown, unknown]
    np.testing.assert_array_equal(np.asarray(x)[0], np.stack(expected).astype("float32"))


# ---- gradients ------------------------------------------------------------------------------


def test_padding_row_gets_no_gradient():
    module, _ = group(("item", "INT", 6, 2), ("genre", "STRING", 5, 3))
    graphdef, state = nnx.split(module)
    item = np.array([[1, 0, 3, 5, 9, -4]], np.int32)  # 9 is 'unknown', -4 padding
    genre = np.array([[1, 2, 0, 2, 4, 1]], np.int32)

    def total(state):
        x, _ = nnx.merge(graphdef, state)({"item": item, "genre": genre})
        return x.sum()

    tables = jax.jit(jax.grad(total))(state)["tables"]
    # Of the six activities 0, 3 and 4 count; each adds its row's values to the total once.
    rows = {name: np.asarray(tables[name].get_value())[:, 0].tolist() for name in tables}
    assert rows == {"item": [0, 1, 0, 0, 0, 2], "genre": [0, 1, 1, 0, 1]}


# ---- initial values -------------------------------------------------------------------------


initial = jax.jit(
    lambda special_rows, shape: embedding_init(special_rows)(jax.random.key(0), shape),
    static_argnums=(0, 1),
)


@pytest.mark.parametrize("width", [8, 16])
def test_truncated_normal(width):
    table = np.asarray(initial(False, (80_000 // width, width)))
    # Deviation 1/sqrt(width) before the cut at two deviations, which leaves 0.8796 of it.
    assert np.abs(table).max() <= 2 / np.sqrt(width)
    assert np.abs(table).max() > 1.95 / np.sqrt(width)
    assert table.std() == pytest.approx(0.88 / np.sqrt(width), rel=0.05)
    assert abs(table.mean()) < 0.01 / np.sqrt(width)
    assert table.dtype == np.float32


def test_padding_and_unknown_start_at_zero():
    table = np.asarray(initial(True, (12, 4)))
    assert not table[[0, -1]].any()
    assert table[1:-1].all()
    assert np.asarray(initial(False, (12, 4))).all()


# ---- the norm of the gradient before repeated rows are summed -----------------------------------


def test_a_tap_measures_the_gradient_row_by_row():
    """Row 2 is looked up twice, with gradients 3 and -3: together 0, apart 3^2 + 3^2 (+ 1^2)."""
    ids, weights = np.array([2, 2, 1]), np.array([[3.0], [-3.0], [1.0]], np.float32)

    @jax.jit
    def loss_and_gradients(*arguments):
        def loss(table, zero):
            return jnp.sum(weights * tap(lookup(table, ids), zero))

        return jax.value_and_grad(loss, argnums=(0, 1))(*arguments)

    loss, (gradient, squares) = loss_and_gradients(np.ones((4, 1), np.float32), np.float32(0))
    assert float(loss) == 1.0
    assert gradient.tolist() == [[0.0], [1.0], [0.0], [0.0]]
    assert float(squares) == 3**2 + 3**2 + 1**2


def test_lookups_are_tapped_in_reference_mode_only():
    inputs = (("b", "INT", 5, 2), ("a", "STRING", 5, 2), ("x", "FLOAT", 0, 0))
    assert sorted(group(*inputs, reference=True)[0].taps) == ["a", "b"]
    assert not group(*inputs)[0].taps
