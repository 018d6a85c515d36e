"""Packed sorts beside polars' and Python's own."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxrec.data import orders

FAR = st.sampled_from([0, 1, -1, 2**31, -(2**31), 2**62, -(2**62), 2**63 - 1, -(2**63)])
IDS = st.one_of(
    st.lists(st.integers(-3, 3), min_size=1),
    st.lists(FAR, min_size=1),
    st.lists(st.text("aé\0", max_size=3), min_size=1),
)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Several blocks also where there are few rows."""
    monkeypatch.setattr(orders, "_BLOCK", 3)


def check(ids: pl.Series) -> None:
    place, distinct = orders.coded(ids)
    assert distinct.equals(ids.unique().sort())
    assert distinct.gather(place).equals(ids)
    assert place.dtype == pl.UInt32


@given(IDS)
def test_ids_are_places_in_ascending_order(ids):
    check(pl.Series("id", ids))


@pytest.mark.parametrize("dtype", [pl.Int8, pl.UInt8, pl.UInt64, pl.Int64])
def test_ids_at_the_ends_of_their_type(dtype):
    ends = pl.select(a=dtype.min(), b=dtype.max()).row(0)
    check(pl.Series("id", [*ends, ends[1] - 1, *ends], dtype))


@pytest.mark.parametrize("hashes", [[7] * 5, [1 << 63, 1, 1 << 63, 1 << 63, 1], [9, 8, 9, 8, 1]])
def test_hashes_that_collide(hashes, monkeypatch):
    """Of all ids, of two, and in their first bits alone."""
    monkeypatch.setattr(pl.Series, "hash", lambda _: pl.Series(hashes, dtype=pl.UInt64))
    check(pl.Series("id", ["b", "a", "b", "d", "c"]))


@given(
    st.lists(st.tuples(st.integers(0, 2), FAR | st.integers(0, 3)), min_size=1),
    st.sampled_from([np.int64, np.float64]),
)
def test_the_order_is_stable(pairs, dtype):
    one, two = np.array([p[0] for p in pairs], np.uint32), np.array([p[1] for p in pairs], dtype)
    expected = sorted(range(len(pairs)), key=lambda row: (one[row], two[row]))
    order = orders.order_of(one, two)
    assert expected == (list(range(len(pairs))) if order is None else order.tolist())


def test_the_order_of_fractions():
    assert orders.order_of(np.array([1.5, -0.25, 1.5, -1e300])).tolist() == [3, 1, 0, 2]


@given(st.lists(st.lists(st.integers(0, 2), min_size=1), min_size=1))
def test_the_first_of_each_pair(groups):
    starts = np.cumsum([0, *map(len, groups)])
    ids = np.array([one for group in groups for one in group])
    expected = [one not in group[:n] for group in groups for n, one in enumerate(group)]
    assert orders.first_of_pairs(starts, ids).tolist() == expected
