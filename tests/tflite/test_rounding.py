"""Scales and integers: by hand, beside a search of every scale, and what holds of all weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxrec.tflite.rounding import Rounded, by_factor, by_row, by_tensor


def decoded(rounded: Rounded) -> np.ndarray:
    scales = scales_of(rounded)
    return rounded.values * scales.reshape(-1, *[1] * (rounded.values.ndim - 1))


def scales_of(rounded: Rounded) -> np.ndarray:
    return rounded.scales * (1 if rounded.factors is None else rounded.factors)


def row_errors(weights: np.ndarray, scale: float, limit: int) -> np.ndarray:
    """Size of each row's error, float64 [R]."""
    kept = np.clip(np.round(weights / scale), -limit, limit) * scale
    return np.sqrt(((kept - weights) ** 2).sum(axis=1))


def normal(rows: int, width: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


# ---- a scale a row --------------------------------------------------------------------------


def test_eight_bits_by_row_by_hand():
    weights = np.array([[1.27, -0.5, 0.01], [-2.54, 0.04, 0.0]], np.float32)
    rounded = by_row(weights, 8)
    np.testing.assert_allclose(rounded.scales, [0.01, 0.02], rtol=1e-6)
    assert rounded.values.tolist() == [[127, -50, 1], [-127, 2, 0]]
    assert (rounded.values.dtype, rounded.scales.dtype) == (np.int8, np.float32)


def test_four_bits_cut_off_where_that_errs_less():
    # One weight of 7 and thirty of 0.5: with scale 1 all thirty become 0, an error of 30 / 4; a
    # scale that gets them right loses more on the one. With seven hundred it is the other way.
    few = by_row(np.array([[7.0] + [0.5] * 30], np.float32), 4)
    many = by_row(np.array([[7.0] + [0.5] * 700], np.float32), 4)
    assert few.scales[0] > 0.7
    assert many.scales[0] < 0.7
    assert many.values[0, 0] == 7
    assert set(many.values[0, 1:].tolist()) == {1}


@pytest.mark.parametrize("bits", [8, 4])
def test_by_row_is_nearly_the_best_of_all_scales(bits):
    weights, limit = normal(40), 2 ** (bits - 1) - 1
    rounded = by_row(weights, bits)
    for row, scale in zip(weights, rounded.scales, strict=True):
        scales = np.abs(row).max() / limit * np.linspace(0.3, 1.0, 701)
        best = min(row_errors(row[None], s, limit)[0] for s in scales)
        assert row_errors(row[None], scale, limit)[0] <= 1.25 * best


def test_rows_do_not_depend_on_each_other():
    weights = normal(6)
    whole = by_row(weights * np.float32([[1], [10], [100], [1e3], [1e-3], [1e-6]]), 8)
    alone = by_row(weights, 8)
    np.testing.assert_array_equal(whole.values, alone.values)


# ---- a factor a row -------------------------------------------------------------------------


def test_factors_by_hand():
    # The rows' own scales are 0.01 and 0.02: the larger is 127 times the one scale, and half of it
    # lies between 63 and 64 times.
    weights = np.array([[1.27, -0.5, 0.01], [-2.54, 0.04, 0.0]], np.float32)
    rounded = by_factor(weights, 8)
    np.testing.assert_allclose(rounded.scales, [0.02 / 127], rtol=1e-6)
    assert rounded.factors.tolist() == [64, 127]
    assert rounded.values.tolist() == [[126, -50, 1], [-127, 2, 0]]
    kinds = [array.dtype for array in (rounded.values, rounded.scales, rounded.factors)]
    assert kinds == [np.int8, np.float32, np.int8]


@pytest.mark.parametrize("bits", [8, 4])
def test_factors_serve_rows_as_well_as_scales_of_their_own(bits):
    weights = normal(200, 32) * np.geomspace(0.5, 4, 200, dtype=np.float32)[:, None]

    def errors(rounded):
        return np.linalg.norm(decoded(rounded) - weights, axis=1) / np.linalg.norm(weights, axis=1)

    own, factor, one = (errors(make(weights, bits)) for make in (by_row, by_factor, by_tensor))
    assert factor.mean() < 1.06 * own.mean()
    assert one.mean() > 1.2 * own.mean()


def test_rows_far_below_the_largest_have_the_smallest_factor():
    weights = normal(3) * np.float32([[1], [1e-6], [0]])
    rounded = by_factor(weights, 8)
    assert rounded.factors.tolist() == [127, 1, 1]
    assert not rounded.values[1:].any()


# ---- one scale ------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("power", [2.0, 0.25])
def test_by_tensor_is_nearly_the_best_of_all_scales(bits, power):
    weights = normal(300) * np.geomspace(0.5, 4, 300, dtype=np.float32)[:, None]
    limit = 2 ** (bits - 1) - 1
    rounded = by_tensor(weights, bits, power)
    assert rounded.scales.shape == (1,)

    def cost(scale):
        return (row_errors(weights, scale, limit) ** power).sum()

    best = min(map(cost, np.abs(weights).max() / limit * np.linspace(0.05, 1.0, 400)))
    assert cost(rounded.scales[0]) <= 1.02 * best
    assert cost(rounded.scales[0]) <= cost(np.abs(weights).max() / limit) + 1e-6


def test_a_low_power_does_not_let_one_row_set_the_scale():
    weights = normal(400)
    weights[7] *= 50
    mean, robust = by_tensor(weights, 8, 2.0), by_tensor(weights, 8, 0.25)
    others = np.delete(np.arange(400), 7)
    errors = [row_errors(weights[others], r.scales[0], 127).mean() for r in (mean, robust)]
    assert errors[1] < 0.2 * errors[0]
    assert np.abs(robust.values[7]).max() == 127


def test_a_large_table_is_sampled():
    weights = normal(150_000, 8)
    whole, half = by_tensor(weights, 8), by_tensor(weights[::2], 8)
    assert whole.values.shape == weights.shape
    np.testing.assert_allclose(whole.scales, half.scales, rtol=0.1)


# ---- both -----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [by_row, by_factor, by_tensor])
@pytest.mark.parametrize("bits", [8, 4])
def test_zeros_stay_zero(make, bits):
    rounded = make(np.zeros((3, 4), np.float32), bits)
    assert not rounded.values.any()
    assert (rounded.scales > 0).all()


@given(
    st.integers(1, 5),
    st.integers(1, 9),
    st.sampled_from([1e-44, 1e-30, 1e-3, 1.0, 1e15]),
    st.sampled_from([8, 4]),
    st.sampled_from([by_row, by_factor, by_tensor]),
)
def test_integers_and_scales_are_within_bounds(rows, width, size, bits, make):
    weights = normal(rows, width, seed=rows * width) * np.float32(size)
    rounded = make(weights, bits)
    limit = 2 ** (bits - 1) - 1
    assert np.abs(rounded.values).max() <= limit
    assert (rounded.scales >= np.finfo(np.float32).tiny).all()
    assert len(rounded.scales) == (rows if make is by_row else 1)
    assert (rounded.factors is not None) == (make is by_factor)
    # Off by half a step, or cut off: the integer is the outermost one then.
    off = np.abs(decoded(rounded) - weights)
    steps = scales_of(rounded).reshape(-1, 1)
    assert ((off <= 0.501 * steps) | (np.abs(rounded.values) == limit)).all()
    np.testing.assert_array_equal(np.sign(rounded.values) * np.sign(weights) >= 0, True)


def test_more_axes_than_two():
    kernel = normal(6, 24).reshape(6, 2, 3, 4)
    assert by_row(kernel, 8).values.shape == kernel.shape
    np.testing.assert_array_equal(
        by_row(kernel, 8).values.reshape(6, 24), by_row(kernel.reshape(6, 24), 8).values
    )
    assert by_tensor(kernel, 4).values.shape == kernel.shape


def test_bytes_by_hand():
    values = np.array([[1, -1], [7, -7], [3, 0]], np.int8)
    eight = Rounded(values, np.ones(1, np.float32), 8).packed()
    assert eight.tolist() == [1, 255, 7, 249, 3, 0]
    four = Rounded(values, np.ones(1, np.float32), 4).packed()
    assert four.tolist() == [0xF1, 0x97, 0x03]
    odd = Rounded(values.reshape(-1)[:5], np.ones(1, np.float32), 4).packed()
    assert odd.tolist() == [0xF1, 0x97, 0x03]
